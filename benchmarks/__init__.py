"""Benchmarks (`make bench`): engines, the whole service and the queue, measured side by side in one run."""
