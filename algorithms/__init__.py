"""ClearSky: pure numerics, no I/O."""
