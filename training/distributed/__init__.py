"""Ranks, the process group and the DeepSpeed engine."""
