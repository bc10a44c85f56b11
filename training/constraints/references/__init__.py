"""What of the initial model the penalties compare with: computed once, kept in Arrow, verified."""
