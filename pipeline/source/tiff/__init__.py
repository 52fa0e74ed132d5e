"""Reading TIFF stacks slice by slice without being fooled by broken ones, and writing plain ones.

tifffile decodes; what it would forgive (missing strips, lying headers, pages of other files) is refused here.
"""

from pipeline.source.tiff.stack import TiffStack, open_stack, read_stack, write_channels, write_slices, write_stack

__all__ = ["TiffStack", "open_stack", "read_stack", "write_channels", "write_slices", "write_stack"]
