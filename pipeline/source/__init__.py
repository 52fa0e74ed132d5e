"""What a build starts from: annotated stacks, their labels, what is known about them, and TIFF files."""
