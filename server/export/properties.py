"""Properties of a STAC Item that hold for a scene without its clouds, too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from server.scenes.scene import Scene

_BASE: Final = "https://stac-extensions.github.io"
EXTENSIONS: Final = (
    f"{_BASE}/eo/v2.0.0/schema.json",
    f"{_BASE}/processing/v1.2.0/schema.json",
    f"{_BASE}/projection/v2.0.0/schema.json",
    f"{_BASE}/raster/v2.0.0/schema.json",
)
"""Those of every Item that an export writes."""
_VIEW, _SAT, _GRID = (f"{_BASE}/{name}/schema.json" for name in ("view/v1.0.0", "sat/v1.0.0", "grid/v1.1.0"))
_KEPT: Final = frozenset({
    "start_datetime", "end_datetime", "platform", "instruments", "constellation", "mission", "license", "providers",
    "keywords", "processing:level",
})  # fmt: skip
_PREFIXES: Final = {
    "view": "view", "sat": "sat", "grid": "grid", "mgrs": "mgrs", "s2": "sentinel-2", "landsat": "landsat",
}  # fmt: skip
"""Prefixes of properties about the acquisition, and what the address of their extension names it."""
_STALE: Final = re.compile(r"percentage|cloud|cover|product_uri|product_generated|generation_time")
"""What such a property says of the pixels or the product rather than of the acquisition."""


def kept_properties(document: Mapping[str, Any]) -> dict[str, Any]:
    """Those of an Item that say when and how the picture was taken, not what is in its pixels or files.

    Args:
        document: the Item; empty for a scene without one.
    """
    properties = document.get("properties")
    if not isinstance(properties, Mapping):
        return {}
    return {name: value for name, value in properties.items() if name in _KEPT or _is_about_acquisition(name)}


def _is_about_acquisition(name: str) -> bool:
    prefix, _, rest = name.partition(":")
    return prefix in _PREFIXES and bool(rest) and _STALE.search(rest) is None


def extensions_of(document: Mapping[str, Any], properties: Mapping[str, Any]) -> set[str]:
    """Addresses of the extensions that declare properties, as the Item they are from has them, else the usual ones."""
    prefixes = {name.partition(":")[0] for name in properties}
    listed = document.get("stac_extensions")
    stated = [uri for uri in listed if isinstance(uri, str)] if isinstance(listed, list) else []
    found = set()
    for prefix, extension in _PREFIXES.items():
        if prefix in prefixes:
            own = [uri for uri in stated if re.search(rf"/{extension}(?:-extension)?/v", uri)]
            usual = {"view": _VIEW, "sat": _SAT, "grid": _GRID}.get(prefix)
            found |= set(own) or ({usual} if usual else set())
    return found


def acquisition_properties(scene: Scene | None, level: str, identifier: str) -> dict[str, Any]:
    """What is known of a scene without an Item: satellite, orbit, sun, tile, level.

    Args:
        scene: the scene of several files, if it is one.
        level: the target's, `l1c` or `l2a`.
        identifier: the product's, which may name the satellite.
    """
    found: dict[str, Any] = {}
    if satellite := re.match(r"S2([A-D])_", identifier):
        found |= {"platform": f"sentinel-2{satellite[1].lower()}", "constellation": "sentinel-2"}
    elif satellite := re.match(r"L[CETO]0([4-9])_", identifier):
        found |= {"platform": f"landsat-{satellite[1]}", "constellation": "landsat"}
    known = level if scene is None else scene.level
    if known == "l2a" or (known is not None and scene is not None):
        names = {"l2a": "L2", "l1c": "L1"} if str(found.get("platform")).startswith("landsat") else {}
        found["processing:level"] = names.get(known, known.upper())
    if scene is None or (about := scene.acquisition) is None:
        return found
    if about.relative_orbit is not None and about.relative_orbit > 0:
        found["sat:relative_orbit"] = about.relative_orbit
    if about.sun_elevation is not None:
        found["view:sun_elevation"] = about.sun_elevation
    if about.tile is not None and re.fullmatch(r"\d{1,2}[A-Z]{3}", about.tile):
        found["grid:code"] = f"MGRS-{about.tile}"
    elif about.tile is not None and re.fullmatch(r"\d{6}", about.tile):
        found["grid:code"] = f"WRS2-{about.tile}"
    return found
