"""What `make bench` will run; the measurements come with the engines."""
