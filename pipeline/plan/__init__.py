"""What a build will make: the split of every slice, and every sample, known before any is rendered."""
