"""What a network's card says of its input and output: reflectance to input, and output to class probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from algorithms.errors import ModelError
from algorithms.models import INPUT_CELLS, CloudModel, FixedStatistics

Image = npt.NDArray[np.float32]
InputStatistics = tuple[Image, Image]
"""Mean and standard deviation, each (B, 1, 1)."""


def fixed_statistics(model: CloudModel) -> InputStatistics | None:
    """The statistics that a card itself has; None where it has none."""
    if not isinstance(model.normalisation, FixedStatistics):
        return None
    mean, std = (np.asarray(v, np.float32)[:, None, None] for v in (model.normalisation.mean, model.normalisation.std))
    return mean, std


def window_statistics(values: Image, valid: npt.NDArray[np.bool_]) -> InputStatistics:
    """Those of a window's own cells with data, 1 as deviation of a band that is constant.

    A window stands on the scene's lattice and always holds the same cells, so every tile sees the same statistics.

    Args:
        values: (B, h, w), finite.
        valid: (h, w), cells with data, at least one.
    """
    known = values[:, valid].astype(np.float64)
    mean, std = known.mean(axis=1), known.std(axis=1)
    return (
        mean.astype(np.float32)[:, None, None],
        np.where(std > 0, std, 1).astype(np.float32)[:, None, None],
    )


def network_input(
    model: CloudModel, reflectance: Image, valid: npt.NDArray[np.bool_], statistics: InputStatistics | None
) -> Image:
    """The input of one window: scaled, normalised, and mirrored at its end where the network wants more cells.

    Args:
        model: the card.
        reflectance: (B, 256, 256), finite.
        valid: (256, 256), cells with data.
        statistics: fixed ones; None where the card has none.

    Returns:
        (1, B, side, side) float32.
    """
    values = reflectance if model.scale == 1 else reflectance * np.float32(model.scale)
    if model.normalisation == "window":
        statistics = window_statistics(values, valid)
    if statistics is not None:
        mean, std = statistics
        values = (values - mean) / std
    if (more := (model.size.side or INPUT_CELLS) - INPUT_CELLS) > 0:
        values = np.pad(values, [(0, 0), (0, more), (0, more)], mode="symmetric")
    return values[None]


def class_probabilities(model: CloudModel, output: Any) -> Image:
    """Probabilities of a card's classes from what its network gives for one window.

    Args:
        model: the card.
        output: (1, C, side, side), or (1, side, side) numbers of classes; a single channel is that of the second of two
            classes.

    Returns:
        (C, 256, 256) float32.

    Raises:
        ModelError: another shape, or numbers that are none.
    """
    found = np.asarray(output)
    count, side = len(model.classes), model.size.side or INPUT_CELLS
    if model.output == "classes":
        if found.shape not in ((1, side, side), (1, 1, side, side)):
            raise _unfit(model, found.shape, f"(1, {side}, {side}) numbers of classes")
        numbers = found.reshape(side, side)[:INPUT_CELLS, :INPUT_CELLS]
        return np.stack([numbers == k for k in range(count)]).astype(np.float32)
    if found.shape not in ((1, count, side, side), *([(1, 1, side, side)] if count == 2 else [])):
        raise _unfit(model, found.shape, f"(1, {count}, {side}, {side}), a channel for each class")
    values: Image = found[0, :, :INPUT_CELLS, :INPUT_CELLS].astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        raise ModelError(
            f"cloud model {model.id!r} gives values that are not numbers; check `scale` and `normalisation` of its card"
        )
    if model.output == "probabilities":
        values = values.clip(0, 1)
        return np.concatenate([1 - values, values]) if len(values) < count else values
    if len(values) < count:
        values = np.concatenate([np.zeros_like(values), values])
    return _softmax(values)


def _softmax(logits: Image) -> Image:
    exponents: Image = np.exp(logits - logits.max(axis=0))
    exponents /= exponents.sum(axis=0)
    return exponents


def covered_probabilities(model: CloudModel, probabilities: Image) -> Image:
    """(2, 256, 256) of cloud and of shadow, from those of all classes."""
    return np.stack([_sum(probabilities, model.cloud), _sum(probabilities, model.shadow)])


def _sum(probabilities: Image, channels: tuple[int, ...]) -> Image:
    if len(channels) == 1:
        only: Image = probabilities[channels[0]]
        return only
    total: Image = probabilities[list(channels)].sum(axis=0, dtype=np.float32).clip(0, 1)
    return total


def check_input(model: CloudModel, shape: list[Any]) -> None:
    """Compare a card with the input that a network states; dimensions that are not numbers may be anything.

    Raises:
        ModelError: they do not fit.
    """
    side = model.size.side or INPUT_CELLS
    wanted = [1, len(model.bands), side, side]
    if len(shape) != 4 or any(isinstance(n, int) and n not in (m, -1) for n, m in zip(shape, wanted, strict=False)):
        raise ModelError(
            f"cloud model {model.id!r}: the network takes {shape}, and its card makes {wanted} "
            "(windows, bands, rows, columns): correct `bands` or `size`"
        )


def _unfit(model: CloudModel, shape: tuple[int, ...], wanted: str) -> ModelError:
    return ModelError(
        f"cloud model {model.id!r} gives {shape}, and its card wants {wanted}: correct `output` or `classes`"
    )
