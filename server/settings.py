"""Settings from the environment (prefix `CLEARSKY_`) and `.env`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from server.work.cores import usable_cores

LogLevel = Literal["debug", "info", "warning", "error"]
"""What is logged at least; the access log has the level `info`."""
LogFormat = Literal["text", "json"]
"""Lines of text, or one JSON object per line."""

BASE_MAP: Final = re.compile(r"https?://[A-Za-z0-9.\-:\[\]]+/[^\s;,'\"<>]*")
"""Addresses of tiles: their host goes into the page's content security policy, in which these characters mean more."""


def _split(value: object) -> object:
    """Comma-separated text as a tuple."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class Settings(BaseSettings):
    """Everything an operator can set."""

    model_config = SettingsConfigDict(env_prefix="CLEARSKY_", env_file=".env", extra="ignore", frozen=True)

    allowed_sources: Annotated[tuple[str, ...], NoDecode] = ()
    """Local folders and files, hosts and URL prefixes that `url`, `replacement` and `mask` may name, comma-separated.
    Empty: the demo scene and public https hosts."""
    sources_file: Path | None = None
    """YAML file of settings by bucket and URL prefix: regions, requester pays, credentials."""
    stac_api: str | None = None
    """STAC API in which `replacement=auto` looks for other dates; by default the one that each Item names."""
    demo: Path = Path("demo-scene")
    """Folder of the generated demo scene."""
    recipes: Path | None = None
    """Folder of recipes (`*.yaml`, `*.yml`, `*.json`), read again when it changes."""
    cache_bytes: int = Field(default=512 << 20, ge=16 << 20)
    """Memory for mask and adjustment tiles per process."""
    cache_url: str | None = None
    """Cache shared by processes: `redis://HOST:PORT/0`, or a folder, `file:///FOLDER?max_bytes=BYTES`."""
    warm_start_seconds: float = Field(default=10.0, ge=0, le=60)
    """Seconds within which a process that starts loads what was lately looked at, as `cache_url` has it; 0: never."""
    answer_cache_bytes: int = Field(default=64 << 20, ge=0)
    """Memory for finished answers per process; 0 keeps and shares none."""
    source_cache_bytes: int = Field(default=128 << 20, ge=1 << 20)
    """Memory for pieces of remote files."""
    source_check: float = Field(default=5.0, ge=0)
    """Seconds for which a remote file counts as unchanged, and a failing one as failing, before it is asked again."""
    source_timeout: float = Field(default=30.0, gt=0)
    """Seconds within which a remote file's server must send what is requested, retries included."""
    model_providers: Annotated[tuple[str, ...], NoDecode] = ("auto",)
    """Where the model runs: auto, cpu, cuda, openvino, in order of preference."""
    model_threads: int = Field(default=1, ge=1)
    """Threads inside one inference."""
    model_concurrency: int = Field(default_factory=usable_cores, ge=1)
    """Inferences and fills at the same time; by default one per core the process may use."""
    models: Path | None = None
    """Folder of model cards (`*.yaml`): further cloud models, read and checked at start."""
    model_preload: Annotated[tuple[str, ...], NoDecode] = ()
    """Cloud models to load at start instead of at the first tile that needs them."""
    prefetch: bool = True
    """Whether the surroundings of a native view of local rasters are computed while the server is idle."""
    request_threads: int = Field(default_factory=lambda: max(40, 4 * usable_cores()), ge=1)
    """Requests handled at the same time; further ones queue."""
    request_timeout: float = Field(default=120, gt=0)
    """Seconds after which a request is given up; what it has computed stays cached."""
    max_tile_size: int = Field(default=1024, ge=256)
    """Largest `tilesize`."""
    max_pixels: int = Field(default=4096 * 4096, ge=1 << 16)
    """Largest number of pixels in one answer."""
    max_request_bytes: int = Field(default=3 << 30, ge=64 << 20)
    """Memory that one answer may take: its pixels in every band and step, and what is read for them."""
    max_body_bytes: int = Field(default=2 << 20, ge=1 << 10)
    """Largest body of a request, GeoJSON."""
    log_level: LogLevel = "info"
    """What is logged at least: debug, info (a line per request), warning, error."""
    log_format: LogFormat = "text"
    """Lines of text, or one JSON object per line."""
    telemetry: bool = False
    """Whether traces are sent by OpenTelemetry (extra `telemetry`), as the variables `OTEL_*` say."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ("*",)
    """Web origins that may read the tiles."""
    cachecontrol: str = "public, max-age=3600"
    """`Cache-Control` of images and metadata."""
    root_path: str = ""
    """Path prefix under which a proxy serves ClearSky."""
    base_map: str | None = None
    """Tiles below the scene in the viewer, an address with {z}, {x} and {y}; by default none, and the page loads
    nothing from other hosts."""
    base_map_attribution: str = ""
    """What the base map's owner wants to be named as."""
    list_scenes: bool = False
    """Whether the viewer lists the rasters in the admitted folders; not for a server that others can reach."""
    empty_outside: bool = False
    """Answer tiles outside the dataset with 204 instead of 404."""

    @field_validator("recipes", "models", "sources_file", "stac_api", "cache_url", "base_map", mode="before")
    @classmethod
    def _none(cls, value: object) -> object:
        return value or None

    @field_validator("base_map")
    @classmethod
    def _tiles(cls, value: str | None) -> str | None:
        good = value is None or (BASE_MAP.fullmatch(value) and all(part in value for part in ("{z}", "{x}", "{y}")))
        if not good:
            raise ValueError("write an address of tiles, e.g. https://tiles.example.org/{z}/{x}/{y}.png")
        return value

    @field_validator("allowed_sources", "model_providers", "model_preload", "cors_origins", mode="before")
    @classmethod
    def _lists(cls, value: object) -> object:
        return _split(value)


def bad_settings(error: ValidationError) -> str | None:
    """Which variables have values that cannot be used, and why; None for an error that is not about settings."""
    if error.title != Settings.__name__:
        return None
    prefix = Settings.model_config.get("env_prefix", "")
    parts = [
        f"{prefix}{'.'.join(map(str, one['loc'])).upper()}={str(one['input'])[:200]!r}: {_remedy(one['msg'])}"
        for one in error.errors()
    ]
    return f"{'; '.join(parts)}; change it in the environment or in .env, or leave it out"


def _remedy(message: str) -> str:
    """A message of pydantic as an advice, `must be ...`."""
    message = message.removeprefix("Value error, ")
    return message.replace("Input should be", "it must be", 1)
