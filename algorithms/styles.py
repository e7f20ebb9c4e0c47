"""Styles: the named renderings of a scene, by the common names of its bands, declared here and only here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from algorithms.errors import BandError

Scaling = Literal["tone", "common", "each", "index", "none"]
"""How values become tones: by the tone curve, by a range common to all bands, by one for each, as an index
(a - b) / (a + b) with a colour map, or not at all."""

_NIR: Final = ("nir", "nir08")
_VISIBLE: Final = (("red",), ("green",), ("blue",))


@dataclass(frozen=True, slots=True)
class Style:
    """One way to show a scene."""

    name: str
    """Its name in requests and recipes."""
    title: str
    """Its name for people."""
    scaling: Scaling
    """How values become tones."""
    bands: tuple[tuple[str, ...], ...] = ()
    """For each channel the common names of bands that serve, the best first; of an index a and b."""
    exposure: float = 1.0
    """Of the tone curve: factor of the reflectance."""
    colormap: str = ""
    """Of an index: name of a colour map."""
    limits: tuple[float, float] = (-1.0, 1.0)
    """Of an index: the values at both ends of the colour map."""

    @property
    def own_bands(self) -> bool:
        """Whether it makes sense for other bands than its own."""
        return self.scaling in ("tone", "common", "each", "none")

    def choose(self, names: Sequence[str | None]) -> tuple[str, ...]:
        """Names of the bands to show, in the order of the channels.

        Args:
            names: what the raster has.

        Raises:
            BandError: it lacks one.
        """
        found = tuple(next((name for name in wanted if name in names), None) for wanted in self.bands)
        chosen = tuple(name for name in found if name is not None)
        if len(chosen) < len(found):
            lacking = " and ".join(
                "/".join(wanted) for wanted, name in zip(self.bands, found, strict=True) if name is None
            )
            known = ", ".join(name or "?" for name in names)
            raise BandError(
                f"style {self.name!r} shows {lacking}, which is not among the raster's bands [{known}]; choose another "
                "style, or name every band in its order with `bands=`"
            )
        return chosen


STYLES: Final[Mapping[str, Style]] = MappingProxyType(
    {
        style.name: style
        for style in (
            Style("natural", "Natural colour", "tone", _VISIBLE),
            Style("auto", "Natural colour, stretched", "common", _VISIBLE),
            Style("per-band", "Natural colour, each band stretched", "each", _VISIBLE),
            Style("false-color", "False colour (near infrared)", "tone", (_NIR, ("red",), ("green",)), 0.5),
            Style("swir", "Short-wave infrared", "tone", (("swir22", "swir16"), _NIR, ("red",)), 0.5),
            Style("ndvi", "Vegetation (NDVI)", "index", (_NIR, ("red",)), colormap="rdylgn", limits=(-0.2, 1.0)),
            Style("ndwi", "Water (NDWI)", "index", (("green",), _NIR), colormap="rdbu", limits=(-0.8, 0.8)),
            Style("ndsi", "Snow (NDSI)", "index", (("green",), ("swir16",)), colormap="blues_r", limits=(-0.2, 1.0)),
            Style("raw", "Values as they are", "none"),
        )
    }
)
"""By name; `natural` is the default of pictures."""

DEFAULT_STYLE: Final = STYLES["natural"]
"""Of a picture of reflectance for which nothing else is asked."""
