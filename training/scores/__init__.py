"""Scores of predictions, by what labels mean: pixels of two classes, pixels of several, and single objects."""
