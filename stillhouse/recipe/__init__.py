"""Recipes: frozen settings, one module a section."""

from stillhouse.recipe.recipe import Recipe, load_recipe

__all__ = ["Recipe", "load_recipe"]
