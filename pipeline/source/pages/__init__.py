"""Stacks that lie in folders, a file a slice: which files these are, and which label belongs to which image."""
