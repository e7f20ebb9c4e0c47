"""Random fields for the demo scene: fractal noise of a given scale, named random streams, soft thresholds."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import fft

F32: TypeAlias = NDArray[np.float32]
U8: TypeAlias = NDArray[np.uint8]

STRIP_ROWS = 128
"""Rows that are worked on at once: the temporaries of a strip stay in the processor's cache."""


def stream(seed: int, name: str) -> np.random.Generator:
    """Give the random generator of one part of the scene.

    Every part draws from its own stream, so that a change to one does not reshuffle the others.

    Args:
        seed: The scene's seed, 0 or more.
        name: The part, for example ``"river"``.

    Returns:
        A generator that depends on nothing but the two.
    """
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def row_strips(rows: int) -> Iterator[slice]:
    """Yield the slices of consecutive row strips that cover `rows` rows."""
    for start in range(0, rows, STRIP_ROWS):
        yield slice(start, min(start + STRIP_ROWS, rows))


def fractal(size: int, rng: np.random.Generator, *, outer: float, slope: float, inner: float = 0.0) -> F32:
    """Make isotropic fractal noise with the power spectrum ``(f^2 + outer^-2)^(-slope/2)``.

    Scales are in pixels, not in shares of the picture: a larger scene shows more land, not larger fields.

    Args:
        size: Side of the square field in pixels.
        rng: Source of randomness.
        outer: Wavelength in pixels above which the spectrum is flat, that is the size of the largest features.
        slope: Steepness of the spectrum; 2 is rough, 3 is cloud-like, 4 is smooth.
        inner: Gaussian low-pass in pixels that takes the finest detail away; 0 keeps all.

    Returns:
        (size, size) field of mean 0 and standard deviation 1.
    """
    # The canvas is larger than the field: the transform is periodic, the land is not; and a fast length is quicker.
    canvas = fft.next_fast_len(size + min(size // 4, int(outer)), real=True)
    fy = np.fft.fftfreq(canvas).astype(np.float32)[:, None]
    fx = np.fft.rfftfreq(canvas).astype(np.float32)[None, :]
    power = fy**2 + fx**2
    spectrum = fft.rfft2(rng.standard_normal((canvas, canvas), dtype=np.float32), workers=1)
    gain = (power + np.float32(outer**-2)) ** np.float32(-slope / 4)
    if inner:
        gain *= np.exp(np.float32(-2 * (np.pi * inner) ** 2) * power)
    spectrum *= gain
    field: F32 = fft.irfft2(spectrum, s=(canvas, canvas), workers=1)[:size, :size]
    field -= field.mean()
    field /= field.std()
    return field


def smoothstep(values: F32, low: float, high: float) -> F32:
    """Rise smoothly from 0 at `low` to 1 at `high` (falling where `low` > `high`)."""
    t: F32 = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    risen: F32 = t * t * (3 - 2 * t)
    return risen


def share(values: F32) -> U8:
    """Store shares 0..1 in steps of 1/255: a layer of the land needs no more, and takes a quarter."""
    stored: U8 = np.rint(np.clip(values, 0, 1) * np.float32(255)).astype(np.uint8)
    return stored
