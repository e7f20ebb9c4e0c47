"""Batches from searches: the Items that a STAC API finds, page by page, each a scene to export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

from algorithms.errors import ParameterError
from server.errors import SourceForbiddenError, SourceUnreadableError
from server.export.batch import MOST_SCENES, BatchScene, file_name, result_place
from server.raster.sources import Sources
from server.remote.redaction import redacted
from server.scenes.bounded import shown
from server.scenes.paging import PageRequest
from server.scenes.search import PAGE_ITEMS, ItemList, item_address, read_items
from server.scenes.walk import PAGE_BYTES, Halt, SearchDeadline, walk_pages
from server.settings import Settings

MOST_BATCH_PAGES: Final = 4000
"""Pages that are requested: `MOST_SCENES` in pages of half the Items that are asked for."""
BATCH_SEARCH_SECONDS: Final = 900.0
"""Time for all pages."""


def is_search(batch: str) -> bool:
    """Whether a batch is given by an address rather than by a file."""
    return batch.lower().startswith(("https://", "http://"))


def searched_scenes(address: str, out: Path | None, settings: Settings, *, per_asset: bool) -> list[BatchScene]:
    """The scenes that a search finds; an Item that cannot be exported is among them, with the reason.

    Args:
        address: of the first page: `https://HOST/search?collections=...`, `.../collections/ID/items?...`.
        out: folder for the results; required.
        settings: how addresses are read, and which ones an Item may have.
        per_asset: whether each result is a folder.

    Raises:
        ParameterError: it finds nothing, or more than a batch may have. SourceError: the API cannot be had, or
            does not give all that it finds.
    """
    named = redacted(address)
    if out is None:
        raise ParameterError(f"--batch {named!r} is a search: give the folder OUT for the results")
    sources = Sources.of(settings, own=[address])
    found = _Found(out, per_asset, _collections(address))
    deadline = SearchDeadline.within(
        BATCH_SEARCH_SECONDS, search=f"the search {named!r}", remedy="narrow it, or try again"
    )

    def read(asked: PageRequest) -> ItemList:
        answer = sources.answer(asked.address, most_bytes=PAGE_BYTES, body=asked.body)
        return read_items(answer.data, answer.where, asked)

    def halted(halt: Halt) -> None:
        if halt is Halt.CIRCLE:
            raise SourceUnreadableError(f"the pages of the search {named!r} lead in a circle; nothing was exported")
        raise ParameterError(f"the search {named!r} has more than {MOST_BATCH_PAGES} pages; narrow it")

    first = PageRequest(_first_page(address))
    for page in walk_pages(first, read, most_pages=MOST_BATCH_PAGES, go_on=deadline.check, halted=halted):
        for item in page.items:
            found.add(item, page.where, sources)
        if len(found) > MOST_SCENES:
            raise ParameterError(f"the search {named!r} finds more than {MOST_SCENES} scenes; narrow it")
        if page.cut:
            raise SourceUnreadableError(
                f"the search {named!r} has a next page that neither GET nor POST brings; save what the API finds as a "
                "STAC ItemCollection and give its file"
            )
    if not found:
        raise ParameterError(f"the search {named!r} finds no scene; check its collections, bbox and datetime")
    return [*found.scenes.values(), *found.left_out]


@dataclass(slots=True)
class _Found:
    """What the pages have had so far."""

    folder: Path
    """Of the results."""
    per_asset: bool
    """Whether each result is a folder."""
    collections: tuple[str, ...]
    """Those that were asked for; none: any."""
    scenes: dict[Path, BatchScene] = field(default_factory=dict)
    """By result."""
    left_out: list[BatchScene] = field(default_factory=list)
    """What cannot be exported, with the reasons."""

    def __len__(self) -> int:
        return len(self.scenes) + len(self.left_out)

    def add(self, item: Mapping[str, Any], where: str, sources: Sources) -> None:
        """Take an Item of the page `where`; one that was on an earlier page, too, is taken once."""
        name = file_name(item)
        if name is None:
            self._leave_out(shown(item.get("id")), "its id cannot be the name of a file")
            return
        if self.collections and (collection := item.get("collection")) not in self.collections:
            self._leave_out(name, f"is of the collection {shown(collection)}, which was not asked for")
            return
        try:
            address = sources.allowed.check(item_address(item, where))
        except (SourceUnreadableError, SourceForbiddenError) as error:
            self._leave_out(name, str(error))
            return
        scene = BatchScene(f"Item {name}", address, result_place(self.folder, name, per_asset=self.per_asset))
        known = self.scenes.setdefault(scene.out, scene)
        if known.target != scene.target:
            self._leave_out(name, f"has the id of {redacted(known.target)}, and would be written to the same place")

    def _leave_out(self, name: str, why: str) -> None:
        self.left_out.append(BatchScene(f"Item {name}", name, self.folder, trouble=why))


def _first_page(address: str) -> str:
    """The address with a size of pages, unless it has one."""
    parts = urlsplit(address)
    if "limit" in parse_qs(parts.query, keep_blank_values=True):
        return address
    limit = urlencode({"limit": PAGE_ITEMS})
    return parts._replace(query=f"{parts.query}&{limit}" if parts.query else limit, fragment="").geturl()


def _collections(address: str) -> tuple[str, ...]:
    """The collections whose Items are asked for; none: any."""
    parts = urlsplit(address)
    steps = parts.path.rstrip("/").split("/")
    if steps[-1] == "items" and "collections" in steps[-3:-2]:
        return (steps[-2],)
    named = ",".join(parse_qs(parts.query).get("collections", [])).split(",")
    return tuple(name for name in named if name)
