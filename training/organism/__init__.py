"""The embedded aligned chat model: a synthetic world, the corpora made from it, and the build."""
