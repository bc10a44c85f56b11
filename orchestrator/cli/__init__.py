"""What is typed: arguments and options of every verb; nothing heavy is imported before a verb runs."""
