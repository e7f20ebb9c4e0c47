"""Cumulus clouds and their shadows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from algorithms.masks import CLEAR, CLOUD, SHADOW
from server.demo.landscape import PIXEL
from server.demo.noise import F32, U8, fractal, stream
from server.demo.spectra import Date

VISIBLE = 0.25
"""Share of the ground's light that must be lost before a pixel counts as cloud or as shadow in the truth mask.

Below it the ground is still plainly seen, and people who label clouds by hand call such pixels clear or disagree.
"""

COVER = (0.25, 0.30)
"""Range that the share of pixels under cloud is drawn from."""

#            blue  green   red    nir   swir16 swir22
CLOUD_REFLECTANCE = (0.610, 0.590, 0.595, 0.630, 0.510, 0.410)
"""Top-of-atmosphere reflectance of thick sunlit cumulus; water droplets absorb in the shortwave infrared."""

DIMMED = (0.60, 0.66, 0.71, 0.77, 0.85, 0.87)
"""Share of the ground's light that a thick cloud's shadow takes, per band; the blue sky goes on shining into it."""

RIM = 160  # pixels around the scene on which there are clouds too, since they cast shadows into it


@dataclass(frozen=True)
class Clouds:
    """Clouds over a scene, all arrays (size, size).

    Attributes:
        alpha: Share of the ground's light that the cloud hides, 0..1; exactly 0 off the clouds.
        shade: Strength of the shadow on the ground, 0..1; exactly 0 out of the shadows.
        bright: Brightness of the cloud relative to `CLOUD_REFLECTANCE`.
    """

    alpha: F32
    shade: F32
    bright: F32

    @property
    def touched(self) -> NDArray[np.bool_]:
        """Pixels that differ at all from the ground under a clear sky."""
        return (self.alpha > 0) | (self.shade > 0)

    def classes(self) -> U8:
        """Give the truth mask: cloud where `alpha` exceeds `VISIBLE`, else shadow where `shade` does, else clear."""
        mask = np.where(self.shade > VISIBLE, SHADOW, CLEAR)
        return np.where(self.alpha > VISIBLE, CLOUD, mask).astype(np.uint8)

    def cover(self, band: int, reflectance: F32, date: Date) -> F32:
        """Put shadows and clouds over one band of a clear picture.

        Args:
            band: Index of the band.
            reflectance: (size, size) top-of-atmosphere reflectance under a clear sky.
            date: Of the picture; the air's own reflectance is not dimmed by a shadow.

        Returns:
            (size, size) reflectance, equal to the input where `touched` is false.
        """
        path = np.float32(date.path[band])
        ground = reflectance - self.shade * np.float32(DIMMED[band]) * np.maximum(reflectance - path, 0)
        covered: F32 = ground + self.alpha * (np.float32(CLOUD_REFLECTANCE[band]) * self.bright - ground)
        return covered


def make_clouds(size: int, date: Date, seed: int) -> Clouds:
    """Make a sky of small and large cumulus clouds.

    Args:
        size: Side of the square scene in pixels of 10 m.
        date: Gives the sun's direction.
        seed: The scene's seed.

    Returns:
        Clouds that cover some 25 to 31 % of the scene, and their shadows on level ground.
    """
    rng = stream(seed, "clouds")
    canvas = size + 2 * RIM
    inner = slice(RIM, RIM + size)
    # Clouds gather in fields of some kilometres.
    weather = fractal(canvas, rng, outer=min(600, size), slope=4.0)
    base = rng.uniform(950, 1250)  # metres above ground
    share = rng.uniform(*COVER)
    # The magnitude of noise is made of rounded bumps between creases: the heads of a cumulus.
    puffs = np.abs(fractal(canvas, rng, outer=26, slope=3.6, inner=1.0))
    puffs += np.float32(0.35) * np.abs(fractal(canvas, rng, outer=10, slope=3.6, inner=0.7))
    # Fair-weather cumulus, and some larger clouds whose base is higher.
    small = fractal(canvas, rng, outer=105, slope=4.2, inner=2.0) + np.float32(0.6) * weather + np.float32(0.24) * puffs
    large = fractal(canvas, rng, outer=min(240, size / 2), slope=4.0, inner=2.0) + np.float32(0.4) * weather
    large += np.float32(0.17) * puffs
    level = float(np.quantile(large[inner, inner], 1 - 0.58 * share))
    upper = _layer(large, level, inner, 1.35 * base, date)
    # What the large clouds leave of the share falls to the small ones, in the gaps between them.
    gaps = small[inner, inner][large[inner, inner] <= level]
    level = float(np.quantile(gaps, 1 - 0.42 * share / (1 - 0.58 * share)))
    lower = _layer(small, level, inner, base, date)
    shade = np.maximum(upper.shade, lower.shade)
    below = lower.alpha * (1 - upper.alpha)
    alpha = upper.alpha + below
    bright = (upper.bright * upper.alpha + lower.bright * below) / np.maximum(alpha, np.float32(1e-6))
    # A hundredth of a shadow is lost in the noise; without it, most of the ground is untouched to the bit.
    shade[shade < 0.01] = 0
    return Clouds(alpha, shade, bright.astype(np.float32, copy=False))


def _layer(field: F32, level: float, inner: slice, base: float, date: Date) -> Clouds:
    """Turn a noise field into clouds of one height, which count as clouds where the field exceeds `level`."""
    steep = np.float32(2.3)  # optical depth per standard deviation above the threshold: how soft the edges are
    opaque = np.float32(-np.log(1 - VISIBLE))
    excess = np.maximum((field - np.float32(level)) * steep + opaque, 0)
    depth = excess * (1 + excess)
    alpha = 1 - np.exp(-depth)

    azimuth, elevation = np.deg2rad([date.azimuth, date.elevation])
    reach = base / np.tan(elevation) / PIXEL
    # The shadow falls away from the sun: rows grow southwards.
    down, right = round(reach * np.cos(azimuth)), round(-reach * np.sin(azimuth))
    # The sun's disc is half a degree wide, which blurs the edge by base / sin(elevation) / 107 metres.
    penumbra = base / np.sin(elevation) / 107 / PIXEL
    cast = ndimage.gaussian_filter(alpha, max(penumbra, 0.8), truncate=4.0)
    start_y, start_x = inner.start - down, inner.start - right
    size = inner.stop - inner.start
    shade = cast[start_y : start_y + size, start_x : start_x + size]

    # Towers of the cloud: lit on the sun's side, grey on the other.
    tower = ndimage.gaussian_filter(np.log1p(depth), 1.3)
    rise_y, rise_x = np.gradient(tower)
    slope = rise_y * np.float32(np.cos(azimuth)) - rise_x * np.float32(np.sin(azimuth))
    lit = np.tanh(slope * np.float32(3.5))
    thick = 1 - np.exp(-depth * np.float32(0.12))
    bright = (np.float32(0.48) + np.float32(0.52) * thick) * (1 + np.float32(0.36) * lit)
    return Clouds(alpha[inner, inner], shade, bright[inner, inner])
