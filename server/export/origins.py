"""The scenes that an export is made from: what they are called, and when they were taken."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from server.analysis.request import Request
from server.export.tags import TAG_PREFIX, source_id
from server.raster.sources import Sources
from server.scenes.bandlist import file_label, files_of, joined_files
from server.scenes.scene import Scene


@dataclass(frozen=True, slots=True)
class Origin:
    """A scene that an export is made from."""

    url: str
    """What names it."""
    scene: Scene | None
    """The scene of several files, if it is one."""
    document: Mapping[str, Any]
    """Its STAC Item; empty where it has none."""
    day: str | None
    """When it was taken, YYYY-MM-DD, by tags or name."""

    @property
    def id(self) -> str:
        """What names it in its archive, else its file's name without ending."""
        if self.scene is not None and self.scene.acquisition is not None:
            return self.scene.acquisition.id
        files = files_of(self.url)
        path = Path(source_id(files[0]))
        stem = path.stem if len(files) == 1 else path.stem.removesuffix(file_label(files[0])).rstrip("_-. ")
        return stem or Path(files[0]).parent.name or "scene"

    @property
    def datetime(self) -> str | None:
        """When it was taken, as STAC writes it."""
        properties = self.document.get("properties")
        stated = properties.get("datetime") if isinstance(properties, Mapping) else None
        if isinstance(stated, str) and _is_time(stated):
            return stated
        if self.scene is not None and (about := self.scene.acquisition) is not None and about.when is not None:
            return about.when.astimezone(UTC).isoformat().replace("+00:00", "Z")
        return f"{self.day}T00:00:00Z" if self.day else None

    @property
    def label(self) -> str:
        """Id and day, for people."""
        return f"{self.id} ({self.datetime[:10] if self.datetime else 'date unknown'})"

    def summary(self) -> dict[str, str | None]:
        """As JSON has it; queries, which may hold signatures, are left out."""
        files = [source_id(file) if "://" in file else file for file in files_of(self.url)]
        return {"id": self.id, "url": joined_files(files), "datetime": self.datetime}


def origins(request: Request, sources: Sources, tags: Mapping[str, str]) -> tuple[Origin, ...]:
    """The target of an export and its replacements, in their order.

    Args:
        request: its rasters admitted, without `auto`.
        sources: what reads them.
        tags: see `scene_tags`; they state days.
    """
    names = ["TARGET", *(f"REPLACEMENT_{k}" for k in range(1, 1 + len(request.replacements)))]
    found = []
    for name, url in zip(names, [request.target, *request.replacements], strict=True):
        document = sources.document(url)
        stated = json.loads(document) if document is not None else {}
        found.append(Origin(url, request.scene(sources, url), stated, tags.get(f"{TAG_PREFIX}{name}_DATE")))
    return tuple(found)


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
