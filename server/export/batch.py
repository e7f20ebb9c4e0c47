"""Batches: many scenes to export, from a table or a STAC ItemCollection, as lines of the command's own arguments."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from algorithms.errors import ParameterError
from server.scenes.bounded import list_of, mapping_of

MOST_SCENES: Final = 100_000
"""Scenes of one batch."""
PLACE_COLUMNS: Final = ("target", "out")
"""Columns of a table that are no options."""
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class BatchOption:
    """What a batch needs to know of one of the command's options."""

    flags: tuple[str, ...]
    """The option; of a switch the one that turns it on, and the one that turns it off if there is one."""
    switch: bool
    """Whether it takes no value."""
    repeated: bool
    """Whether it may be given several times."""


@dataclass(frozen=True, slots=True)
class BatchScene:
    """One scene of a batch."""

    where: str
    """Its place in the file, for messages."""
    target: str
    """What to read."""
    out: Path
    """What to write."""
    arguments: tuple[str, ...] = ()
    """Options of its own, as the command takes them."""
    trouble: str | None = None
    """Why it cannot be exported, where that is known beforehand."""


def read_batch(
    path: Path, out: Path | None, options: Mapping[str, BatchOption], *, per_asset: bool
) -> list[BatchScene]:
    """The scenes of a file.

    Args:
        path: a table (CSV) with columns `target`, `out` and options by name; or a STAC ItemCollection.
        out: folder for results that the file gives no place for; required for an ItemCollection.
        options: the command's options by name.
        per_asset: whether each result is a folder.

    Raises:
        ParameterError: the file cannot be read, or says what no command could.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise ParameterError(f"--batch {str(path)!r} cannot be read: {why}") from error
    scenes = list(
        _items(path, text, out, per_asset=per_asset)
        if text.lstrip().startswith("{")
        else _rows(path, text, out, options, per_asset=per_asset)
    )
    if not scenes:
        raise ParameterError(f"--batch {str(path)!r} names no scene")
    if len(scenes) > MOST_SCENES:
        raise ParameterError(f"--batch {str(path)!r} names more than {MOST_SCENES} scenes; divide it")
    places: dict[Path, BatchScene] = {}
    for scene in scenes:
        other = places.setdefault(scene.out.resolve(), scene)
        if other is not scene:
            raise ParameterError(f"{scene.where} and {other.where} both write {str(scene.out)!r}")
    return scenes


def _rows(
    path: Path, text: str, out: Path | None, options: Mapping[str, BatchOption], *, per_asset: bool
) -> Iterator[BatchScene]:
    """The scenes of a table."""
    rows = csv.reader(text.splitlines(), strict=True)
    try:
        header = [name.strip().lstrip("-").replace("-", "_") for name in next(rows, [])]
        if "target" not in header:
            raise ParameterError(f"--batch {str(path)!r} has no column `target` in its first line")
        if unknown := [name for name in header if name not in options and name not in PLACE_COLUMNS]:
            known = ", ".join(sorted([*PLACE_COLUMNS, *options]))
            raise ParameterError(f"--batch {str(path)!r}: column {unknown[0]!r} is unknown; choose from {known}")
        once = [name for name in header if name not in options or not options[name].repeated]
        if twice := [name for name in once if once.count(name) > 1]:
            raise ParameterError(f"--batch {str(path)!r} has two columns {twice[0]!r}")
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            where = f"{path.name} line {rows.line_num}"
            if len(row) != len(header):
                raise ParameterError(f"{where} has {len(row)} cells, and the first line {len(header)}")
            cells = [(name, cell.strip()) for name, cell in zip(header, row, strict=True) if cell.strip()]
            yield _scene(where, cells, out, options, per_asset=per_asset)
    except csv.Error as error:
        raise ParameterError(f"{path.name} line {rows.line_num} cannot be read as CSV: {error}") from error


def _scene(
    where: str, cells: list[tuple[str, str]], out: Path | None, options: Mapping[str, BatchOption], *, per_asset: bool
) -> BatchScene:
    places = dict(cell for cell in cells if cell[0] in PLACE_COLUMNS)
    if "target" not in places:
        raise ParameterError(f"{where} names no target")
    if "out" not in places and out is None:
        raise ParameterError(f"{where} names no output: add a column `out`, or give the folder OUT")
    target = places["target"]
    place = Path(places["out"]) if "out" in places else _place_in(out, _stem(target), per_asset=per_asset)
    given = [_argument(where, name, options[name], cell) for name, cell in cells if name in options]
    return BatchScene(where, target, place, tuple(part for arguments in given for part in arguments))


def _argument(where: str, name: str, option: BatchOption, cell: str) -> tuple[str, ...]:
    """The arguments of a cell."""
    if not option.switch:
        return (option.flags[0], cell)
    if cell.lower() not in _TRUE | _FALSE:
        raise ParameterError(f"{where}: {name} {cell!r} is neither true nor false")
    on = cell.lower() in _TRUE
    return option.flags[:1] if on else option.flags[1:2]


def _items(path: Path, text: str, out: Path | None, *, per_asset: bool) -> Iterator[BatchScene]:
    """The scenes of an ItemCollection."""
    try:
        document = mapping_of(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise ParameterError(f"--batch {str(path)!r} is neither a table nor JSON: {error}") from error
    if document.get("type") != "FeatureCollection":
        raise ParameterError(f"--batch {str(path)!r} is of type {document.get('type')!r}, not a STAC ItemCollection")
    if out is None:
        raise ParameterError(f"--batch {str(path)!r} is a STAC ItemCollection: give the folder OUT for the results")
    for number, item in enumerate(map(mapping_of, list_of(document.get("features"))), start=1):
        where = f"{path.name} Item {number}"
        if (name := file_name(item)) is None:
            raise ParameterError(f"{where} has the id {item.get('id')!r}, which cannot be the name of a file")
        links = map(mapping_of, list_of(item.get("links")))
        address = next((link.get("href") for link in links if link.get("rel") == "self"), None)
        if not isinstance(address, str):
            raise ParameterError(f"{where} ({name}) has no link `self` to read it by")
        if not urlsplit(address).scheme:
            address = urljoin(str(path.resolve()), address)
        yield BatchScene(where, address, _place_in(out, name, per_asset=per_asset))


def _stem(target: str) -> str:
    """The name of a result that the table gives none for."""
    return Path(urlsplit(target).path if "://" in target else target).stem or "scene"


def _place_in(out: Path | None, name: str, *, per_asset: bool) -> Path:
    assert out is not None  # noqa: S101  (checked by the callers)
    return result_place(out, name, per_asset=per_asset)


def result_place(folder: Path, name: str, *, per_asset: bool) -> Path:
    """Where the result of a scene goes that is given no place: a file, or a folder."""
    return folder / (name if per_asset else f"{name}.tif")


def file_name(item: Mapping[str, Any]) -> str | None:
    """An Item's id, where it can be the name of a file."""
    name = item.get("id")
    if not isinstance(name, str) or not name or "/" in name or name[0] == "." or not name.isprintable():
        return None
    return name
