"""Query parameters, declared once: they become OpenAPI, validation, the request and the algorithm."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from fastapi import Depends, Query
from fastapi import Request as HttpRequest
from pydantic import ValidationError
from starlette.datastructures import QueryParams
from titiler.core.algorithm.base import BaseAlgorithm
from titiler.core.dependencies import DefaultDependency

from algorithms.errors import ParameterError
from algorithms.models import MODELS
from algorithms.removal import CLOUD_ALGORITHMS
from server.analysis.request import Request, fields_of
from server.http.choice import choose
from server.http.shared import SharedAnalysis, SharedSettings, SharedSources
from server.http.stock import STOCK_ALGORITHMS, settable
from server.raster.sources import Sources
from server.scenes.bandlist import joined_files
from server.scenes.masks import AUTO, PRESETS

ALGORITHMS = STOCK_ALGORITHMS.register(cast(Any, CLOUD_ALGORITHMS))
"""TiTiler's own algorithms and ours."""

if TYPE_CHECKING:
    AlgorithmName = str
else:  # the names are known at import only
    AlgorithmName = Literal[tuple(ALGORITHMS.list())]


def _parameters(text: str | None) -> dict[str, Any]:
    """The JSON object in `algorithm_params`."""
    if not text:
        return {}
    try:
        parsed = json.loads(text)
    except json.JSONDecodeError as error:
        raise ParameterError(
            f"algorithm_params {text[:200]!r} is not JSON: {error.msg} at position {error.pos}; "
            'write for example {"window": 80}'
        ) from error
    if not isinstance(parsed, dict):
        raise ParameterError(
            f'algorithm_params {text[:200]!r} must be a JSON object; write for example {{"window": 80}}'
        )
    return parsed


def make_algorithm(name: str, parameters: dict[str, Any]) -> BaseAlgorithm:
    """An algorithm with its parameters.

    Raises:
        ParameterError: a parameter is unknown or out of range.
    """
    algorithm = ALGORITHMS.get(name)
    known = ", ".join(settable(algorithm))
    if strange := sorted(parameters.keys() - settable(algorithm)):
        raise ParameterError(f"algorithm_params: {strange[0][:80]!r} is not a parameter of {name} (known: {known})")
    try:
        return algorithm(**parameters)
    except ValidationError as error:
        parts = [f"{'.'.join(map(str, e['loc']))}={repr(e.get('input'))[:80]}: {e['msg']}" for e in error.errors()]
        raise ParameterError(f"algorithm_params: {'; '.join(parts)} (known: {known})") from error


def process(
    algorithm: Annotated[
        AlgorithmName | None,
        Query(description="Algorithm; by default `cloud_removal` if there is a `replacement`"),
    ] = None,
    algorithm_params: Annotated[
        str | None,
        Query(description='JSON object, e.g. {"window": 80, "buffer": 4, "adjustment": "regression"}'),
    ] = None,
    replacement: Annotated[list[str] | None, Query(include_in_schema=False)] = None,
) -> BaseAlgorithm | None:
    """The algorithm to run after the read."""
    name = algorithm or ("cloud_removal" if replacement else None)
    if name is None:
        if algorithm_params:
            raise ParameterError("algorithm_params without an algorithm: give `algorithm` or a `replacement`")
        return None
    return make_algorithm(name, _parameters(algorithm_params))


@dataclass
class RequestParams:
    """The rasters and where their clouds come from."""

    url: Annotated[
        list[str],
        Query(
            description="Target: path or URL of a raster, or of a scene; repeated (or with braces) one file per band"
        ),
    ]
    replacement: Annotated[
        list[str] | None,
        Query(description="Another date of the same place; may be repeated; the first clear one at a pixel fills it"),
    ] = None
    mask: Annotated[
        str | None,
        Query(
            description="Raster of cloud classes to use instead of the model, or the scenes' own masks: "
            f"{', '.join([*PRESETS, AUTO])}"
        ),
    ] = None
    mask_bits: Annotated[
        str | None, Query(description="Bits of a bit-packed mask that mean cloud or shadow, e.g. `3,4`")
    ] = None
    replacement_mask: Annotated[
        list[str] | None, Query(description="Masks of the replacements, in their order, where `mask` is a raster")
    ] = None
    mask_remap: Annotated[
        str | None, Query(description="ArcGIS remap string from classes to 0/1, e.g. `1 1;2 1;3 1`")
    ] = None
    model: Annotated[str | None, Query(description=f"Cloud model: {', '.join(MODELS)}")] = None
    level: Annotated[
        Literal["l1c", "l2a"] | None, Query(description="Processing level, where the dataset does not state it")
    ] = None
    bands: Annotated[str | None, Query(description="Common names of the bands in order, e.g. `blue,green,red,nir`")] = (
        None
    )
    reflectance_scale: Annotated[float | None, Query(description="Reflectance per digital number")] = None
    reflectance_offset: Annotated[float | None, Query(description="Reflectance at digital number 0")] = None
    assets: Annotated[
        list[str] | None, Query(description="Bands to show by name, e.g. `red`, `B04`; may be repeated, or with commas")
    ] = None


def asked_request(asked: Annotated[RequestParams, Depends()], sources: SharedSources, request: HttpRequest) -> Request:
    """The request, every dataset it names admitted.

    Raises:
        SourceForbiddenError, SourceMissingError: see `Sources.check`. RemapError: a remap string that cannot be read.
        ParameterError: a band that there is not.
    """
    given = {name: value for name, value in vars(asked).items() if name != "url"}
    found = Request(joined_files(asked.url), **fields_of(given)).checked(sources.check)
    return replace(found, shown=shown_bands(found, sources, request.query_params))


def shown_bands(request: Request, sources: Sources, query: QueryParams) -> tuple[int, ...]:
    """Which bands of a scene a query shows, so that no others are opened; nothing where it leaves that open."""
    scene = request.scene(sources, request.target)
    if scene is None:
        return ()
    numbers = [int(value) for value in query.getlist("bidx") if value.isdecimal()]
    every = {number: number for number in range(1, 1 + len(scene.bands))}
    expression = query.get("expression")
    return choose(
        scene.labels,
        every,
        indexes=numbers,
        expression=expression,
        assets=request.assets,
        default=(),
        names_first=True,
    ).numbers


@dataclass
class ReaderParams(DefaultDependency):
    """What the reader needs besides the request."""

    sources: SharedSources
    analysis: SharedAnalysis
    settings: SharedSettings
    process: Annotated[BaseAlgorithm | None, Depends(process)] = None
    cover_scale: Annotated[int | None, Query(include_in_schema=False, gt=0, le=1000)] = None
