"""The card of a dataset: what it is, for people and for programs, from one record of everything known about it."""
