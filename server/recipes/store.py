"""Recipes by name: a folder that is read again when it changes."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from server.errors import RecipeError, RecipeMissingError
from server.recipes.model import Recipe, parse_recipe, recipe_of
from server.work.document import YAML_BYTES, read_yaml
from server.work.readiness import Dependency

logger = logging.getLogger("clearsky")

SUFFIXES: Final = (".yaml", ".yml", ".json")
"""Files that are recipes."""

INTERVAL: Final = 1.0
"""Seconds between two checks of the folder."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A file that is not a usable recipe."""

    name: str
    """The recipe's name as far as it is known, else the file's."""
    file: str
    """The file's name."""
    error: RecipeError
    """What is wrong."""


@dataclass(frozen=True, slots=True)
class Recipes:
    """What a folder contained when it was last checked."""

    good: Mapping[str, Recipe]
    """Recipes by name."""
    broken: tuple[Broken, ...] = ()
    """The others."""

    def get(self, name: str) -> Recipe:
        """A recipe.

        Raises:
            RecipeMissingError: there is none. RecipeError: it is broken.
        """
        if name in self.good:
            return self.good[name]
        for broken in self.broken:
            if broken.name == name:
                raise RecipeError(*broken.error.problems)
        known = ", ".join(self.good) or "none; the operator puts them into the folder CLEARSKY_RECIPES"
        raise RecipeMissingError(f"recipe {name!r} does not exist; known: {known}")


def _read(file: Path) -> bytes:
    with file.open("rb") as source:
        return source.read(YAML_BYTES + 1)


def _load(file: Path) -> Recipe | Broken:
    name = file.stem
    try:
        content = _read(file)
        document = read_yaml(content, file.name)
        name = str(document.values.get("name", name))
        return parse_recipe(document, file.parent, hashlib.sha256(content).hexdigest())
    except RecipeError as error:
        problem = error
    except OSError as error:
        problem = RecipeError(f"{file.name}:1: cannot be read: {error.strerror}; check the file's permissions")
    for text in problem.problems:
        logger.error("recipe %s", text)
    return Broken(name, file.name, problem)


class RecipeFolder:
    """The recipes of a folder; looks for changed files at most once a second."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._looked = -INTERVAL
        self._files: dict[Path, tuple[tuple[int, int], Recipe | Broken]] = {}
        self._recipes = Recipes({})

    def recipes(self) -> Recipes:
        """What the folder contains now."""
        if self._folder is not None and time.monotonic() - self._looked >= INTERVAL:
            with self._lock:
                if time.monotonic() - self._looked >= INTERVAL:
                    self._look(self._folder)
                    self._looked = time.monotonic()
        return self._recipes

    def state(self) -> Dependency:
        """For whoever asks whether the service can work: the folder, and how many of its recipes are usable."""
        if self._folder is None:
            return Dependency("ok", "no folder is set")
        recipes = self.recipes()
        if any(not broken.name for broken in recipes.broken):
            return Dependency("failed", str(recipes.broken[0].error))
        bad = ", ".join(broken.file for broken in recipes.broken)
        detail = f"{len(recipes.good)} usable" + (f"; broken: {bad}; the log has the reasons" if bad else "")
        return Dependency("degraded" if bad else "ok", detail)

    def _look(self, folder: Path) -> None:
        found: dict[Path, tuple[tuple[int, int], Recipe | Broken]] = {}
        try:
            files = sorted(f for f in folder.iterdir() if f.suffix in SUFFIXES and not f.name.startswith("."))
        except OSError as error:
            problem = RecipeError(f"CLEARSKY_RECIPES={folder}: {error.strerror}; create the folder or name another")
            if str(problem) not in [str(broken.error) for broken in self._recipes.broken]:
                logger.error("%s", problem)
            self._files, self._recipes = {}, Recipes({}, (Broken("", str(folder), problem),))
            return
        for file in files:
            try:
                stat = file.stat()
            except OSError:  # it went between the two looks
                continue
            if not file.is_file():
                continue
            state = (stat.st_size, stat.st_mtime_ns)
            known = self._files.get(file)
            found[file] = known if known and known[0] == state else (state, _load(file))
        if {f: state for f, (state, _) in found.items()} == {f: state for f, (state, _) in self._files.items()}:
            return
        self._files, self._recipes = found, _named([entry for _, entry in found.values()])


def _named(entries: list[Recipe | Broken]) -> Recipes:
    """Recipes by name; of two with one name the second is broken."""
    good: dict[str, Recipe] = {}
    broken: list[Broken] = []
    for entry in entries:
        if isinstance(entry, Broken):
            broken.append(entry)
        elif entry.name in good:
            first = good[entry.name].document.name
            where = entry.document.at(("name",))
            problem = RecipeError(f"{where}: name={entry.name!r}: {first} already has this name; choose another")
            logger.error("recipe %s", problem)
            broken.append(Broken(entry.name, entry.document.name, problem))
        else:
            good[entry.name] = entry
    return Recipes(good, tuple(broken))


def load_recipe(name_or_file: str, folder: Path | None = None) -> Recipe:
    """A recipe from a file, or by its name from a folder of recipes. Its rasters are not checked yet (`admitted`).

    Raises:
        RecipeError: it is broken. RecipeMissingError: there is none.
    """
    file = Path(name_or_file)
    if not (file.suffix in SUFFIXES or len(file.parts) > 1 or file.is_file()):
        return RecipeFolder(folder).recipes().get(name_or_file)
    try:
        content = _read(file)
    except OSError as error:
        raise RecipeMissingError(f"recipe {name_or_file!r} cannot be read: {error.strerror}; check the path") from error
    return recipe_of(content, file)
