"""The recipe: a validated value that everything else works with."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from algorithms.errors import ClearSkyError
from algorithms.removal import CloudRemoval
from server.analysis.task import Request
from server.raster.dataset import Overrides
from server.recipes.document import Document, read_document
from server.recipes.schema import OPTIONS, Render, validate
from server.remote.sources import check_source


@dataclass(frozen=True, slots=True)
class Recipe:
    """A cloudy raster, its replacements, how to fill and how to show it."""

    name: str
    """What it is called in addresses."""
    title: str
    """What people call it."""
    target: str
    """The cloudy raster; a relative path of the file is made absolute here."""
    replacements: tuple[str, ...]
    """Other dates, in the order of preference."""
    mask: str | None
    """Raster of cloud classes instead of a model."""
    mask_remap: str | None
    """ArcGIS remap string."""
    model: str | None
    """Id of a cloud model."""
    overrides: Overrides
    """What stands in place of the rasters' own metadata."""
    algorithm: CloudRemoval
    """The fill's options."""
    render: Render
    """How the picture looks."""
    document: Document
    """Where every value stands."""
    digest: str
    """Changes with the file's content."""

    @property
    def options(self) -> dict[str, Any]:
        """The fill's options by name."""
        return {name: getattr(self.algorithm, name) for name in OPTIONS}

    @property
    def sources(self) -> tuple[str, ...]:
        """Every raster."""
        return (self.target, *self.replacements, *([self.mask] if self.mask else []))

    @property
    def request(self) -> Request:
        """The rasters as a request for `/cog` would name them."""
        return Request(self.target, self.replacements, self.mask, self.mask_remap, self.model, self.overrides)

    @contextmanager
    def blame(self, *key: str | int) -> Iterator[None]:
        """Errors inside name the file and the line of a key."""
        try:
            yield
        except ClearSkyError as error:
            raise type(error)(f"{self.document.at(key)}: {error}") from error

    def admitted(self) -> Recipe:
        """The same with every raster's name checked.

        Raises:
            SourceForbiddenError, SourceMissingError: see `check_source`; the message begins with file and line.
        """

        def check(url: str, *key: str | int) -> str:
            with self.blame(*key):
                return check_source(url)

        return replace(
            self,
            target=check(self.target, "target"),
            replacements=tuple(check(url, "replacements", k) for k, url in enumerate(self.replacements)),
            mask=check(self.mask, "mask", "source") if self.mask else None,
        )


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

    def place(url: str) -> str:
        return url if "://" in url else os.path.normpath(folder.absolute() / Path(url).expanduser())

    return Recipe(
        name=written.name,
        title=written.title or written.name,
        target=place(written.target),
        replacements=tuple(place(url) for url in written.replacements),
        mask=place(written.mask.source) if written.mask.source else None,
        mask_remap=written.mask.remap,
        model=None if written.mask.model == "auto" else written.mask.model,
        overrides=Overrides(
            nodata=written.nodata,
            bands=written.bands,
            level=written.level,
            scale=written.reflectance_scale,
            offset=written.reflectance_offset,
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
    document = read_document(content, shown or str(file))
    return parse_recipe(document, file.parent, hashlib.sha256(content).hexdigest())
