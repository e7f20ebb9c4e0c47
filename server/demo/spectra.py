"""What covers the land, how it reflects, and how that differs between the two dates of the demo scene.

The reflectances are rounded values typical of the materials in the ECOSTRESS spectral library (Meerdink et al. 2019,
doi:10.1016/j.rse.2019.05.015) and the USGS Spectral Library Version 7 (Kokaly et al. 2017, doi:10.3133/ds1035), as
seen through the six bands that Sentinel-2 and Landsat share. They are surface reflectances of mixed 10 m pixels (a
forest with its inner shade, a town with its streets), which are darker than the pure laboratory samples. They are
meant to look right, not to stand in for either library.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from server.demo.noise import F32

BANDS = ("blue", "green", "red", "nir", "swir16", "swir22")

#                    blue   green    red     nir   swir16  swir22
SPECTRA = {
    "green_crop":  (0.030, 0.076, 0.036, 0.440, 0.185, 0.080),
    "grass":       (0.040, 0.088, 0.060, 0.350, 0.215, 0.115),
    "pasture":     (0.056, 0.098, 0.096, 0.300, 0.265, 0.155),
    "straw":       (0.082, 0.138, 0.180, 0.310, 0.340, 0.230),
    "dry_grass":   (0.068, 0.112, 0.130, 0.270, 0.300, 0.190),
    "dark_soil":   (0.058, 0.080, 0.105, 0.165, 0.230, 0.190),
    "bright_soil": (0.100, 0.148, 0.192, 0.265, 0.335, 0.280),
    "broadleaf":   (0.027, 0.059, 0.034, 0.400, 0.195, 0.085),
    "conifer":     (0.023, 0.046, 0.029, 0.295, 0.140, 0.060),
    "hedge":       (0.026, 0.053, 0.032, 0.340, 0.170, 0.075),
    "track":       (0.120, 0.165, 0.205, 0.270, 0.320, 0.270),
    "gravel":      (0.160, 0.190, 0.212, 0.265, 0.290, 0.250),
    "water":       (0.036, 0.056, 0.036, 0.022, 0.010, 0.007),
    "asphalt":     (0.105, 0.118, 0.128, 0.158, 0.180, 0.165),
    "terracotta":  (0.085, 0.112, 0.168, 0.235, 0.262, 0.225),
    "concrete":    (0.135, 0.150, 0.162, 0.205, 0.220, 0.195),
    "white_roof":  (0.270, 0.280, 0.285, 0.310, 0.290, 0.260),
    "garden":      (0.040, 0.068, 0.055, 0.260, 0.175, 0.100),
}  # fmt: skip

ROUGHNESS = {"broadleaf": 0.13, "conifer": 0.14, "hedge": 0.12, "garden": 0.12, "terracotta": 0.12, "concrete": 0.14}
"""Relative standard deviation from pixel to pixel of covers that are not smooth at 10 m; 0.04 for the others."""

MOTTLING = {"broadleaf": 0.06, "conifer": 0.06, "pasture": 0.07}
"""Relative standard deviation between patches of 50 to 500 m, as stands of trees differ; 0.04 for the others."""

SMOOTH = 0.04


@dataclass(frozen=True)
class Crop:
    """A use of a field: how common it is, and the mixture of covers that it shows on either date.

    Attributes:
        share: Relative frequency among the fields.
        cloudy: Shares of covers on the cloudy date, early July.
        clear: Shares of covers on the other date, five weeks later.
        rows: Relative amplitude of the rows and tramlines seen within the field.
    """

    share: float
    cloudy: dict[str, float]
    clear: dict[str, float]
    rows: float


CROPS = (
    # maize closes its canopy between the dates
    Crop(0.19, {"green_crop": 0.80, "dark_soil": 0.20}, {"green_crop": 0.97, "dark_soil": 0.03}, 0.03),
    # wheat stands ripe, then is stubble
    Crop(0.20, {"straw": 0.95, "grass": 0.05}, {"straw": 0.45, "dark_soil": 0.40, "grass": 0.15}, 0.05),
    # barley is stubble already, then is ploughed
    Crop(0.09, {"straw": 0.55, "bright_soil": 0.45}, {"bright_soil": 0.50, "dark_soil": 0.50}, 0.05),
    # sunflower flowers, then dries
    Crop(0.12, {"green_crop": 0.72, "grass": 0.13, "dark_soil": 0.15},
         {"green_crop": 0.30, "dry_grass": 0.57, "dark_soil": 0.13}, 0.04),
    # alfalfa is cut between the dates
    Crop(0.11, {"green_crop": 0.55, "grass": 0.45}, {"green_crop": 0.22, "grass": 0.55, "dry_grass": 0.23}, 0.03),
    # meadow dries in summer
    Crop(0.10, {"grass": 0.75, "dry_grass": 0.25}, {"grass": 0.45, "dry_grass": 0.55}, 0.02),
    # fallow stays bare
    Crop(0.06, {"dark_soil": 0.80, "grass": 0.20}, {"dark_soil": 0.70, "bright_soil": 0.12, "grass": 0.18}, 0.04),
    # vineyards and olive groves change little
    Crop(0.09, {"grass": 0.38, "bright_soil": 0.42, "hedge": 0.20},
         {"grass": 0.36, "bright_soil": 0.44, "hedge": 0.20}, 0.09),
    # tomatoes fill their rows
    Crop(0.04, {"green_crop": 0.38, "dark_soil": 0.62}, {"green_crop": 0.68, "dark_soil": 0.32}, 0.06),
)  # fmt: skip

# Trees age and water clears a little between the dates; covers not named here keep their spectrum.
SEASON = {
    "broadleaf": (1.10, 1.05, 1.14, 0.96, 1.05, 1.08),
    "hedge": (1.08, 1.02, 1.12, 0.93, 1.05, 1.08),
    "garden": (1.08, 1.04, 1.15, 0.90, 1.05, 1.08),
    "pasture": (1.06, 1.04, 1.14, 0.94, 1.06, 1.10),
    "water": (1.05, 0.90, 0.85, 0.95, 1.00, 1.00),
}


@dataclass(frozen=True)
class Date:
    """The conditions under which one of the two pictures was taken.

    Attributes:
        day: ISO date.
        clear: Whether this is the cloud-free date, which picks the crops' and trees' state.
        azimuth: Of the sun, degrees clockwise from north.
        elevation: Of the sun above the horizon, degrees.
        path: Reflectance of the air itself per band; it is highest in blue.
        gain: Transmission of the air times calibration, per band.
    """

    day: str
    clear: bool
    azimuth: float
    elevation: float
    path: tuple[float, ...]
    gain: tuple[float, ...]


CLOUDY_DATE = Date(
    day="2025-07-05", clear=False, azimuth=141.0, elevation=62.0,
    path=(0.051, 0.029, 0.016, 0.008, 0.003, 0.002), gain=(0.92, 0.93, 0.95, 0.96, 0.96, 0.95),
)  # fmt: skip
CLEAR_DATE = Date(
    day="2025-08-09", clear=True, azimuth=147.0, elevation=56.0,
    path=(0.044, 0.024, 0.012, 0.006, 0.002, 0.002), gain=(0.98, 0.99, 1.00, 1.00, 0.99, 0.98),
)  # fmt: skip


def spectrum(cover: str, date: Date) -> F32:
    """Give the surface reflectance of a cover on a date, (6,)."""
    values = np.array(SPECTRA[cover], np.float32)
    return values * np.array(SEASON[cover], np.float32) if date.clear and cover in SEASON else values


def crop_spectra(date: Date) -> F32:
    """Give the mean surface reflectance of every crop on a date, (crops, 6)."""
    table = np.zeros((len(CROPS), len(BANDS)), np.float32)
    for index, crop in enumerate(CROPS):
        for cover, part in (crop.clear if date.clear else crop.cloudy).items():
            table[index] += np.float32(part) * spectrum(cover, date)
    return table
