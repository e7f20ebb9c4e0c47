"""Pictures of the land: what a satellite measures above the air on a date."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from server.demo.landscape import PIXEL, Landscape
from server.demo.noise import F32, fractal, row_strips, stream
from server.demo.spectra import BANDS, CROPS, MOTTLING, ROUGHNESS, SMOOTH, Date, crop_spectra, spectrum

QUANTIFICATION = 10000
"""Digital numbers per unit of reflectance."""

BLUR = 0.55
"""Standard deviation in pixels of the optics' point spread; Sentinel-2's transfer is near 0.25 at Nyquist."""

DIRECT = (0.76, 0.80, 0.84, 0.90, 0.95, 0.96)
"""Share of the light that comes straight from the sun, per band; the sky gives the rest, most in blue."""


def illumination(height: F32, date: Date) -> F32:
    """Give the direct sunlight on the slopes relative to level ground, (size, size)."""
    rise_y, rise_x = np.gradient(height, np.float32(PIXEL))
    azimuth, elevation = np.deg2rad([date.azimuth, date.elevation])
    # Row numbers grow southwards, so that the sun's direction is (-cos, sin) in rows and columns.
    south, east = np.float32(-np.cos(azimuth) / np.tan(elevation)), np.float32(np.sin(azimuth) / np.tan(elevation))
    lit: F32 = (1 - south * rise_y - east * rise_x) / np.sqrt(1 + rise_y**2 + rise_x**2)
    return np.clip(lit, 0.35, 1.45)


def render_ground(land: Landscape, date: Date, seed: int) -> F32:
    """Render the land under a clear sky.

    Args:
        land: The land.
        date: When, and under which sun and air.
        seed: The scene's seed.

    Returns:
        (6, size, size) top-of-atmosphere reflectance without sensor noise.
    """
    size = land.size
    rng = stream(seed, "texture")  # the same ground on both dates
    fine = fractal(size, rng, outer=6, slope=1.6)
    stand = fractal(size, rng, outer=70, slope=2.4)
    soil = fractal(size, rng, outer=260, slope=2.6)
    own = fractal(size, stream(seed, f"texture {date.day}"), outer=90, slope=2.2)
    lit = illumination(land.height, date)

    crops = crop_spectra(date)
    greener = spectrum("green_crop", date) - spectrum("dark_soil", date)
    rows_of = np.array([crop.rows for crop in CROPS], np.float32) / 127
    layers = [
        (spectrum(cover, date), np.float32(ROUGHNESS.get(cover, SMOOTH)), np.float32(MOTTLING.get(cover, SMOOTH)), part)
        for cover, part in land.layers
    ]
    picture = np.empty((len(BANDS), size, size), np.float32)
    for rows in row_strips(size):
        crop = (land.fields.clear if date.clear else land.fields.cloudy)[rows]
        vigour = (land.fields.vigour[rows].astype(np.float32) - 128) / 128
        turn = (land.fields.turn[rows].astype(np.float32) - 128) / 128
        lush = vigour * np.float32(0.20) + turn * np.float32(0.22 if date.clear else 0.0)
        lush += np.float32(0.045) * stand[rows] + np.float32(0.025) * own[rows]
        tint = 1 + np.float32(0.07) * soil[rows] + np.float32(0.035) * fine[rows]
        tint += rows_of[crop] * land.fields.rows[rows] + np.float32(0.10) * turn * np.float32(1 if date.clear else -0.3)
        parts = [part[rows] * np.float32(1 / 255) for *_, part in layers]
        grain, patch = fine[rows], stand[rows] + np.float32(0.4) * own[rows]
        for band in range(len(BANDS)):
            surface = (crops[crop, band] + lush * greener[band]) * tint
            for (values, rough, mottled, _), part in zip(layers, parts, strict=True):
                surface += part * (values[band] * (1 + rough * grain + mottled * patch) - surface)
            light = 1 + np.float32(DIRECT[band]) * (lit[rows] - 1)
            picture[band, rows] = np.maximum(surface, np.float32(0.004)) * light
    for band in range(len(BANDS)):
        seen = ndimage.gaussian_filter(picture[band], BLUR, mode="nearest", truncate=4.0)
        picture[band] = seen * np.float32(date.gain[band]) + np.float32(date.path[band])
    return picture


def sense(reflectance: F32, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Measure one band: add the sensor's noise and store digital numbers.

    Args:
        reflectance: (size, size) top-of-atmosphere reflectance.
        rng: Source of the noise, which is a floor plus shot noise (about 150:1 at reflectance 0.2).

    Returns:
        (size, size) reflectance x 10000, at least 1, since 0 means that there is no data.
    """
    noise = rng.standard_normal(reflectance.shape, dtype=np.float32)
    noise *= np.sqrt(np.float32(4e-7) + np.float32(6e-6) * np.maximum(reflectance, 0))
    noise += reflectance
    return np.clip(np.rint(noise * QUANTIFICATION), 1, np.iinfo(np.uint16).max).astype(np.uint16)
