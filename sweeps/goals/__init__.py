"""What is measured, traded off, ruled out, pruned and repeated by."""
