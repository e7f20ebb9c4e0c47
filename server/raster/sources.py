"""Sources: which rasters may be read, and the one door through which they are opened and described."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final

from server.raster.dataset import Dataset, describe
from server.raster.mounting import file_version
from server.raster.opening import open_raster, open_stack
from server.raster.upright import georeferenced
from server.remote.allowlist import AllowList
from server.remote.files import Remotes
from server.settings import Settings

DESCRIPTIONS: Final = 256
"""Descriptions that are remembered, each of about 2 kB."""


class Sources:
    """The rasters of one application: its allow-list, its remote files and what is known of them.

    Names are given as `check` returns them, or come from the process's own user.
    """

    def __init__(self, allowed: AllowList, remotes: Remotes) -> None:
        self.allowed: Final = allowed
        """Which rasters requests may name."""
        self.remotes: Final = remotes
        """States and pieces of remote files."""
        self._described = lru_cache(maxsize=DESCRIPTIONS)(self._describe)

    @classmethod
    def of(cls, settings: Settings, own: Iterable[str] = ()) -> Sources:
        """Sources as the settings want them.

        Args:
            settings: what the operator has set.
            own: datasets that the process's own user names, which the allow-list does not apply to.

        Raises:
            ParameterError: an entry of the allow-list that cannot be understood.
        """
        allowed = AllowList.of(settings, own)
        return cls(allowed, Remotes.of(settings, allowed))

    def check(self, url: str) -> str:
        """The name to open, in its one form, if a request may name it. Raises as `AllowList.check` does."""
        return self.allowed.check(url)

    def version(self, url: str) -> str:
        """Identity of the content. Raises as `file_version` does."""
        return file_version(url, self.remotes)

    @contextmanager
    def open(self, url: str, version: str | None = None) -> Iterator[Any]:
        """Open a raster, in the state `version` if that is given; see `open_raster`, and for what it raises."""
        with open_raster(url, version, remotes=self.remotes, vouched=self.allowed.vouched_for(url)) as src:
            yield src

    @contextmanager
    def open_described(self, dataset: Dataset) -> Iterator[Any]:
        """Open a raster, of one file or several, on the lattice that its description has. Raises as `open` does."""
        if dataset.parts:
            vouched = self.allowed.vouched_for
            with open_stack(dataset.url, dataset.parts, remotes=self.remotes, vouched=vouched) as src:
                yield src
            return
        with self.open(dataset.url, dataset.version) as src, georeferenced(src) as ground:
            yield ground

    def dataset(self, url: str) -> Dataset:
        """The description of a raster, read again when the file changes.

        Raises:
            SourceMissingError, SourceUnreadableError: see `open_raster`; or its place or its numbers are of no use.
        """
        return self._described(url, self.version(url))

    def _describe(self, url: str, version: str) -> Dataset:
        with self.open(url, version) as src:
            return describe(src, url, version)

    def announce(self, dataset: Dataset, spans: Iterable[tuple[int, int]]) -> None:
        """Tell which bytes of a remote raster will be read, so that they come in few requests.

        Args:
            dataset: the raster.
            spans: first byte, and the one after the last.
        """
        self.remotes.pieces.announce(dataset.url, dataset.version, spans)
