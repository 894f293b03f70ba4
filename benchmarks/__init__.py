"""Benchmarks: one question per file, baseline and ratio in the same run, results as JSON in `results/`."""
