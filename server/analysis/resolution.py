"""What the size of a raster's pixels keeps the cloud models from, said where they are used."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Final

from algorithms.cells import AVERAGED_FACTOR
from algorithms.models import CloudModel
from server.analysis.task import Task
from server.raster.dataset import Dataset
from server.raster.grid import fine_grid, ground_resolution
from server.work.trace import warn

logger = logging.getLogger("clearsky")

FEW_CELLS_ACROSS: Final = 16
"""Cells along the shorter side of a scene below which a model has too little around a cloud to tell it by."""
TOLERANCE: Final = 0.05
"""Share by which cells may be beyond a model's resolutions: 30 m is 29.9 m in degrees."""
WIDE_FACTOR: Final = 16
"""Pixels per side of a cell from which on the ground filled around a cloud for nothing is worth a word."""


def warn_of_model(task: Task) -> None:
    """Tell the client of the running request what the model cannot do on the target."""
    if task.clouds.model is not None:
        for text in model_warnings(task.clouds.model, task.target.dataset):
            warn(text)


def model_warnings(model: CloudModel, target: Dataset) -> list[str]:
    """What a model cannot do on a target; logged the first time."""
    found = (resolution_warning(target), _range_warning(model, target), _caveat(model, target.url))
    return [text for text in found if text is not None]


@lru_cache(maxsize=256)
def _caveat(model: CloudModel, url: str) -> str | None:
    """What has to be known of a model's masks, logged once for a raster."""
    if model.caveat is not None:
        logger.warning("%s: %s", url, model.caveat)
    return model.caveat


@lru_cache(maxsize=256)
def _range_warning(model: CloudModel, target: Dataset) -> str | None:
    """That an operator's model looks at cells of another size than its card admits; None where it does not."""
    metres = fine_grid(target).factor * ground_resolution(target)
    finest, coarsest = model.resolution
    if model.folder is None or finest * (1 - TOLERANCE) <= metres <= coarsest * (1 + TOLERANCE):
        return None
    text = (
        f"model {model.id} is made for {finest:g}-{coarsest:g} m and looks at cells of {metres:.3g} m of "
        f"{target.url!r}: expect a worse mask, or name another model"
    )
    logger.warning(text)
    return text


def too_few_cells(target: Dataset) -> str | None:
    """Why a scene of fine pixels is too small for a model; None if it is not."""
    grid, pixel = fine_grid(target), ground_resolution(target)
    if grid.factor <= AVERAGED_FACTOR or min(grid.shape) >= FEW_CELLS_ACROSS:
        return None
    return (
        f"the cloud model looks at cells of {pixel * grid.factor:.3g} m, of which {target.url!r}, with pixels of "
        f"{pixel:.2g} m, has {grid.rows} x {grid.cols}: too few to find clouds in"
    )


@lru_cache(maxsize=256)
def resolution_warning(target: Dataset) -> str | None:
    """What a model cannot do at a target's resolution; None if nothing. Logged the first time."""
    grid = fine_grid(target)
    if grid.factor <= AVERAGED_FACTOR:
        return None
    pixel = ground_resolution(target)
    text = None
    if (few := too_few_cells(target)) is not None:
        text = f"{few}, which may stay as they are; give a `mask`, which is followed pixel by pixel"
    elif grid.factor > WIDE_FACTOR:
        text = (
            f"the cloud model looks at cells of {pixel * grid.factor:.3g} m, {grid.factor} x {grid.factor} pixels of "
            f"{target.url!r}: clear ground is filled up to so far around clouds; give a `mask`, which is followed "
            "pixel by pixel"
        )
    if text is not None:
        logger.warning(text)
    return text
