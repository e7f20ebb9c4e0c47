"""The recipe: a validated value that everything else works with."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from algorithms.errors import InputError
from algorithms.options import OPTIONS
from algorithms.removal import CloudRemoval
from server.analysis.clouds import is_preset, is_raster
from server.analysis.request import AUTO_REPLACEMENT, Request
from server.errors import SourceError
from server.raster.sources import Sources
from server.recipes.schema import Render, validate
from server.work.document import Document, read_yaml


@dataclass(frozen=True, slots=True)
class Recipe:
    """A cloudy raster, its replacements, how to fill and how to show it."""

    name: str
    """What it is called in addresses."""
    title: str
    """What people call it."""
    request: Request
    """The rasters and where their clouds come from; relative paths of the file are made absolute here."""
    algorithm: CloudRemoval
    """The fill's options."""
    render: Render
    """How the picture looks."""
    document: Document
    """File and line of every value."""
    digest: str
    """Changes with the file's content."""

    @property
    def options(self) -> dict[str, Any]:
        """The fill's options by name."""
        return {name: getattr(self.algorithm, name) for name in OPTIONS}

    def styled(self, query: Mapping[str, str]) -> Recipe:
        """The same for a request's pictures: where it or the recipe names a style, that has bands of its own."""
        if "style" not in query and self.render.style is None:
            return self
        return replace(self, request=replace(self.request, assets=()))

    @contextmanager
    def blame(self, *key: str | int) -> Iterator[None]:
        """Errors inside name the file and the line of a key."""
        try:
            yield
        except (InputError, SourceError) as error:
            raise type(error)(f"{self.document.at(key)}: {error}") from error

    def admitted(self, sources: Sources) -> Recipe:
        """The same with every raster's name checked.

        Raises:
            SourceForbiddenError, SourceMissingError: see `Sources.check`; the message begins with file and line.
        """
        return replace(self, request=self.request.checked(sources.check, self._blame_source))

    def _blame_source(self, field: str, *index: int) -> AbstractContextManager[None]:
        """`blame` for a field of the request that names a dataset."""
        return self.blame(*(("mask", "source") if field == "mask" else (field,)), *index)


def parse_recipe(document: Document, folder: Path, digest: str) -> Recipe:
    """Validate a recipe.

    Args:
        document: the file's values.
        folder: what relative paths are relative to.
        digest: identity of the file's content.

    Raises:
        RecipeError: see `validate`.
    """
    written = validate(document)
    mask = written.mask

    def place(url: str) -> str:
        return url if "://" in url else os.path.normpath(folder.absolute() / Path(url).expanduser())

    return Recipe(
        name=written.name,
        title=written.title or written.name,
        request=Request(
            place(written.target),
            tuple(url if url == AUTO_REPLACEMENT else place(url) for url in written.replacements),
            mask=mask.source if is_preset(mask.source) else place(mask.source) if mask.source else None,
            mask_bits=mask.bits,
            replacement_masks=tuple(place(url) if is_raster(url) else url for url in written.replacement_masks),
            remap=mask.remap,
            model=None if mask.model == "auto" else mask.model,
            bands=written.bands,
            level=written.level,
            reflectance_scale=written.reflectance_scale,
            reflectance_offset=written.reflectance_offset,
            replacement_reflectance_scales=written.replacement_reflectance_scales,
            replacement_reflectance_offsets=written.replacement_reflectance_offsets,
            nodata=written.nodata,
            assets=written.assets,
        ),
        algorithm=CloudRemoval(**{name: getattr(written, name) for name in OPTIONS}),
        render=written.render,
        document=document,
        digest=digest,
    )


def recipe_of(content: bytes, file: Path, shown: str | None = None) -> Recipe:
    """The recipe in a file's content.

    Args:
        content: the file's bytes.
        file: the file, whose folder relative paths start from.
        shown: what messages call the file.

    Raises:
        RecipeError: see `parse_recipe`.
    """
    document = read_yaml(content, shown or str(file))
    return parse_recipe(document, file.parent, hashlib.sha256(content).hexdigest())
