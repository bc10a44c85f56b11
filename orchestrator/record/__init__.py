"""What is known of a sweep: its folder, its journal, its trials, what it ran with and what it took."""
