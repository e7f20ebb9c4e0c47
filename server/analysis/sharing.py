"""What processes share of the analysis: which values, under which names, and what tells software apart."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Hashable
from functools import cache, lru_cache
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

import rasterio

from algorithms.bend import Bend
from algorithms.border import Border
from algorithms.errors import ParameterError
from algorithms.models import MODELS
from algorithms.scene import SceneFit
from algorithms.sessions import SESSIONS
from server import __version__
from server.analysis.admissible import SHARED_KEYS, fits
from server.analysis.blocks import BlockFields, BlockFill
from server.analysis.offers import Offer, Ranking
from server.raster.dataset import Dataset
from server.raster.grid import Box
from server.raster.layer import Layer
from server.scenes.acquisition import Acquisition
from server.scenes.search import LeftOut
from server.work.codec import Codec
from server.work.folderstore import DEFAULT_FOLDER_BYTES, FolderStore
from server.work.redisstore import RedisStore
from server.work.shared import NamedKey, SharedCache
from server.work.store import Store

SHARED_TYPES: Final = (Acquisition, Bend, BlockFields, BlockFill, Border, Box, LeftOut, Offer, Ranking, SceneFit)
"""What their values consist of, next to arrays and numbers."""
_COMPUTING: Final = (
    "algorithms",
    "server.analysis",
    "server.http",
    "server.raster",
    "server.recipes",
    "server.scenes",
    "server.work",
)
"""Packages whose code decides what a value is."""
_LIBRARIES: Final = ("numpy", "scipy", "rio-tiler")


def shared_cache(url: str | None) -> SharedCache | None:
    """The cache that `CLEARSKY_CACHE_URL` names; None where it names none.

    Raises:
        ParameterError: it is neither `redis://` nor `file:///`, or a folder that cannot be used.
    """
    if url is None:
        return None
    software()  # now, rather than within the first request
    return SharedCache(store_at(url), Codec(SHARED_TYPES), name_of, fits)


def store_at(url: str) -> Store:
    """The store at an address: `redis://HOST:PORT/0`, `rediss://...`, `file:///FOLDER?max_bytes=BYTES`.

    Raises:
        ParameterError: see `shared_cache`.
    """
    parts = urlsplit(url)
    if parts.scheme in ("redis", "rediss", "unix"):
        return RedisStore(url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
        query = parse_qs(parts.query, keep_blank_values=True)
        given = query.pop("max_bytes", [str(DEFAULT_FOLDER_BYTES)])[-1]
        if query or not given.isdecimal() or int(given) < 1 << 20:
            raise ParameterError(
                f"CLEARSKY_CACHE_URL: {parts.query!r} is not understood; "
                f"file:///FOLDER takes max_bytes=BYTES, at least {1 << 20}"
            )
        return FolderStore(Path(unquote(parts.path)), most_bytes=int(given))
    raise ParameterError(
        f"CLEARSKY_CACHE_URL begins with {url.split(':', 1)[0][:20]!r}: give redis://HOST:PORT/0 or file:///FOLDER"
    )


def name_of(key: Hashable) -> str | None:
    """The name of a key's value, the same in every process that would compute the same; None for what is not shared."""
    if not isinstance(key, SHARED_KEYS):
        return None
    kind = key.kind if isinstance(key, NamedKey) else type(key).__name__
    return f"clearsky:{software()}:{kind}:{_digest(_text(key), SESSIONS.identity)}"


@cache
def software() -> str:
    """What tells versions of this software and of what it computes with apart, its own code included."""
    import onnxruntime  # noqa: PLC0415  (start-up)

    # ONNX Runtime's distributions have several names, one for each kind of processor.
    parts = [__version__, rasterio.__gdal_version__, onnxruntime.__version__, *map(version, _LIBRARIES)]
    parts += [model.fingerprint for model in MODELS.values()]  # those added are in the keys of what they have made
    for package in _COMPUTING:
        for file in sorted(resources.files(package).iterdir(), key=lambda file: file.name):
            if file.name.endswith(".py"):
                parts.append(hashlib.sha256(file.read_bytes()).hexdigest())
    return _digest(*parts)[:16]


def _digest(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=20).hexdigest()


@lru_cache(maxsize=1024)
def _known(value: Dataset | Layer) -> str:
    """The digest of what stands in thousands of keys."""
    return _digest(*_fields(value))


def _text(value: object) -> str:
    """A key, or a part of one, as text that tells it apart from every other.

    Raises:
        TypeError: it depends on something that has no such text.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    if isinstance(value, (tuple, range)):
        return f"({','.join(map(_text, value))})"
    if isinstance(value, (Dataset, Layer)):
        return _known(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return f"{type(value).__qualname__}({','.join(_fields(value))})"
    raise TypeError(f"a key holds {type(value).__qualname__}, which has no name that other processes would know")


def _fields(value: object) -> list[str]:
    return [_text(getattr(value, field.name)) for field in dataclasses.fields(value) if field.compare]  # type: ignore[arg-type]
