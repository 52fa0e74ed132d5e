"""From a source to a dataset on disk, and again from its records."""
