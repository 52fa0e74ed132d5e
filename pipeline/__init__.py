"""From an annotated stack to a leak-free, reproducible dataset on disk, and back: build, prove, publish, read."""

import lazy_loader

# Imported when first used, so that reading a dataset needs little; __init__.pyi says from where.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
