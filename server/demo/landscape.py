"""The land of the demo scene: hills, forest, fields, a river, roads and villages, as layers of cover shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from server.demo.fields import Patchwork, make_fields
from server.demo.lines import Points, densify, distance, meanders, road
from server.demo.noise import F32, U8, fractal, share, smoothstep, stream
from server.demo.towns import Town, build_towns

PIXEL = 10.0
"""Side of a pixel in metres."""


@dataclass(frozen=True)
class Landscape:
    """The land, the same on both dates; arrays are (size, size).

    Attributes:
        height: Metres above the valley floor.
        fields: The patchwork that everything else is laid upon.
        layers: Cover name and share of the pixel in 1/255, each hiding what lies below it.
    """

    height: F32
    fields: Patchwork
    layers: list[tuple[str, U8]]

    @property
    def size(self) -> int:
        """Side of the scene in pixels."""
        return int(self.height.shape[0])


def make_landscape(size: int, seed: int) -> Landscape:
    """Make the land of a scene.

    Args:
        size: Side of the square scene in pixels of 10 m.
        seed: The scene's seed.

    Returns:
        The land, from which pictures of different dates can be rendered.
    """
    course = meanders(size, stream(seed, "river"))
    valley = _valley(size, course)
    height, hilly = _terrain(size, seed, valley)
    river = distance(size, [course], reach=40)
    fields = make_fields(size, seed)

    rng = stream(seed, "water")
    half_width = np.float32(5.2) + np.float32(1.3) * fractal(size, rng, outer=160, slope=3.5)
    half_width = np.clip(half_width, 3.2, 8.5)
    water = smoothstep(river - half_width, 0.6, -0.6)
    banks = half_width + 4 * np.maximum(fractal(size, rng, outer=60, slope=3.0) - np.float32(0.55), 0)
    gravel = smoothstep(river - banks, 0.6, -0.6)

    towns = _settle(size, seed, valley, hilly)
    streets = _roads(size, seed, towns)
    main = smoothstep(distance(size, streets, reach=6), 1.45, 0.55)
    built = build_towns(size, towns, stream(seed, "houses"))

    broadleaf, conifer = _woods(size, seed, hilly, river - half_width)
    # On steep land there is pasture rather than fields.
    pasture = np.float32(0.9) * smoothstep(
        hilly + np.float32(0.12) * fractal(size, stream(seed, "pasture"), outer=50, slope=3.0), 0.42, 0.58
    )
    open_land = 1 - np.maximum(broadleaf, conifer)
    layers = [
        ("track", fields.track),
        ("hedge", fields.hedge),
        ("pasture", share(pasture)),
        ("broadleaf", share(broadleaf)),
        ("conifer", share(conifer)),
        ("track", share(fields.lane / np.float32(255) * open_land * (1 - water))),
        *built,
        ("gravel", share(gravel)),
        ("water", share(water)),
        ("asphalt", share(main * np.float32(0.85))),
    ]
    return Landscape(height, fields, layers)


def _valley(size: int, course: Points) -> F32:
    """Measure, coarsely, how far every pixel is from the river: (size, size), pixels."""
    step = 8
    nodes = size // step + 2
    tree = cKDTree(densify(course, float(step)))
    grid = np.stack(np.meshgrid(np.arange(nodes) * step, np.arange(nodes) * step, indexing="ij"), axis=-1)
    found = np.asarray(tree.query(grid.reshape(-1, 2), workers=1)[0], np.float32)
    # Corner-aligned interpolation: node i lies on pixel i * step.
    factor = ((nodes - 1) * step + 1) / nodes
    fine: F32 = ndimage.zoom(found.reshape(nodes, nodes), factor, order=1)[:size, :size]
    return fine


def _terrain(size: int, seed: int, valley: F32) -> tuple[F32, F32]:
    """Raise hills on both sides of the valley: height in metres, and hilliness 0..1."""
    rng = stream(seed, "terrain")
    floor = float(np.clip(size * 0.17, 70, 300))
    hilly = smoothstep(
        valley + floor * np.float32(0.45) * fractal(size, rng, outer=300, slope=4.0, inner=8.0), floor, 2.6 * floor
    )
    bend_y, bend_x = (fractal(size, rng, outer=250, slope=4.0) for _ in range(2))
    broad = fractal(size, rng, outer=500, slope=4.0)
    # Ridged noise has sharp crests and branching valleys, like land that rain has cut.
    ridges = 1 - np.abs(fractal(size, rng, outer=260, slope=4.0, inner=6.0) + np.float32(0.3) * bend_y)
    spurs = 1 - np.abs(fractal(size, rng, outer=100, slope=4.0, inner=4.0) + np.float32(0.3) * bend_x)
    gullies = -np.abs(fractal(size, rng, outer=30, slope=3.6, inner=1.5))
    relief = 85 + 42 * broad + 35 * ridges + 8 * spurs + 2.5 * gullies
    undulation = np.float32(5) * fractal(size, rng, outer=200, slope=4.0, inner=2.0)
    return (hilly * np.maximum(relief, 25) + undulation).astype(np.float32), hilly


def _woods(size: int, seed: int, hilly: F32, bank: F32) -> tuple[F32, F32]:
    """Cover hills, copses and river banks with trees: shares of broadleaf trees and of conifers."""
    rng = stream(seed, "woods")
    large, small = fractal(size, rng, outer=260, slope=3.2), fractal(size, rng, outer=45, slope=2.9)
    # The edge is sharp, as that of a wood is, but follows a fractal line; only few copses stand in the plain.
    wood = smoothstep(np.float32(2.7) * hilly - np.float32(2.15) + large * 0.75 + small * 0.5, -0.05, 0.05)
    gallery = smoothstep(bank, 9, 6) * smoothstep(small * 0.8 + large * 0.5, 0.15, 0.3)
    wood = np.maximum(wood, gallery)
    needles = smoothstep(
        fractal(size, rng, outer=130, slope=2.6) + np.float32(0.9) * hilly - np.float32(1.9), -0.5, 0.5
    )
    # Stands are mixed: pines among oaks, nowhere alone.
    needles *= np.float32(0.65) * smoothstep(hilly, 0.25, 0.4)
    return wood * (1 - needles), wood * needles


def _settle(size: int, seed: int, valley: F32, hilly: F32) -> list[Town]:
    """Found towns and villages on level ground, away from the river and from each other."""
    rng = stream(seed, "towns")
    wanted = max(2, round((size / 400) ** 2))
    towns: list[Town] = []
    for _ in range(60 * wanted):
        y, x = rng.uniform(0.04, 0.96, 2) * size
        radius = 11 + 26 * rng.random() ** 3 if towns else 30.0
        room = 170 if size > 1000 else 110
        at = (int(y), int(x))
        if valley[at] < radius + 18 or hilly[at] > 0.55:
            continue
        if any(np.hypot(y - town.y, x - town.x) < room for town in towns):
            continue
        towns.append(Town(y, x, radius, rng.uniform(0, np.pi / 2)))
        if len(towns) == wanted:
            break
    return towns


def _roads(size: int, seed: int, towns: list[Town]) -> list[Points]:
    """Join every town to its nearest elder, and the first ones to the world outside."""
    rng = stream(seed, "roads")
    places = [np.array([town.y, town.x]) for town in towns]
    curves: list[Points] = []
    for number, place in enumerate(places[1:], start=1):
        nearest = min(places[:number], key=lambda other: float(np.hypot(*(other - place))))
        curves.append(road(place, nearest, rng))
    turn = rng.uniform(0, 2 * np.pi)
    for place, angle in zip(places[:1] * 3, turn + np.array([0.0, 2.0, 4.2]), strict=False):
        curves.append(road(place, place + 1.5 * size * np.array([np.sin(angle), np.cos(angle)]), rng))
    return curves
