"""Towns and villages: houses, streets and gardens, and a few large roofs at the edge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from server.demo.noise import F32, U8, fractal, share, smoothstep


@dataclass(frozen=True)
class Town:
    """Where a town lies and how large it is.

    Attributes:
        y: Row of its centre in pixels.
        x: Column of its centre in pixels.
        radius: Of the built-up land in pixels.
        angle: Of its streets in radians.
    """

    y: float
    x: float
    radius: float
    angle: float


COVERS = ("garden", "concrete", "terracotta", "asphalt", "white_roof")


def build_towns(size: int, towns: list[Town], rng: np.random.Generator) -> list[tuple[str, U8]]:
    """Build towns into a scene.

    Args:
        size: Side of the square scene in pixels.
        towns: The towns to build.
        rng: Source of randomness.

    Returns:
        Cover name and (size, size) share of the pixel in 1/255, in the order in which they lie upon each other.
    """
    layers = {cover: np.zeros((size, size), np.uint8) for cover in COVERS}
    for town in towns:
        reach = int(town.radius * 2.2) + 4
        ground = fractal(2 * reach, rng, outer=0.9 * town.radius, slope=2.8)
        houses = rng.random((4 * reach, 4 * reach)).astype(np.float32)
        blocks = rng.random((reach, reach)).astype(np.float32)
        halls = rng.random((reach, reach)).astype(np.float32)
        top, left = int(town.y) - reach, int(town.x) - reach
        rows, columns = (slice(max(start, 0), min(start + 2 * reach, size)) for start in (top, left))
        y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
        x = np.arange(columns.start, columns.stop, dtype=np.float32)[None, :]
        ground = ground[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        distance = np.hypot(y - np.float32(town.y), x - np.float32(town.x)) / np.float32(town.radius)
        built = smoothstep(np.float32(1.05) - distance + np.float32(0.28) * ground, 0.0, 0.18)
        for cover, part in _town(town, y, x, distance, built, houses, blocks, halls).items():
            np.maximum(layers[cover][rows, columns], share(part), out=layers[cover][rows, columns])
    return list(layers.items())


def _town(
    town: Town, y: F32, x: F32, distance: F32, built: F32, houses: F32, blocks: F32, halls: F32
) -> dict[str, F32]:
    """Share out the ground of one town, all arrays over its window."""
    cos, sin = np.float32(np.cos(town.angle)), np.float32(np.sin(town.angle))
    dy, dx = y - np.float32(town.y), x - np.float32(town.x)
    u, v = dx * cos + dy * sin, dy * cos - dx * sin

    def cell(table: F32, along: float, across: float) -> F32:
        """Look up the random number of the cell of a street-aligned grid."""
        at = np.floor(v / np.float32(across)).astype(np.int64), np.floor(u / np.float32(along)).astype(np.int64)
        found: F32 = table[at[0] % table.shape[0], at[1] % table.shape[1]]
        return found

    house = cell(houses, 1.5, 1.5)
    block = cell(blocks, 8, 6)
    # Houses stand close in the centre; further out gardens take over.
    crowd = smoothstep(distance, 1.25, 0.15)
    roof = (house < 0.22 + 0.45 * crowd).astype(np.float32)
    modern = (block > 0.74).astype(np.float32)
    street = np.maximum(smoothstep(np.abs(u % 8 - 4), 3.3, 3.8), smoothstep(np.abs(v % 6 - 3), 2.3, 2.8))
    # Sheds and factories stand in the outer ring, in whole blocks.
    hall = cell(halls, 5.5, 4.0)
    yard = ((hall > 0.94) & (distance > 0.5) & (town.radius > 16)).astype(np.float32)
    inner = smoothstep(np.abs(u % 5.5 - 2.75), 2.4, 1.7) * smoothstep(np.abs(v % 4 - 2), 1.7, 1.0)
    return {
        "garden": built * np.float32(0.85),
        "concrete": built * np.maximum(np.float32(0.35) * crowd, modern * np.float32(0.7)),
        "terracotta": built * roof * (1 - modern) * np.float32(0.85),
        "asphalt": built * street * np.float32(0.6),
        "white_roof": built * yard * inner * np.float32(0.85),
    }
