"""ClearSky: the tile server."""
