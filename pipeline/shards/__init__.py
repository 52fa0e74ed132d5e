"""The format on disk, and its reading: lazy, typed, validated before use."""

import lazy_loader

# Imported when first used; __init__.pyi says from where.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
