"""From trials to the front document, and how to read it: membership, intervals, importance, notes. Pure."""
