"""Recipes: frozen settings, one module a section."""

from stillhouse.recipe.delivery import Delivery
from stillhouse.recipe.recipe import ExportRecipe, Recipe, load_export_recipe, load_recipe

__all__ = ["Delivery", "ExportRecipe", "Recipe", "load_export_recipe", "load_recipe"]
