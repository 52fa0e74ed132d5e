"""What is in a dataset: in words, and as an image."""
