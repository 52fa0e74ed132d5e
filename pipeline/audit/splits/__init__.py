"""Who shares what between splits, by the records: slices, digests, groups, and files that describe a split."""
