"""Seeded pad / rotate / elastic-deform / crop recipes, and their rendering: arrays and recipes in, arrays out."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from augment.draw import draw_recipe
    from augment.errors import AugpipeError, ConfigError, RecipeError
    from augment.ranges import AugmentRanges, preset_ranges
    from augment.recipe import Recipe
    from augment.renderer import PreparedSlice, Sample, prepare_slice, render, render_prepared
    from augment.seeding import Stream
    from augment.weight_map import unet_weight_map

__all__ = [
    "AugmentRanges",
    "AugpipeError",
    "ConfigError",
    "PreparedSlice",
    "Recipe",
    "RecipeError",
    "Sample",
    "Stream",
    "draw_recipe",
    "prepare_slice",
    "preset_ranges",
    "render",
    "render_prepared",
    "unet_weight_map",
]

_HOME = {
    "draw": ("draw_recipe",),
    "errors": ("AugpipeError", "ConfigError", "RecipeError"),
    "ranges": ("AugmentRanges", "preset_ranges"),
    "recipe": ("Recipe",),
    "renderer": ("PreparedSlice", "Sample", "prepare_slice", "render", "render_prepared"),
    "seeding": ("Stream",),
    "weight_map": ("unet_weight_map",),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that reading recipes does not load the compiler."""
    for module, names in _HOME.items():
        if name in names:
            return getattr(import_module(f"augment.{module}"), name)
    raise AttributeError(f"module 'augment' has no attribute {name!r}")
