"""Scenes given as a list of files, one for each band: `{B02,B03,B04}.tif`, or several addresses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from pathlib import PurePosixPath
from typing import Final

from algorithms.bands import ROLES, common_names
from algorithms.errors import ParameterError
from server.scenes.productnames import is_landsat_surface, is_sentinel2, level_of_files, path_of, product_named
from server.scenes.reflectance import LANDSAT_SURFACE, Reflectance, baseline_of, reflectance_by_rules
from server.scenes.scene import Scene, SceneBand

MOST_BAND_FILES: Final = 64
"""Files of one list."""
_BRACES: Final = re.compile(r"\{([^{}]*)\}")
_BAND: Final = re.compile(r"(?:^|[._-])((?:SR_)?B(?:0?[1-9]|1[0-2]|8A)(?:_[0-9]{2}m)?)$", re.IGNORECASE)
_SENTINEL: Final = re.compile(r"(?:^|[/_])B(?:\d\d|8A)(?:_\d\dm)?\.(?:jp2|tiff?)$", re.IGNORECASE)
_LANDSAT: Final = re.compile(r"(?:^|[/_])SR_B\d\.tiff?$", re.IGNORECASE)
"""Files of reflectance as their products call them."""


def is_band_list(url: str) -> bool:
    """Whether a name stands for several files."""
    return "{" in url


def joined_files(urls: Sequence[str]) -> str:
    """Several addresses as one name.

    Raises:
        ParameterError: one that cannot be part of it.
    """
    if len(urls) == 1:
        return urls[0]
    if strange := next((url for url in urls if set(url) & set("{},")), None):
        raise ParameterError(f"{strange[:200]!r} cannot be one of several: it holds braces or a comma")
    return "{" + ",".join(urls) + "}"


def expanded(url: str) -> tuple[str, ...]:
    """The addresses that a name with braces stands for, in their order.

    Raises:
        ParameterError: braces that do not close, or too many files.
    """
    parts = _BRACES.split(url)
    if any("{" in part or "}" in part for part in parts):
        raise ParameterError(f"{url[:200]!r} has braces that do not close; write {{B02,B03,B04}}.tif")
    choices = [[part] if k % 2 == 0 else part.split(",") for k, part in enumerate(parts)]
    count = 1
    for choice in choices:
        count *= len(choice)
    if count > MOST_BAND_FILES:
        raise ParameterError(f"{url[:200]!r} stands for {count} files; up to {MOST_BAND_FILES} are read")
    found = tuple("".join(combination).strip() for combination in product(*choices))
    if not all(found) or len(set(found)) < len(found):
        raise ParameterError(f"{url[:200]!r} names a file twice or not at all; name each band once")
    return found


def files_of(url: str) -> tuple[str, ...]:
    """The files that a name stands for: those of a list, else itself."""
    return expanded(url) if is_band_list(url) else (url,)


def file_label(url: str) -> str:
    """What a file's band is called: `B02`, `SR_B4`, `B8A_20m` at the end of its name, else the name without ending."""
    stem = PurePosixPath(path_of(url)).stem
    return found[1] if (found := _BAND.search(stem)) else stem


def band_of_file(url: str) -> str | None:
    """What a file's name says of its one band, for `common_names`; None where it names none."""
    stem = PurePosixPath(path_of(url)).stem
    if stem.lower() in ROLES:
        return stem
    found = _BAND.search(stem)
    if found is None:
        return None
    return stem if common_names([stem]) != (None,) else found[1]


def band_list(url: str, files: Sequence[str]) -> Scene:
    """The scene of a list of files, its bands named by their files.

    Args:
        url: the whole list's name.
        files: the files' admitted names, which state the processing level too.
    """
    labels = [file_label(file) for file in files]
    names = common_names(labels)
    meanings = [_reflectance(file) for file in files]
    bands = [
        SceneBand(
            name, label, file, scale=meaning.scale, offset=meaning.offset, source=meaning.source,
            whole_only=meaning.whole_only,
        )
        for name, label, file, meaning in zip(names, labels, files, meanings, strict=True)
    ]  # fmt: skip
    return Scene(url=url, bands=tuple(bands), level=level_of_files(files), whole=True)


def _reflectance(file: str) -> Reflectance:
    """What the numbers of a file mean by its product's whole name; a short name is anybody's, and the file decides."""
    path, product = path_of(file), product_named([file]) or ""
    return reflectance_by_rules(
        [],
        applied=None,
        sentinel2=is_sentinel2(product) and _SENTINEL.search(path) is not None,
        baseline=baseline_of([], [product]),
        landsat=LANDSAT_SURFACE if is_landsat_surface(product) and _LANDSAT.search(path) is not None else None,
    )
