"""ClearSky's numerics: numbers in, numbers out."""

from algorithms.mask import cloud_mask
from algorithms.masks import buffer_mask
from algorithms.reclassify import reclassify
from algorithms.stepwise import stepwise_adjustment
from algorithms.whole import fill_clouds

__all__ = ["buffer_mask", "cloud_mask", "fill_clouds", "reclassify", "stepwise_adjustment"]
