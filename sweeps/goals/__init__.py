"""What is measured, traded off, ruled out and pruned by."""
