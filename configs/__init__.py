"""Recipes: the packaged settings of the project."""
