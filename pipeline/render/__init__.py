"""Samples rendered in threads, and encoded as the bytes of a shard."""
