"""What a file records about how it was made: sources, dates, model, parameters, software."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import urlsplit

from algorithms.options import OPTIONS
from algorithms.removal import CloudRemoval
from server import __version__
from server.analysis.task import Task
from server.raster.dataset import Dataset
from server.raster.sources import Sources
from server.scenes.bandlist import expanded, is_band_list

TAG_PREFIX: Final = "CLEARSKY_"
"""Beginning of the tags' names."""

DATE_KEYS: Final = (
    "ACQUISITION_DATE", "ACQUISITIONDATETIME", "DATE_ACQUIRED", "SENSING_TIME", "DATATAKE_1_DATATAKE_SENSING_START",
    "PRODUCT_START_TIME", "DATETIME", "START_DATETIME", "DATE", "TIFFTAG_DATETIME",
)  # fmt: skip
"""Tags that state when an image was taken, the most reliable first, compared without regard to case."""

_DATE: Final = re.compile(r"(?<!\d)((?:19|20)\d\d)[-_:/]?(0[1-9]|1[0-2])[-_:/]?(0[1-9]|[12]\d|3[01])(?!\d)")


def acquisition_date(tags: Mapping[str, str], name: str) -> str | None:
    """The day an image was taken as YYYY-MM-DD, from its tags, else from its name; None where neither states it."""
    known = {key.upper(): value for key, value in tags.items()}
    for text in [*(known.get(key, "") for key in DATE_KEYS), name]:
        if found := _DATE.search(text):
            return "-".join(found.groups())
    return None


def source_id(url: str) -> str:
    """What to call a raster: its file name, or its address without what may be secret."""
    if is_band_list(url):
        return ", ".join(map(source_id, expanded(url)))
    if "://" not in url:
        return PurePosixPath(url).name
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _own_tags(sources: Sources, dataset: Dataset) -> Mapping[str, str]:
    """Tags of a raster; of a scene those of its first file, unless that is in an archive."""
    if dataset.parts and dataset.parts[0].member is not None:
        return {}
    with sources.open(dataset.parts[0].url if dataset.parts else dataset.url) as src:
        tags: Mapping[str, str] = src.tags()
    return tags


def scene_tags(sources: Sources, task: Task, algorithm: CloudRemoval, resolution: str) -> dict[str, str]:
    """Tags of both files: every source with its date, the model with its checksum, parameters, software version."""
    tags = {
        "VERSION": __version__,
        "PARAMETERS": json.dumps(
            {
                **algorithm.model_dump(include=set(OPTIONS)),
                "analysis_resolution": resolution,
            },
            sort_keys=True,
        ),
    }
    names = ["TARGET", *(f"REPLACEMENT_{k}" for k in range(1, 1 + len(task.replacements)))]
    for name, layer in zip(names, [task.target, *task.replacements], strict=True):
        url = layer.dataset.url
        tags[name] = source_id(url)
        date = acquisition_date(_own_tags(sources, layer.dataset), source_id(url))
        if date:
            tags[f"{name}_DATE"] = date
    if task.clouds.classes is not None:
        tags["MASK"] = source_id(task.clouds.classes.url)
    if task.clouds.model is not None:
        network = task.clouds.model.network
        tags |= {"MODEL": task.clouds.model.id} | ({} if network is None else {"MODEL_SHA256": network.sha256})
    tags["MASK_REMAP"] = task.clouds.rule
    return {TAG_PREFIX + name: value for name, value in tags.items()}
