"""What names of products and of their files state: which product it is, and its processing level."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote, urlsplit

_PRODUCT: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"S2[ABCD]_MSIL(?:1C|2A)_\d{8}T\d{6}(?:_N\d{4})?_R\d{3}_T\d\d[A-Z]{3}"
    r"|L[COTE]0[4-9]_L[12]\w{2}_\d{6}_\d{8}_\d{8}_\d\d_(?:T[12]|RT)"
    r"|HLS\.[LS]30\.T\d\d[A-Z]{3}\.\d{7}T\d{6}"
    r")(?![A-Za-z0-9])"
)
"""Names that ESA, USGS and NASA give their products, up to what tells products apart."""
_LEVEL: Final = re.compile(r"(?P<surface>MSIL2A|_L2A|L2SP|L2SR)|MSIL1C|_L1C|L1TP|L1GT|L1GS")
_SURFACE_FILE: Final = re.compile(r"(?:^|[._-])(?:B\d\w_\d0m|SR_B\d)\.\w+$|^HLS\.", re.IGNORECASE)
"""Names that only files of surface reflectance have; those of Sentinel-2 state a resolution at level 2A only."""


def path_of(url: str) -> str:
    """The path in an address, as it reads without percent signs; a local path is itself."""
    return unquote(urlsplit(url).path) if "://" in url else url


def product_named(urls: Iterable[str]) -> str | None:
    """The one product that some files are of by their paths; None where they name none, or several."""
    found = {name for url in urls for name in _PRODUCT.findall(path_of(url))}
    return found.pop() if len(found) == 1 else None


def levels_stated(path: str) -> list[str]:
    """The processing levels that the names in a path state, `l1c` or `l2a`, outermost first."""
    return ["l2a" if found["surface"] else "l1c" for found in _LEVEL.finditer(path)]


def level_of_files(urls: Iterable[str]) -> str | None:
    """The processing level of the first file whose path has one: stated, the innermost, or by the file's form of name.

    Returns:
        `l1c`, `l2a`, or None where no path has one.
    """
    for url in urls:
        path = path_of(url)
        if stated := levels_stated(path):
            return stated[-1]
        if _SURFACE_FILE.search(path.rsplit("/", 1)[-1]):
            return "l2a"
    return None
