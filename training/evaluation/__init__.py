"""What a model says and knows after training: refusals, compliance, task accuracy, loss and drift of the direction."""
