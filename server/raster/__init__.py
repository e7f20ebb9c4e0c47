"""Rasters as the analysis sees them: descriptions, the grid, reading, cached cells and pixels."""
