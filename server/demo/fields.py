"""The patchwork of fields: districts, each cut into strips and fields at its own angle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.demo.noise import F32, U8, fractal, row_strips, share, smoothstep, stream
from server.demo.spectra import CROPS

SPACING = 150
"""Mean distance between the centres of districts in pixels (1.5 km): the scale on which the fields' angle changes."""

CHANGED = 0.115
"""Share of the fields whose crop is drawn again for the other date; by chance some keep theirs, a tenth changes."""

_STRIPS, _FIELDS = 32, 64  # of a district that can be told apart; a power of two each, more than ever fit
_HASH = 1 << 14  # length of the table of random numbers that the field edges are looked up in


@dataclass(frozen=True)
class Patchwork:
    """The patchwork, all arrays (size, size).

    Attributes:
        cloudy: Index into `CROPS` on the cloudy date.
        clear: The same on the other date.
        vigour: How well the crop grows, 0..255 around 128.
        turn: How differently it grows on the other date, 0..255 around 128.
        rows: Wave of the rows and tramlines within the field, -127..127.
        track: Share of the pixel taken by tracks between fields, in 1/255.
        hedge: Share of the pixel taken by hedges and lines of trees, in 1/255.
        lane: Share of the pixel taken by lanes between districts, in 1/255.
    """

    cloudy: U8
    clear: U8
    vigour: U8
    turn: U8
    rows: NDArray[np.int8]
    track: U8
    hedge: U8
    lane: U8


def _cut(position: F32, key: NDArray[np.int64], jitter: F32) -> tuple[NDArray[np.int64], F32]:
    """Cut a line at the whole numbers, each moved by a random amount.

    Args:
        position: Positions on the line.
        key: Number of the line each position lies on; lines are cut independently.
        jitter: (_HASH,) moves of the cuts, below 0.5 in size.

    Returns:
        Index of the piece, and distance to its nearer end in pieces.
    """

    def edge(index: NDArray[np.int64]) -> F32:
        moved: F32 = index.astype(np.float32) + jitter[(key * 40503 + index * 9973) & (_HASH - 1)]
        return moved

    index = np.floor(position).astype(np.int64)
    index -= position < edge(index)
    index += position >= edge(index + 1)
    return index, np.minimum(position - edge(index), edge(index + 1) - position)


