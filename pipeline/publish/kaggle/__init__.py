"""Kaggle as a place to publish to."""
