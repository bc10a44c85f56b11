"""What a sweep would take, before it starts: trials, steps, hours, money, memory."""
