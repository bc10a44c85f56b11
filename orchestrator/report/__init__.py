"""The front drawn: files, page, console tables. Reads the front document, computes nothing."""
