"""Settings, validated, and the TOML files that they are read from."""

from recipes.config.presets import list_recipes, load_augmentation, load_recipe
from recipes.config.settings import Recipe

__all__ = ["Recipe", "list_recipes", "load_augmentation", "load_recipe"]
