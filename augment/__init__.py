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
    "AugmentRanges": "augment.ranges",
    "AugpipeError": "augment.errors",
    "ConfigError": "augment.errors",
    "PreparedSlice": "augment.renderer",
    "Recipe": "augment.recipe",
    "RecipeError": "augment.errors",
    "Sample": "augment.renderer",
    "Stream": "augment.seeding",
    "draw_recipe": "augment.draw",
    "prepare_slice": "augment.renderer",
    "preset_ranges": "augment.ranges",
    "render": "augment.renderer",
    "render_prepared": "augment.renderer",
    "unet_weight_map": "augment.weight_map",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that reading recipes does not load the compiler."""
    if name not in _HOME:
        raise AttributeError(f"module 'augment' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
