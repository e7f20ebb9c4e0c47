"""What a scene is: bands in files, and what its documents say of them and of the acquisition."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

from algorithms.bands import ROLES
from algorithms.errors import BandError
from server.errors import SourceForbiddenError
from server.remote.signatures import unsigned_name
from server.scenes.acquisition import Acquisition
from server.scenes.bandnames import numbers_of

DOCUMENT_BYTES: Final = 8 << 20
"""Most bytes of a document; Items have 10,000 to 80,000."""
PICTURE: Final = ("red", "green", "blue")
"""Bands shown where a request names none."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file within an archive, stored there as it is."""

    name: str
    """Its name in the archive."""
    offset: int
    """Bytes of the archive before it."""
    size: int
    """Bytes of it."""


@dataclass(frozen=True, slots=True)
class SceneBand:
    """One band of a scene: where it is, and what its numbers mean."""

    name: str | None
    """Common name, `blue`; None where it is unknown."""
    asset: str
    """What the product calls it: the asset's key, `B02`."""
    url: str
    """Address or path of its file."""
    index: int = 1
    """1-based number of the band in the file."""
    resolution: float | None = None
    """Ground size of a pixel in metres, where the document says so."""
    scale: float | None = None
    """Reflectance per digital number; None: the file decides."""
    offset: float | None = None
    """Reflectance at digital number 0; None: the file decides."""
    nodata: float | None = None
    """Value without data, where the document says so."""
    source: str = "the file"
    """Where scale and offset come from."""
    whole_only: bool = False
    """Whether scale and offset are those of an archive's whole numbers, so that a file of fractions decides."""
    alternates: tuple[str, ...] = ()
    """Further addresses of the same file."""
    member: Member | None = None
    """Where in the file at `url` its own file is, if that is an archive."""


@dataclass(frozen=True, slots=True)
class SceneMask:
    """A mask that comes with a scene; `server.scenes.masks` reads it."""

    kind: str
    """One of the presets, `scl`."""
    asset: str
    """What the product calls it: the asset's key."""
    url: str
    """Address or path of its file."""
    member: Member | None = None
    """Where in the file at `url` its own file is, if that is an archive."""
    alternates: tuple[str, ...] = ()
    """Further addresses of the same file."""


def _named(url: str) -> str:
    """The name of a file, or what is none as it is."""
    try:
        return unsigned_name(url)
    except SourceForbiddenError:
        return url


@lru_cache(maxsize=32)  # scenes of hostile documents take up to 1 MB
def scene_digest(scene: Scene) -> str:
    """What a scene's documents say, as a short text: the same where only signatures of addresses differ."""
    masks = [(mask.kind, mask.asset, _named(mask.url), mask.member) for mask in scene.masks]
    bands = [replace(band, url=_named(band.url), alternates=()) for band in scene.bands]
    others = [[_named(url) for url in band.alternates] for band in scene.bands]
    others += [[_named(url) for url in mask.alternates] for mask in scene.masks]
    said = (replace(scene, url="", bands=(), masks=()), bands, masks, others)
    return hashlib.sha256(repr(said).encode()).hexdigest()[:24]


def standing_in(bands: Sequence[SceneBand]) -> tuple[SceneBand, ...]:
    """Bands, the narrow near infrared named `nir` where there is no broad one, as `algorithms.bands` names them."""
    names = [band.name for band in bands]
    if "nir" in names or "nir08" not in names:
        return tuple(bands)
    narrow = names.index("nir08")
    return (*bands[:narrow], replace(bands[narrow], name="nir"), *bands[narrow + 1 :])


def missing_bands(url: str, labels: Sequence[str]) -> tuple[str, ...]:
    """The warning of bands that a product's metadata name and its files lack; nothing without any."""
    return (f"{url!r} lacks {', '.join(labels)}, which its metadata name: unpack all of it",) if labels else ()


@dataclass(frozen=True, slots=True)
class Scene:
    """A scene of several files."""

    url: str
    """What names it."""
    bands: tuple[SceneBand, ...]
    """Bands of reflectance, in the order of the document."""
    level: str | None = None
    """Processing level, `l1c` or `l2a`; None where nothing states it."""
    whole: bool = False
    """Whether its user chose the bands: a list of files, all of which the fill then works with."""
    warnings: tuple[str, ...] = field(default=())
    """What is odd about it."""
    acquisition: Acquisition | None = None
    """What its document says of date and place."""
    masks: tuple[SceneMask, ...] = ()
    """Masks that come with it, one of a kind."""
    classed_mask: str | None = None
    """Key of a mask that has classes in place of a preset's bits: a raster with `mask_remap` for whoever names it."""
    api_root: str | None = None
    """The STAC API that it is from."""

    def renamed(self, names: Sequence[str | None]) -> Scene:
        """The same with other common names.

        Raises:
            BandError: not one for every band.
        """
        if len(names) != len(self.bands):
            raise BandError(
                f"bands={','.join(name or '?' for name in names)} names {len(names)} bands, the scene has "
                f"{len(self.bands)}; name every one"
            )
        return replace(
            self, bands=tuple(replace(band, name=name) for band, name in zip(self.bands, names, strict=True))
        )

    def numbers_of(self, names: tuple[str, ...]) -> tuple[int, ...]:
        """1-based numbers of the bands of some common names, those that there are."""
        own = [band.name for band in self.bands]
        return tuple(own.index(name) + 1 for name in names if name in own)

    def asked(self, words: Sequence[str]) -> tuple[int, ...]:
        """1-based numbers of the bands that words mean, see `band_number`.

        Raises:
            ParameterError: a word that means none.
        """
        return numbers_of(words, self.labels, names_first=True)

    @property
    def labels(self) -> tuple[tuple[str, ...], ...]:
        """What each band answers to."""
        return tuple(tuple(label for label in (band.name, band.asset) if label) for band in self.bands)

    @property
    def analysed(self) -> tuple[int, ...]:
        """Numbers of the bands that masks and fills are made from, whatever is shown."""
        return tuple(range(1, 1 + len(self.bands))) if self.whole else tuple(sorted(self.numbers_of(ROLES)))

    @property
    def picture(self) -> tuple[int, ...]:
        """Numbers of the bands shown where a request names none: red, green and blue, or the first."""
        found = self.numbers_of(PICTURE)
        return found if len(found) == len(PICTURE) else (1,)
