"""`/scene` and `/assets`: a target and its replacements as they are understood, band by band."""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest
from typing import Annotated, Any

from attrs import define
from fastapi import Depends
from titiler.core.factory import FactoryExtension, TilerFactory
from titiler.core.resources.responses import JSONResponse

from algorithms.errors import ClearSkyError
from server.analysis.engine import Analysis
from server.analysis.request import Request
from server.errors import SourceError
from server.http.metadata import described_target
from server.http.shared import SharedAnalysis, SharedSources
from server.raster.dataset import Dataset
from server.raster.grid import ground_resolution
from server.raster.sources import Sources
from server.remote.redaction import redacted_values
from server.remote.signatures import shown_name
from server.work.ticket import holding


@define
class SceneExtension(FactoryExtension):
    """Adds `/scene` and `/assets` to a factory."""

    request_of: Callable[[Any], Request] = lambda asked: asked
    """The request in what the factory's path dependency gives."""

    def register(self, factory: TilerFactory) -> None:  # type: ignore[override]
        """Add the routes."""
        path = Annotated[Any, Depends(factory.path_dependency)]
        request_of = self.request_of

        def scene(asked: Any, sources: SharedSources, analysis: SharedAnalysis) -> dict[str, Any]:
            """Describe the target and its replacements: bands, files, resolutions, reflectance, masks."""
            with holding():
                return described_scene(request_of(asked), sources, analysis)

        def assets(asked: Any, sources: SharedSources) -> list[str]:
            """List the names of the target's bands, as `assets` takes them."""
            request = request_of(asked)
            with holding():
                return [band["name"] or band["asset"] for band in _bands(request, sources, request.target, None)]

        for name, route in (("scene", scene), ("assets", assets)):
            route.__annotations__["asked"] = path  # an annotation is text here and could not name the factory
            factory.router.get(
                f"/{name}", response_class=JSONResponse, operation_id=f"{factory.operation_prefix}{name}"
            )(route)


def described_scene(request: Request, sources: Sources, analysis: Analysis) -> dict[str, Any]:
    """A target as it is understood.

    Args:
        request: with everything that replaces the rasters' own metadata.
        sources: what describes them.
        analysis: what looks at masks.

    Raises:
        ClearSkyError: a raster that cannot be had, or a document that describes none.
    """
    scene = request.scene(sources, request.target)
    try:
        target = described_target(request, sources, analysis)
    except SourceError as error:
        if scene is None:
            raise
        # Some file is missing: which one, its band says.
        target = {"unusable": str(error), "warnings": scene.warnings}
    warnings = [*target.get("warnings", ())]
    if "unusable" in target:
        warnings.append(target["unusable"])
    described = {
        "bands": _bands(request, sources, request.target, None),
        "level": target.get("level"),
        "model": target.get("model"),
        "mask": target.get("mask"),
        "replacements": [
            _replacement(request, sources, k, url) | {"clouds": clouds}
            for k, (url, clouds) in enumerate(zip_longest(request.replacements, target.get("replacement_clouds", ())))
        ],
        "warnings": warnings,
    }
    return {name: redacted_values(value) for name, value in described.items()}


def _replacement(request: Request, sources: Sources, position: int, url: str) -> dict[str, Any]:
    scene = request.scene(sources, url)
    bands = _bands(request, sources, url, position)
    described: dict[str, Any] = {"url": url, "bands": bands, "warnings": list(scene.warnings if scene else ())}
    if scene is not None and (about := scene.acquisition) is not None:
        described |= {"id": about.id, "datetime": about.when.isoformat() if about.when else None}
    return described


def _bands(request: Request, sources: Sources, url: str, position: int | None) -> list[dict[str, Any]]:
    """Every band of a raster or scene; those whose files cannot be had say so.

    Args:
        request: what is asked for.
        sources: what describes it.
        url: its name.
        position: the replacement's, from 0; None for the target.
    """
    scene = request.scene(sources, url)
    if scene is None:
        dataset = request.dataset(sources, url, position=position)
        return [_band(dataset, k, f"b{index}", url, index) for k, index in enumerate(dataset.indexes)]
    found = []
    for number, band in enumerate(scene.bands, start=1):
        try:
            dataset = request.dataset(sources, url, (number,), position=position)
        except ClearSkyError as error:
            found.append({"name": band.name, "asset": band.asset, "file": shown_name(band.url), "error": str(error)})
        else:
            part = dataset.parts[0]
            file = part.url if part.member is None else f"{part.url}!{part.member.name}"
            found.append(_band(dataset, 0, band.asset, file, part.index))
    return found


def _band(dataset: Dataset, position: int, asset: str, file: str, index: int) -> dict[str, Any]:
    return {
        "name": dataset.names[position],
        "asset": asset,
        "file": file,
        "index": index,
        "resolution": round(ground_resolution(dataset), 3),
        "scale": dataset.scales[position],
        "offset": dataset.offsets[position],
        "nodata": dataset.nodata,
        "source": dataset.reflectance_source,
    }
