"""ClearSky's numerics: numbers in, numbers out."""

import os

from algorithms.mask import cloud_mask
from algorithms.masks import buffer_mask
from algorithms.reclassify import reclassify
from algorithms.stepwise import stepwise_adjustment
from algorithms.whole import fill_clouds

# Newer builds of ONNX Runtime report to their maker, and leave a file in the temporary folder, unless this is set when
# they are imported, which is when the first model runs.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = ["buffer_mask", "cloud_mask", "fill_clouds", "reclassify", "stepwise_adjustment"]
