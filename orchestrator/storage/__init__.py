"""A sweep in a bucket: who drives it, its journal in parts, its files, and what carries them there or fetches them."""
