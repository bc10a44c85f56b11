"""What can be drawn for a trial, and when."""
