"""A dataset held against its records: every byte, and on request every pixel."""
