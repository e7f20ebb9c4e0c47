"""Rivers and roads as curves, and the distance of pixels to them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from server.demo.noise import F32

Points = NDArray[np.float64]


def densify(points: Points, step: float) -> Points:
    """Place points along a polyline, `step` pixels apart: (N, 2) row, column -> (M, 2)."""
    lengths = np.hypot(*np.diff(points, axis=0).T)
    at = np.concatenate([[0.0], np.cumsum(lengths)])
    wanted = np.arange(0.0, at[-1], step)
    return np.stack([np.interp(wanted, at, points[:, 0]), np.interp(wanted, at, points[:, 1])], axis=1)


def distance(size: int, curves: list[Points], *, reach: int) -> F32:
    """Measure how far every pixel lies from the nearest of some curves.

    Only the pixels near a curve are measured, with sub-pixel accuracy, so that a road one pixel wide has smooth edges.

    Args:
        size: Side of the square scene in pixels.
        curves: Polylines of (N, 2) row and column in pixels; they may leave the scene.
        reach: Distance in pixels beyond which nothing is measured.

    Returns:
        (size, size) distance in pixels, `reach` where it is larger.
    """
    result = np.full((size, size), reach, np.float32)
    fine = np.concatenate([np.empty((0, 2)), *(densify(curve, 0.25) for curve in curves)])
    fine = fine[((fine > -reach) & (fine < size + reach)).all(axis=1)]
    if not len(fine):
        return result
    near = np.unique(np.rint(fine).astype(np.int64), axis=0)
    marked = np.zeros((size, size), bool)
    disc = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1]) <= reach
    for dy, dx in np.argwhere(disc):
        rows, columns = near[:, 0] + dy - reach, near[:, 1] + dx - reach
        inside = (rows >= 0) & (rows < size) & (columns >= 0) & (columns < size)
        marked[rows[inside], columns[inside]] = True
    pixels = np.argwhere(marked)
    found, _ = cKDTree(fine).query(pixels, distance_upper_bound=reach, workers=1)
    result[pixels[:, 0], pixels[:, 1]] = np.minimum(found, reach)
    return result


def meanders(size: int, rng: np.random.Generator) -> Points:
    """Draw the course of a river through the scene as a sine-generated curve.

    Its direction swings like a sine along its length (Langbein and Leopold 1966), which is what lets natural meanders
    bend back on themselves; wavelength and swing drift, so that no two bends are alike.

    Args:
        size: Side of the square scene in pixels.
        rng: Source of randomness.

    Returns:
        (N, 2) row and column in pixels, one pixel apart, from beyond one side of the scene to beyond another.
    """
    length = 5 * size + 400
    along = np.arange(length)
    period = float(np.clip(size * 0.32, 150, 360))
    drift = np.cumsum(rng.normal(0, 0.011, length))
    swing = 0.95 + 0.35 * np.sin(along / (2.3 * period) + rng.uniform(0, 6.28))
    heading = rng.uniform(-0.35, 0.35) + (np.pi / 2 if rng.random() < 0.5 else 0.0) + rng.choice([-0.45, 0.45])
    wander = 0.25 * np.sin(along / (1.7 * period) + rng.uniform(0, 6.28))
    angle = heading + wander + swing * np.sin(2 * np.pi * along / period + drift)
    course = np.stack([np.cumsum(np.sin(angle)), np.cumsum(np.cos(angle))], axis=1)
    # Let the middle of the course pass the scene off its centre: a valley with one broad and one narrow side.
    anchor = size * rng.uniform([0.38, 0.38], [0.62, 0.62])
    placed: Points = course - course[length // 2] + anchor
    return placed


def road(start: Points, end: Points, rng: np.random.Generator) -> Points:
    """Draw a road between two places (row, column): a straight line that sways gently."""
    length = float(np.hypot(*(end - start)))
    t = np.linspace(0, 1, max(int(length / 4), 8))
    normal = np.array([-(end - start)[1], (end - start)[0]]) / max(length, 1.0)
    sway = sum(rng.normal(0, 0.035 * length / k) * np.sin(np.pi * k * t) for k in (1, 2, 3, 5))
    return start + t[:, None] * (end - start) + np.asarray(sway)[:, None] * normal
