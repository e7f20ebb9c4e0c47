"""Query parameters, declared once: they become OpenAPI, validation, the request and the algorithm."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, cast

from fastapi import Depends, Query
from fastapi import Request as HttpRequest
from pydantic import ValidationError
from starlette.datastructures import QueryParams
from titiler.core.algorithm.base import BaseAlgorithm
from titiler.core.dependencies import DefaultDependency

from algorithms.errors import BandError, ParameterError
from algorithms.models import ProcessingLevel
from algorithms.removal import CLOUD_ALGORITHMS
from algorithms.styles import STYLES
from server.analysis.choosing import Chooser
from server.analysis.parameters import PARAMETERS, fields_of
from server.analysis.request import Request
from server.http.choice import choose
from server.http.inloop import in_loop
from server.http.looks import PICTURE_FORMATS, AskedStyle, asked_style
from server.http.shared import SharedAnalysis, SharedChooser, SharedSettings, SharedSources
from server.http.stock import STOCK_ALGORITHMS, settable
from server.raster.sources import Sources
from server.scenes.bandlist import joined_files
from server.scenes.scene import Scene
from server.work.ticket import holding

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


def _query(name: str) -> Any:
    """The declared parameter of a name as one of FastAPI's."""
    return Query(description=PARAMETERS[name].description)


@dataclass
class TargetParams:
    """The target and where its clouds come from."""

    url: Annotated[
        list[str],
        Query(
            description="Target: path or URL of a raster, or of a scene; repeated (or with braces) one file per band"
        ),
    ]
    mask: Annotated[str | None, _query("mask")] = None
    mask_bits: Annotated[str | None, _query("mask_bits")] = None
    mask_remap: Annotated[str | None, _query("mask_remap")] = None
    model: Annotated[str | None, _query("model")] = None
    level: Annotated[ProcessingLevel | None, _query("level")] = None
    bands: Annotated[str | None, _query("bands")] = None
    reflectance_scale: Annotated[float | None, _query("reflectance_scale")] = None
    reflectance_offset: Annotated[float | None, _query("reflectance_offset")] = None


@dataclass
class RequestParams(TargetParams):
    """The rasters and where their clouds come from."""

    replacement: Annotated[list[str] | None, _query("replacement")] = None
    replacement_mask: Annotated[list[str] | None, _query("replacement_mask")] = None
    replacement_reflectance_scale: Annotated[list[float] | None, _query("replacement_reflectance_scale")] = None
    replacement_reflectance_offset: Annotated[list[float] | None, _query("replacement_reflectance_offset")] = None
    assets: Annotated[list[str] | None, _query("assets")] = None


_FIELDS: Final = {field.name for field in fields(RequestParams)} - {"url"}
_REPEATED: Final = {name for name in _FIELDS if PARAMETERS[name].repeated}
_NUMBERS: Final = [name for name, parameter in PARAMETERS.items() if parameter.type is float and name in _FIELDS]


def asked_request(
    asked: Annotated[RequestParams, Depends(in_loop(RequestParams))],
    sources: SharedSources,
    chooser: SharedChooser,
    request: HttpRequest,
) -> Request:
    """The request, every dataset it names admitted, and its replacements chosen where it says `auto`.

    Raises:
        SourceForbiddenError, SourceMissingError: see `Sources.check`. RemapError: a remap string that cannot be read.
        ParameterError: a band that there is not.
    """
    given = {name: value for name, value in vars(asked).items() if name != "url"}
    return admitted_request(
        Request(joined_files(asked.url), **fields_of(given)), sources, chooser, request.query_params
    )


def admitted_request(request: Request, sources: Sources, chooser: Chooser, query: QueryParams) -> Request:
    """A request that is admitted to all that it names, with what its query shows. Raises as `asked_request` does."""
    with holding():
        found = chooser.resolved(request.checked(sources.check))
    return replace(found, shown=shown_bands(found, sources, query))


def queried_request(query: QueryParams) -> Request:
    """The request in a query, without what it shows; nothing is checked.

    Raises:
        RemapError, ParameterError: a value that cannot be read.
    """
    given: dict[str, Any] = {name: query.get(name) for name in _FIELDS - _REPEATED}
    given |= {name: query.getlist(name) for name in _REPEATED}
    try:
        for name in _NUMBERS:
            written = given[name]
            given[name] = [*map(float, written)] if name in _REPEATED else float(written) if written else None
    except ValueError as error:
        raise ParameterError(f"{' and '.join(_NUMBERS)} are numbers") from error
    return Request(joined_files(query.getlist("url") or [""]), **fields_of(given))


def asked_target(asked: Annotated[TargetParams, Depends(in_loop(TargetParams))], sources: SharedSources) -> Request:
    """A request for a target alone, every dataset it names admitted. Raises as `asked_request` does."""
    given = {name: value for name, value in vars(asked).items() if name != "url"}
    with holding():
        return Request(joined_files(asked.url), **fields_of(given)).checked(sources.check)


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
        assets=request.assets or _styled(scene, query),
        default=(),
        names_first=True,
    ).numbers


def _styled(scene: Scene, query: QueryParams) -> tuple[str, ...]:
    """Names of the bands that the style in a query shows of a scene; nothing without one that fits."""
    style = STYLES.get(query.get("style", ""))
    try:
        return () if style is None else style.choose([band.name for band in scene.bands])
    except BandError:  # the reader says so
        return ()


def is_picture(request: HttpRequest) -> bool:
    """Whether the address asks for a PNG, JPEG or WebP; False where it leaves the format open."""
    return request.path_params.get("format") in PICTURE_FORMATS


@dataclass
class ReaderParams(DefaultDependency):
    """What the reader needs besides the request."""

    sources: SharedSources
    analysis: SharedAnalysis
    settings: SharedSettings
    process: Annotated[BaseAlgorithm | None, Depends(in_loop(process))] = None
    picture: Annotated[bool, Depends(in_loop(is_picture))] = False
    style: Annotated[AskedStyle | None, Depends(in_loop(asked_style))] = None
    cover_scale: Annotated[int | None, Query(include_in_schema=False, gt=0, le=1000)] = None
