"""The card of a dataset: what it is, for people and for programs."""
