"""What can be known of a model and of data before anything is trained: read from headers, configurations and rows."""