def make_fields(size: int, seed: int) -> Patchwork:
    """Lay out the fields of a scene.

    Args:
        size: Side of the square scene in pixels.
        seed: The scene's seed.

    Returns:
        The patchwork over the whole scene; forest, towns and water are laid over it later.
    """
    rng = stream(seed, "fields")
    # Districts are the cells of a jittered grid, seen through a slight warp that bends their lanes.
    warp_y, warp_x = (fractal(size, rng, outer=300, slope=4.0, inner=12.0) * np.float32(9) for _ in range(2))
    side = size // SPACING + 6
    grid_y, grid_x = np.mgrid[0:side, 0:side]
    seeds_y = ((grid_y - 2 + rng.uniform(0.08, 0.92, (side, side))) * SPACING).astype(np.float32).ravel()
    seeds_x = ((grid_x - 2 + rng.uniform(0.08, 0.92, (side, side))) * SPACING).astype(np.float32).ravel()
    count = side * side

    # A valley has a grain that most districts follow, as the Roman centuriation did; some stand across.
    grain = fractal(side + 8, rng, outer=6, slope=3.0)[:side, :side].ravel() * np.float32(0.35)
    angle = (rng.uniform(0, np.pi) + grain + rng.choice([0.0, 0.0, 0.0, 0.6], count)).astype(np.float32)
    depth = rng.uniform(15, 34, count).astype(np.float32)  # of a strip, pixels
    width = rng.uniform(6, 13, count).astype(np.float32)  # of a narrow field along its strip, pixels
    lane_kind = rng.random(count).astype(np.float32)
    jitter = rng.uniform(-0.32, 0.32, _HASH).astype(np.float32)
    chance = rng.random(_HASH).astype(np.float32)

    crop, crop_clear, vigour, turn = _sow(count * _STRIPS * _FIELDS, rng)

    def empty() -> U8:
        return np.empty((size, size), np.uint8)

    result = Patchwork(empty(), empty(), empty(), empty(), np.empty((size, size), np.int8), empty(), empty(), empty())
    columns = np.arange(size, dtype=np.float32)[None, :]
    for rows in row_strips(size):
        y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + warp_y[rows]
        x = columns + warp_x[rows]
        district, border = _nearest(y, x, seeds_y, seeds_x, side)
        dy, dx = y - seeds_y[district], x - seeds_x[district]
        cos, sin = np.cos(angle)[district], np.sin(angle)[district]
        across, along = dx * cos + dy * sin, dy * cos - dx * sin
        strip, end = _cut(across / depth[district], district, jitter)
        key = district * _STRIPS + (strip & (_STRIPS - 1))
        luck = chance[(key * 31) & (_HASH - 1)]
        span = width[district] * (1 + np.float32(2.2) * luck * luck)
        field, flank = _cut(along / span + luck * 7, key, jitter)
        label = key * _FIELDS + (field & (_FIELDS - 1))

        result.cloudy[rows] = crop[label]
        result.clear[rows] = crop_clear[label]
        result.vigour[rows] = vigour[label]
        result.turn[rows] = turn[label]
        # Tramlines run along the longer side; 27 m apart, they are barely resolved, as in real pictures.
        result.rows[rows] = (127 * np.sin(across * np.float32(2 * np.pi / 2.7))).astype(np.int8)
        end, flank = end * depth[district], flank * span
        luck = chance[(label * 7) & (_HASH - 1)]
        strip_luck = chance[(key * 13) & (_HASH - 1)]
        track = smoothstep(end, 0.9, 0.2) * (strip_luck < 0.45) * np.float32(0.7)
        result.track[rows] = share(np.maximum(track, smoothstep(flank, 0.6, 0.1) * (luck < 0.3) * np.float32(0.35)))
        hedge = smoothstep(np.minimum(end, flank), 1.1, 0.3) * (luck > 0.84)
        result.hedge[rows] = share(hedge * np.float32(0.85))
        result.lane[rows] = share(smoothstep(border, 1.0, 0.3) * (lane_kind[district] < 0.7) * np.float32(0.75))
    return result


def _sow(count: int, rng: np.random.Generator) -> tuple[U8, U8, U8, U8]:
    """Draw crop, crop on the clear date, vigour and its turn for `count` fields."""
    shares = np.cumsum([crop.share for crop in CROPS])
    crop, other = (np.searchsorted(shares / shares[-1], rng.random(count)).astype(np.uint8) for _ in range(2))
    vigour, turn = (np.clip(128 + 46 * rng.standard_normal(count), 0, 255).astype(np.uint8) for _ in range(2))
    return crop, np.where(rng.random(count) < CHANGED, other, crop), vigour, turn


def _nearest(y: F32, x: F32, seeds_y: F32, seeds_x: F32, side: int) -> tuple[NDArray[np.int64], F32]:
    """Find the district of every pixel: index of the nearest seed, and distance to the border in pixels."""
    row, column = (np.floor(v / SPACING).astype(np.int64) + 2 for v in (y, x))
    shape = np.broadcast_shapes(y.shape, x.shape)
    first, second = np.full(shape, np.inf, np.float32), np.full(shape, np.inf, np.float32)
    index, runner_up = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for dr in (-1, 0, 1):
        for dc in (-1, 0, 1):
            here = np.clip(row + dr, 0, side - 1) * side + np.clip(column + dc, 0, side - 1)
            d = (y - seeds_y[here]) ** 2 + (x - seeds_x[here]) ** 2
            wins, places = d < first, d < second
            runner_up = np.where(wins, index, np.where(places, here, runner_up))
            second = np.where(wins, first, np.where(places, d, second))
            index, first = np.where(wins, here, index), np.where(wins, d, first)
    apart = np.hypot(seeds_y[index] - seeds_y[runner_up], seeds_x[index] - seeds_x[runner_up])
    return index, (second - first) / np.maximum(2 * apart, 1)
