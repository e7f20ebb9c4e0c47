"""Recipes: a cloudy raster, its replacements and how to show them, under one name."""
