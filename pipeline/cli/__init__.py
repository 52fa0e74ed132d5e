"""The command `augpipe`: parses, calls one function of the library, prints."""

import lazy_loader

# Imported when first used, so that `run` can tell of what happens meanwhile; __init__.pyi says from where.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
