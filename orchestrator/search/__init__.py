"""What is tried next: Optuna's ask and tell as a Ray Tune searcher, warm starts, repetitions, pruning."""
