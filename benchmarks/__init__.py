"""What `make bench` runs: the engines, the whole service and the queue, measured side by side in one run."""
