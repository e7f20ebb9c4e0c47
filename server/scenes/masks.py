"""Masks that come with a scene: which classes and bits of SCL, QA_PIXEL, Fmask and UDM2 are cloud, shadow, no data."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from algorithms.errors import ParameterError, ShapeError
from algorithms.masks import CLEAR, CLOUD, NODATA, SHADOW
from server.scenes.bounded import short

AUTO: Final = "auto"
"""The first kind of mask that a scene has."""
HIGHEST_BIT: Final = 63
"""Of a mask of bits, counted from 0, the least significant."""

_HIGH: Final = 3
"""High confidence in the two-bit fields of QA_PIXEL; 2 is medium for clouds and unused for shadow and cirrus."""


@dataclass(frozen=True, slots=True)
class MaskPreset:
    """How one kind of mask is read."""

    kind: str
    """What `mask=` calls it."""
    bands: tuple[int, ...]
    """1-based numbers of the bands it is read from."""
    meaning: str
    """What counts as cloud, shadow and no data, in words."""
    read: Callable[[NDArray[Any]], tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]]
    """From values, bands x rows x columns, to where cloud, shadow and no data are."""


_Parts = tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]


def _scl(values: NDArray[Any]) -> _Parts:
    return np.isin(values[0], (8, 9, 10)), values[0] == 3, values[0] == 0


def _qa_pixel(values: NDArray[Any]) -> _Parts:
    """A flag is set at high confidence; both are looked at, since some processors fill in only one of them."""
    qa = values[0]
    cloud = any_bit(qa, (1, 2, 3)) | (_field(qa, 8) == _HIGH) | (_field(qa, 14) == _HIGH)
    shadow = any_bit(qa, (4,)) | (_field(qa, 10) == _HIGH)
    return cloud, shadow, any_bit(qa, (0,))


def _fmask(values: NDArray[Any]) -> _Parts:
    return any_bit(values[0], (1, 2)), any_bit(values[0], (3,)), values[0] == 255


def _udm2(values: NDArray[Any]) -> _Parts:
    shadow, light, heavy, cloud, unusable = values
    # The last band is the older mask: bit 0 is outside the picture, bit 1 cloud, the others are damaged bands.
    clouded = (light != 0) | (heavy != 0) | (cloud != 0) | any_bit(unusable, (1,))
    return clouded, shadow != 0, any_bit(unusable, (0, 2, 3, 4, 5, 6, 7))


PRESETS: Final[Mapping[str, MaskPreset]] = {
    preset.kind: preset
    for preset in (
        MaskPreset("scl", (1,), "classes 8, 9, 10 are cloud, 3 is shadow, 0 is no data", _scl),
        MaskPreset("qa_pixel", (1,), "bits 1, 2, 3 are cloud, 4 is shadow, 0 is no data", _qa_pixel),
        MaskPreset("fmask", (1,), "bits 1, 2 are cloud, 3 is shadow, 255 is no data", _fmask),
        MaskPreset("udm2", (3, 4, 5, 6, 8), "bands 4, 5, 6 are cloud, 3 is shadow, 8 is what cannot be used", _udm2),
    )
}
"""By kind, in the order in which `auto` looks for them."""


def any_bit(values: NDArray[Any], bits: Sequence[int]) -> NDArray[np.bool_]:
    """Where at least one of some bits is set.

    Args:
        values: whole numbers, any shape.
        bits: counted from 0, the least significant.

    Raises:
        ParameterError: the values are not whole numbers, or have fewer bits.
    """
    if values.dtype.kind not in "iu":
        raise ParameterError(f"only whole numbers have bits, and the mask is {values.dtype}; use mask_remap")
    width = 8 * values.dtype.itemsize
    if beyond := [bit for bit in bits if not 0 <= bit < width]:
        raise ParameterError(
            f"mask_bits: bit {beyond[0]} does not exist; the mask has bits 0 to {width - 1}: name these"
        )
    unsigned = values.view(f"u{values.dtype.itemsize}") if values.dtype.kind == "i" else values
    wanted = unsigned.dtype.type(sum(1 << bit for bit in set(bits)))
    found: NDArray[np.bool_] = (unsigned & wanted) != 0
    return found


def _field(values: NDArray[Any], first: int) -> NDArray[np.uint8]:
    """A field of two bits."""
    low, high = any_bit(values, (first,)), any_bit(values, (first + 1,))
    return low.astype(np.uint8) + 2 * high.astype(np.uint8)


def mask_classes(kind: str, values: NDArray[Any]) -> NDArray[np.uint8]:
    """Classes from a mask that comes with a scene.

    Args:
        kind: one of `PRESETS`.
        values: the preset's `bands`, bands x rows x columns, as they are in the file.

    Returns:
        Rows x columns: 0 clear, 1 cloud, 2 shadow, 255 no data. No data goes before cloud, cloud before shadow.

    Raises:
        ParameterError: an unknown kind, or values that cannot be of it. ShapeError: another number of bands.
    """
    preset = preset_of(kind)
    if values.ndim != 3 or values.shape[0] != len(preset.bands):
        raise ShapeError(
            f"{kind} is read from {len(preset.bands)} bands x rows x columns, not from an array of {values.shape}; "
            f"give bands {', '.join(map(str, preset.bands))} of the mask"
        )
    if values.dtype.kind not in "iu":
        raise ParameterError(f"{kind} holds whole numbers, this mask is {values.dtype}; use mask_remap")
    if kind == "qa_pixel" and values.dtype.itemsize < 2:
        raise ParameterError(f"qa_pixel has 16 bits, this mask is {values.dtype}; use mask_bits or mask_remap")
    cloud, shadow, nothing = preset.read(values)
    classes = np.full(values.shape[1:], CLEAR, np.uint8)
    classes[shadow] = SHADOW
    classes[cloud] = CLOUD
    classes[nothing] = NODATA
    return classes


@dataclass(frozen=True, slots=True)
class MaskCode:
    """How a mask's numbers become classes."""

    kind: str | None
    """One of `PRESETS`; None: by bits."""
    bits: tuple[int, ...] = ()
    """Bits that mean cloud."""

    @property
    def meaning(self) -> str:
        """What counts as cloud, in words."""
        if self.kind is not None:
            return f"{self.kind}: {preset_of(self.kind).meaning}"
        return f"bits {', '.join(map(str, self.bits))} are cloud"

    def classes(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Rows x columns of classes from bands x rows x columns; see `mask_classes`."""
        if self.kind is not None:
            return mask_classes(self.kind, values)
        return any_bit(values[0], self.bits).astype(np.uint8)


def preset_of(kind: str) -> MaskPreset:
    """The preset of a kind.

    Raises:
        ParameterError: there is none.
    """
    if kind not in PRESETS:
        raise ParameterError(
            f"mask {kind[:40]!r} is none of {', '.join(PRESETS)}, {AUTO}; choose one of these, or give a raster"
        )
    return PRESETS[kind]


def chosen_kind(wanted: str, there: Sequence[str], whose: str = "the scene") -> str:
    """Which of a scene's masks a request means.

    Args:
        wanted: a kind, or `auto`.
        there: the kinds that the scene has.
        whose: what errors call the scene.

    Raises:
        ParameterError: an unknown kind, or one that the scene does not have.
    """
    if wanted == AUTO:
        if found := next((kind for kind in PRESETS if kind in there), None):
            return found
        raise ParameterError(
            f"mask=auto: the scene comes with none of {', '.join(PRESETS)}; leave `mask` out to have clouds detected"
        )
    preset_of(wanted)
    if wanted not in there:
        own = ", ".join(kind for kind in PRESETS if kind in there) or "no mask"
        raise ParameterError(f"mask={wanted}: {whose} comes with {own}; name that, or `auto` for each its own")
    return wanted


def parse_bits(text: str) -> tuple[int, ...]:
    """The bits of `mask_bits=3,4` in ascending order, each once.

    Raises:
        ParameterError: not whole numbers from 0 to `HIGHEST_BIT` between commas.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[0-9]{1,2}", part) and int(part) <= HIGHEST_BIT for part in parts):
        raise ParameterError(
            f"mask_bits={text[:40]!r} is not a list of bits from 0, the least significant, to {HIGHEST_BIT}; "
            "write mask_bits=3,4"
        )
    return tuple(sorted({int(part) for part in parts}))


_NAMES: Final = {
    "scl": re.compile(r"(?:^|[_.-])scl(?:[_-]\d+m)?(?:-jp2)?$", re.IGNORECASE),
    "qa_pixel": re.compile(r"(?:^|[_.-])qa_?pixel$", re.IGNORECASE),
    "fmask": re.compile(r"(?:^|[_.-])fmask$", re.IGNORECASE),
    "udm2": re.compile(r"(?:^|[_.-])udm2(?:_clip|_file_format)?$", re.IGNORECASE),
}
_CLASSED: Final = re.compile(r"(?:^|[_.-])oa_fmask$|^ga_\w.*fmask$", re.IGNORECASE)
"""An Fmask of Digital Earth Australia, which has classes from 0 to 5 in place of bits."""
_FIELDS: Final = {("cloud", 3): "qa_pixel", ("cloud", 1): "fmask"}
"""What kind a mask is whose field of clouds begins at a bit; their shadow is the next bit, or the next but one."""
_SHADOW_AT: Final = {"qa_pixel": 4, "fmask": 3}


def is_classed_mask(key: str, *, file: str = "") -> bool:
    """Whether an asset is an Fmask with classes in place of bits; arguments as for `mask_kind`."""
    return any(_CLASSED.search(name) for name in (key, re.sub(r"\.(?:tiff?|jp2)$", "", file, flags=re.IGNORECASE)))


def mask_kind(key: str, *, file: str = "", fields: object = None) -> str | None:
    """What kind of mask an asset is: by its key, its file's name, or its bits.

    Args:
        key: the asset's key in the document.
        file: name of its file.
        fields: `classification:bitfields`, as the document has them.

    Returns:
        One of `PRESETS`, None where it is not a mask, or one of unknown bits.
    """
    stem = re.sub(r"\.(?:tiff?|jp2)$", "", file, flags=re.IGNORECASE)
    for kind, pattern in _NAMES.items():
        if (pattern.search(key) or pattern.search(stem)) and not is_classed_mask(key, file=file):
            return kind
    first = {
        name.lower().replace("-", "_"): field.get("offset")
        for field in (fields if isinstance(fields, list) else [])
        if isinstance(field, dict) and isinstance(name := short(field.get("name")), str)
    }
    cloud, shadow = first.get("cloud"), first.get("cloud_shadow", first.get("shadow"))
    if isinstance(cloud, int) and (found := _FIELDS.get(("cloud", cloud))) and shadow == _SHADOW_AT[found]:
        return found
    return None
