"""One training: the loop over a DeepSpeed engine, its loss, schedule, checkpoints and export."""
