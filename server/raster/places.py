"""Which file a name leads to: if it may be read, in its state; of a scene's several stores the one that lets in."""

from __future__ import annotations

import os
import threading
from typing import Final

import cachetools

from server.errors import SourceForbiddenError
from server.raster.mounting import file_version
from server.remote.allowlist import AllowList
from server.remote.files import Remotes, is_remote
from server.remote.signatures import plain_name
from server.scenes.bandlist import is_band_list
from server.scenes.products import folder_state
from server.scenes.scene import Scene, SceneBand
from server.work.ticket import check_wanted

PLACED_SCENES: Final = 2048
"""Scenes of which it is remembered which of several stores their files are read from."""


class FilePlaces:
    """The files that names lead to, for one allow-list."""

    def __init__(self, allowed: AllowList, remotes: Remotes) -> None:
        self._allowed = allowed
        self._remotes = remotes
        self._choosing = threading.Lock()
        self._places: cachetools.LRUCache[str, str] = cachetools.LRUCache(PLACED_SCENES)
        """By scene, which of several stores its files are read from."""

    def admitted(self, url: str, *, folders: bool = False) -> str:
        """The name to open, if whoever asks may read it; `folders`: or those below it. Raises as `Sources.check`."""
        name = self._allowed.check(url, folders=folders)
        return self._remotes.admit(name) if is_remote(name) else name

    def state(self, url: str) -> str:
        """State of one file, or of a product's folder. Raises as `Sources.version` does."""
        if not is_remote(url) and os.path.isdir(url):  # noqa: PTH112  (ten times per request)
            return folder_state(url)
        return file_version(url, self._remotes)

    def placed(self, scene: Scene, band: SceneBand) -> str:
        """The admitted address of a band's file: its own, or the first of its alternates where that is refused.

        All bands of a scene are read from one place, the last one that let somebody in.

        Raises:
            See `Sources.check`: what is wrong with its own address.
        """
        places = (band.url, *band.alternates)  # no lists: braces in an Item's address are its own
        if is_band_list(scene.url):
            # Its server has let the request in by `check`, with a signature or token that the name does not have.
            self._allowed.check(plain_name(band.url))
            return band.url
        if len(places) == 1:
            return self.admitted(band.url)
        with self._choosing:
            chosen = self._places.get(scene.url)
        refused: SourceForbiddenError | None = None
        for place in sorted(places, key=lambda place: _store(place) != chosen):
            check_wanted()
            try:
                name = self.admitted(place)
                self.state(name)  # an object store says only now whether it may be read
            except SourceForbiddenError as error:
                refused = error if refused is None or place == band.url else refused
                continue
            with self._choosing:
                self._places[scene.url] = _store(place)
            return name
        assert refused is not None  # noqa: S101  (there is a place)
        raise refused


def _store(url: str) -> str:
    """Scheme and host of an address."""
    return url.split("/", 3)[0] + "//" + url.split("/", 3)[2] if "://" in url else ""
