"""Fronts, intervals, bootstraps, correlation. Pure NumPy."""
