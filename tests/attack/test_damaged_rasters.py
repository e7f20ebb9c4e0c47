"""Rasters with damage, as target, replacement and mask: an answer by the table, and never another request's pixels.

Damage is drawn with fixed seeds: bytes flipped, runs of zeros or noise, cut ends, tags of the header rewritten. The
server reads a raster all of 77 in between: what a broken reader hands out of its memory would show that value.
"""

from __future__ import annotations

import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.scenes import CLEAR_REPLACEMENTS, make_pair, write_raster
from tests.helpers.service import raster, server_process

FINE = {200, 400, 404, 502, 503, 504}
EACH = 15
"""Damaged files per kind and seed."""
CANARY = 7777
"""A value that no good pixel has."""
KINDS: dict[str, dict[str, Any]] = {
    "tiled": {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": None},
    "deflate": {"tiled": True, "blockxsize": 32, "blockysize": 32, "compress": "deflate"},
    "strips": {"tiled": False, "interleave": "band", "compress": None, "blockysize": 8},
}


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """The content with one kind of damage."""
    data = bytearray(content)
    kind, at = int(rng.integers(5)), int(rng.integers(len(data)))
    if kind == 0:  # cut short
        return bytes(data[:at])
    if kind == 1:  # single bits
        for place in rng.integers(len(data), size=int(rng.integers(1, 40))):
            data[place] ^= 1 << int(rng.integers(8))
    elif kind == 2:  # a run of noise
        run = rng.integers(256, size=int(rng.integers(1, 400)), dtype=np.uint8).tobytes()
        data[at : at + len(run)] = run[: len(data) - at]
    elif kind == 3:  # the header's tags: where blocks lie, how large they are, what they hold
        for place in rng.integers(4, 400, size=int(rng.integers(1, 6))):
            data[place] = int(rng.integers(256))
    else:  # a run of zeros
        length = int(rng.integers(1, 2000))
        data[at : at + length] = bytes(min(length, len(data) - at))
    return bytes(data)


@dataclass(frozen=True)
class Place:
    """A server and the folder it reads."""

    base: str
    folder: Path

    def ask(self, **names: str) -> tuple[int, bytes]:
        files = {name: str(self.folder / file) for name, file in names.items()}
        query = urllib.parse.urlencode(files | CLEAR_REPLACEMENTS)
        try:
            with urllib.request.urlopen(f"{self.base}/cog/preview.tif?{query}", timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("damaged")
    pair = make_pair(size=(90, 110))
    for kind, profile in KINDS.items():
        write_raster(folder / f"target-{kind}.tif", np.minimum(pair.target, 7000), **profile)
        write_raster(folder / f"replacement-{kind}.tif", np.minimum(pair.replacement, 7000), **profile)
        write_raster(folder / f"mask-{kind}.tif", pair.mask[None].astype(np.uint8), nodata=None, **profile)
    write_raster(
        folder / "canary.tif", np.full((6, 90, 110), CANARY, np.uint16), tiled=True, blockxsize=16, blockysize=16
    )
    with server_process(folder) as base:
        yield Place(base, folder)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("role", ["target", "replacement", "mask"])
def test_damage_has_an_answer_and_shows_nobody_elses_pixels(place: Place, kind: str, seed: int, role: str) -> None:
    rng = np.random.default_rng([seed, sum(map(ord, kind + role))])
    good = (place.folder / f"{role}-{kind}.tif").read_bytes()
    names = {name: f"{name}-{kind}.tif" for name in ("target", "replacement", "mask")} | {role: "bad.tif"}
    names["url"] = names.pop("target")
    for number in range(EACH):
        assert place.ask(url="canary.tif")[0] == 200
        content = damaged(good, rng)
        (place.folder / "bad.tif").write_bytes(content)
        status, body = place.ask(**names)
        what = (kind, seed, role, number)
        assert status in FINE, (what, status, body[:500])
        assert b"Traceback" not in body, what
        if status == 200 and CANARY.to_bytes(2, "little") not in content:
            values = raster(body)
            shown = float((values[: min(6, len(values))] == CANARY).mean())
            assert shown < 0.01, (what, f"{shown:.0%} of the pixels are of another request")


def test_the_server_is_well_afterwards(place: Place) -> None:
    status, _ = place.ask(url="target-tiled.tif", replacement="replacement-tiled.tif", mask="mask-tiled.tif")
    assert status == 200
