"""From trials to the front document, and how to read it: membership, intervals, importance, notes. Pure.

The document itself is in ``schema/``.
"""
