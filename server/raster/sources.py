"""Sources: which rasters may be read, and the one door through which they are opened and described."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

import cachetools

from algorithms.errors import ParameterError
from server.raster.dataset import Dataset, describe
from server.raster.documents import may_be_document, read_document
from server.raster.mounting import has_mask_beside
from server.raster.opening import open_raster, open_stack
from server.raster.outline import Outline
from server.raster.places import FilePlaces
from server.raster.scenes import describe_band, describe_scene
from server.raster.stack import Level, StackBand, StackForm
from server.raster.upright import georeferenced
from server.remote.allowlist import AllowList
from server.remote.files import Remotes, is_remote
from server.remote.signatures import plain_name, unsigned_name
from server.remote.web import WebDocument
from server.scenes.bandlist import band_list, expanded, files_of, is_band_list, joined_files
from server.scenes.item import item_scene
from server.scenes.masks import preset_of
from server.scenes.products import is_product, no_product, product_scene
from server.scenes.scene import Scene, SceneBand, SceneMask, scene_digest
from server.settings import Settings
from server.work.cache import size_of

DESCRIPTIONS: Final = 256
"""Descriptions that are remembered, each of about 2 kB."""
ITEM_BYTES: Final = 64 << 20
"""What the remembered scenes of documents may take; real ones have 20 to 40 kB."""
PART_BYTES: Final = 16 << 20
"""What the remembered descriptions of files of scenes may take, each about 2 kB."""


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
        self._outlines = lru_cache(maxsize=DESCRIPTIONS)(self._outline)
        known: cachetools.LRUCache[tuple[str, str], Scene | None] = cachetools.LRUCache(ITEM_BYTES, _scene_bytes)
        self._items = cachetools.cached(known, key=lambda *key: key, lock=threading.Lock())(self._read_item)
        self._products = lru_cache(maxsize=DESCRIPTIONS)(_read_product)
        self._places = FilePlaces(allowed, remotes)
        parts: cachetools.LRUCache[bytes, StackBand] = cachetools.LRUCache(PART_BYTES, size_of)
        self._parts = cachetools.cached(parts, key=_digest, lock=threading.Lock())(self._describe_part)

    @classmethod
    def of(cls, settings: Settings, own: Iterable[str] = ()) -> Sources:
        """Sources as the settings want them.

        Args:
            settings: what the operator has set.
            own: datasets that the process's own user names, which the allow-list does not apply to.

        Raises:
            ParameterError: an entry of the allow-list that cannot be understood.
        """
        files = [plain_name(unsigned_name(file)) for url in own for file in files_of(url)]
        # What a document names next to itself is its user's, too.
        documents = [file.partition("?")[0] if is_remote(file) else file for file in files if may_be_document(file)]
        around = [document.rsplit("/", 1)[0] + "/" for document in documents]
        allowed = AllowList.of(settings, [*files, *around])
        return cls(allowed, Remotes.of(settings, allowed))

    def check(self, url: str) -> str:
        """The name to open, in its one form and without a signature, if whoever asks may read it.

        Raises:
            ParameterError: an empty name. As `AllowList.check` and, of web addresses, `Remotes.admit` do.
        """
        if not url.strip():
            raise ParameterError("the name of a raster is empty: give its path or address")
        if is_band_list(url):
            return joined_files([self._places.admitted(file) for file in expanded(url)])
        return self._places.admitted(url, folders=may_be_document(url))

    def version(self, url: str, numbers: Iterable[int] | None = None) -> str:
        """Identity of the content: of a scene that of its documents and of the files of some bands.

        Args:
            url: a file, a scene, or a list of files, all of which count.
            numbers: 1-based; None: the bands that masks and fills are made from, and red, green and blue.

        Raises:
            OSError: a local file that is not there. Errors of `Remotes.identity`: a remote one that cannot be had.
        """
        if is_band_list(url):
            return " ".join(map(self.version, expanded(url)))
        scene = self.scene(url)
        if scene is None:
            return self.state(url)
        own = self.state(url) if is_product(url) else scene_digest(scene)
        used = {*scene.analysed, *scene.picture} if numbers is None else set(numbers)
        files = dict.fromkeys(self._places.placed(scene, scene.bands[number - 1]) for number in sorted(used))
        return " ".join([own, *map(self.state, files)])

    def mask_version(self, mask: SceneMask) -> str:
        """Identity of the content of a mask that comes with a scene. Raises as `version` does."""
        scene = _mask_scene(mask)
        return self.state(self._places.placed(scene, scene.bands[0]))

    def answer(self, url: str, *, most_bytes: int, body: str | None = None) -> WebDocument:
        """What a web service answers now, such as a page of a search; its address is checked as every other.

        A `body` of JSON is posted.

        Raises:
            SourceForbiddenError: see `check`. ParameterError: no web address. Errors of `Remotes.document`.
        """
        if not url.lower().startswith(("https://", "http://")):
            raise ParameterError(
                f"{url[:200]!r} is not the address of a web service; give one that begins with https://"
            )
        return self.remotes.document(self.allowed.check(url), most_bytes=most_bytes, body=body)

    def state(self, url: str) -> str:
        """State of one file, or of a product's folder. Raises as `version` does."""
        return self._places.state(url)

    @contextmanager
    def open(self, url: str, version: str | None = None, *, overview: int | None = None) -> Iterator[Any]:
        """Open a raster of one file, or one of its overviews, in the state `version` if given. See `open_raster`.

        Raises:
            ParameterError: a scene of several files.
        """
        if self.scene(url) is not None:
            raise ParameterError(f"{url!r} is a scene of several files: name one of them")
        vouched = self.allowed.vouched_for(url)
        with open_raster(url, version, remotes=self.remotes, vouched=vouched, overview=overview) as src:
            yield src

    def outline(self, url: str, version: str, overview: int | None = None) -> Outline:
        """What a raster of one file, or one of its overviews, says of itself; remembered. Raises as `open` does."""
        return self._outlines(url, version, overview)

    def _outline(self, url: str, version: str, overview: int | None) -> Outline:
        with self.open(url, version, overview=overview) as src:
            return Outline.of(src, mask_beside=has_mask_beside(version))

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

    @contextmanager
    def open_level(self, url: str, bands: Sequence[StackBand], form: StackForm, level: Level) -> Iterator[Any]:
        """Open bands of a scene on one level of its grid, for their pixels only. Raises as `open` does.

        Args:
            url: what the scene is called.
            bands: some of its bands.
            form: the scene's.
            level: one of `form.levels`.
        """
        vouched = self.allowed.vouched_for
        with open_stack(url, bands, (form, level), remotes=self.remotes, vouched=vouched) as src:
            yield src

    def scene(self, url: str) -> Scene | None:
        """The scene of several files that a name stands for; None for a raster of one file.

        Raises:
            SourceForbiddenError, SourceMissingError: see `check`. ParameterError: a list that cannot be read.
            SourceUnreadableError: a folder that is no product.
        """
        if is_band_list(url):
            return band_list(url, expanded(url))
        if not may_be_document(url):
            return None
        known = self._products if is_product(url) else self._items
        return known(url, self.state(url))

    def _read_item(self, url: str, version: str) -> Scene | None:
        """The scene that a document describes; None for a file that is none."""
        if not is_remote(url) and Path(url).is_dir():
            raise no_product(url)
        data = read_document(url, version, self.remotes)
        return None if data is None else item_scene(data, url)

    def document(self, url: str) -> bytes | None:
        """The STAC Item that a name stands for, as it is stored; None for anything else. Raises as `scene` does."""
        if is_band_list(url) or not may_be_document(url) or is_product(url):
            return None
        return read_document(url, self.state(url), self.remotes)

    def dataset(self, url: str) -> Dataset:
        """The description of a raster of one file, read again when the file changes.

        Raises:
            SourceMissingError, SourceUnreadableError: see `open_raster`; or its place or its numbers are of no use.
        """
        return self._described(url, self.version(url))

    def composed(self, scene: Scene, numbers: tuple[int, ...] = ()) -> Dataset:
        """The description of some bands of a scene, read again when their files change.

        Args:
            scene: see `scene`.
            numbers: of the bands, 1-based; all without any.

        Raises:
            SourceMissingError, SourceUnreadableError: see `open_raster`; or a file's place or numbers are of no use.
            BandError: bands that do not fit onto one grid.
        """
        numbers = numbers or tuple(range(1, 1 + len(scene.bands)))
        for number in numbers[:1]:
            self._places.placed(scene, scene.bands[number - 1])  # decides where all are read from
        return describe_scene(scene, numbers, partial(self._part, scene))

    def mask(self, mask: SceneMask) -> Dataset:
        """The description of a mask that comes with a scene. Raises as `composed` does."""
        return self.composed(_mask_scene(mask))

    def _part(self, scene: Scene, band: SceneBand) -> StackBand:
        url = self._places.placed(scene, band)
        return self._parts(band, url, self.state(url))

    def _describe_part(self, band: SceneBand, url: str, version: str) -> StackBand:
        vouched = self.allowed.vouched_for(url)
        with open_raster(url, version, remotes=self.remotes, vouched=vouched, member=band.member) as src:
            return describe_band(src, band, url, version)

    def _describe(self, url: str, version: str) -> Dataset:
        with self.open(url, version) as src:
            return describe(src, url, version)

    def announce(self, url: str, version: str, spans: Iterable[tuple[int, int]]) -> None:
        """Tell which bytes of a remote file will be read, so that they come in few requests.

        Args:
            url: the file.
            version: its state.
            spans: first byte, and the one after the last.
        """
        self.remotes.pieces.announce(url, version, spans)


def _digest(*key: object) -> bytes:
    """A cache key of a few bytes: addresses and names in archives have thousands of characters."""
    return hashlib.sha256(repr(key).encode("utf-8", "surrogatepass")).digest()


def _scene_bytes(scene: Scene | None) -> int:
    """What a remembered scene counts: its own bytes, but so many that no more than `DESCRIPTIONS` are kept."""
    return max(size_of(scene), ITEM_BYTES // DESCRIPTIONS)


def _mask_scene(mask: SceneMask) -> Scene:
    """A mask as a scene of its own."""
    first = SceneBand(None, mask.asset, mask.url, scale=1.0, offset=0.0, alternates=mask.alternates, member=mask.member)
    bands = (replace(first, index=index) for index in preset_of(mask.kind).bands)
    return Scene(unsigned_name(mask.url), tuple(bands))


def _read_product(url: str, _version: str) -> Scene:
    """The scene that a local product is, in one state."""
    return product_scene(url)
