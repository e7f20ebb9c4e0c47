"""ClearSky's numerics: numbers in, numbers out."""

from algorithms.fill import fill_clouds
from algorithms.mask import cloud_mask
from algorithms.reclassify import buffer_mask, reclassify

__all__ = ["buffer_mask", "cloud_mask", "fill_clouds", "reclassify"]
