"""Training and scoring a U-Net from the shards; knows nothing of how they were made."""

import lazy_loader

# Imported when first used, so that reading samples loads no torch; __init__.pyi says from where.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
