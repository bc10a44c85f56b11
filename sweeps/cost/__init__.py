"""What a sweep takes: steps, hours, money, memory."""
