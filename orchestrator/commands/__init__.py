"""What each verb does besides running a sweep: train, direction, inspect, reproduce, export, status, stop, doctor."""
