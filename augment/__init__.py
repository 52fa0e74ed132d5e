"""Seeded pad / rotate / elastic-deform / crop recipes, and their rendering: arrays and recipes in, arrays out."""

import lazy_loader

# Imported when first used, so that reading recipes does not load the compiler; __init__.pyi says from where.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
