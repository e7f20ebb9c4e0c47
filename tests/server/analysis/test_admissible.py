"""What a shared cache may hold under a key: all that is really computed, and nothing of another shape or kind."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from algorithms.options import CloudOptions
from server.analysis.admissible import SHARED_KEYS, fits
from server.analysis.choosing import ChoiceKey
from server.analysis.engine import Analysis
from server.analysis.keys import FillKey, FirstFitKey, SceneKey, ShiftKey, WindowKey
from server.analysis.offers import Offer, Ranking
from server.analysis.plane import Plane
from server.analysis.request import Request
from server.analysis.sharing import SHARED_TYPES, name_of
from server.analysis.tasking import make_task
from server.raster.grid import fine_grid
from server.scenes.acquisition import Acquisition
from server.scenes.search import LeftOut
from server.work.codec import Codec
from server.work.folderstore import FolderStore
from server.work.shared import NamedKey, SharedCache
from tests.helpers.scenes import make_pair, write_pair
from tests.helpers.service import sources_by

CHOICE = ChoiceKey(Request("t.tif"), "state", 20_000)
OFFER = Offer("a", Acquisition("a", sun_elevation=45, box=(1.0, 2.0, 3.0, 4.0)), 0.5, None, ("clear",), "a")
RANKING = Ranking(Acquisition("t"), "api", "c", 3, 0.5, 0.4, (OFFER,), (OFFER,), (LeftOut("b", "late"),), ())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[Hashable, Any]:
    """What an analysis shares, by its key."""
    folder = tmp_path_factory.mktemp("made")
    written = write_pair(folder, make_pair(size=(140, 150)))
    found: dict[Hashable, Any] = {CHOICE: RANKING}

    def noted(key: Hashable, value: object) -> bool:
        found[key] = value
        return True

    sources = sources_by(str(folder))
    shared = SharedCache(FolderStore(folder / "shared"), Codec(SHARED_TYPES), name_of, noted)
    analysis = Analysis(sources, cache_bytes=1 << 28, threads=1, shared=shared)
    urls = (written["replacement"],)
    for options, replacements in (
        (CloudOptions(adjustment="regression", refine=True), urls),
        (CloudOptions(adjustment="joint", refine=True), (*urls, written["url"])),
    ):
        task = make_task(Request(written["url"], replacements), sources, options)
        plane = Plane(task, fine_grid(task.target.dataset))
        for power in (0, 3):
            analysis.blocks(plane, [(0, 0)], power=power)
    analysis.close()
    return found


def of_kind(made: dict[Hashable, Any], kind: type) -> tuple[Any, Any]:
    """A key of a kind, with a value that has parts if any has."""
    found = [(key, value) for key, value in made.items() if type(key) is kind and value is not None]
    return next(((key, value) for key, value in found if getattr(value, "layers", None)), found[0])


def test_all_that_is_computed_fits(made: dict[Hashable, Any]) -> None:
    codec = Codec(SHARED_TYPES)
    assert {type(key) for key in made} == set(SHARED_KEYS) - {NamedKey}
    assert any(fill.layers for key, fill in made.items() if isinstance(key, FillKey) and key.power == 0)
    for key, value in made.items():
        assert fits(key, value), key
        assert fits(key, codec.decode(codec.encode(value))), key


@pytest.mark.parametrize("kind", [kind for kind in SHARED_KEYS if kind is not NamedKey])
def test_what_is_of_another_kind_does_not_fit(made: dict[Hashable, Any], kind: type) -> None:
    key, _ = of_kind(made, kind)
    others = [value for other, value in made.items() if type(other) is not kind and value is not None]
    scenes = {FirstFitKey, SceneKey}
    if kind in scenes:  # of the same shape, so that only the other kinds are garbage
        others = [value for other, value in made.items() if type(other) not in scenes]
    for value in [*others, 5, "text", (), (None,), {}, np.zeros(0, np.uint8), np.full((3, 2, 2), np.nan)]:
        assert not fits(key, value), value


@pytest.mark.parametrize("shift", [(np.nan, 1e300), (0.0, np.inf), (0.0, 3.5), (0.0,), (0.0, 0.0, 0.0), (True, 0.0)])
def test_shifts_that_no_estimate_gives_do_not_fit(made: dict[Hashable, Any], shift: tuple[float, ...]) -> None:
    assert not fits(of_kind(made, ShiftKey)[0], shift)


def spoilt(value: Any) -> list[Any]:
    """Arrays like one, with another type, shape or content."""
    other = np.float32 if value.dtype == np.float64 else np.float64
    found = [value.astype(other), value[..., None], value[:-1], np.concatenate([value, value])]
    if value.dtype.kind == "f":
        found += [np.full_like(value, np.nan), np.full_like(value, -np.inf)]
    return found


@pytest.mark.parametrize("kind", [WindowKey, FirstFitKey, SceneKey, FillKey])
def test_no_array_of_a_value_may_be_another(made: dict[Hashable, Any], kind: type) -> None:
    key, value = of_kind(made, kind)
    if kind is WindowKey:
        assert not any(fits(key, wrong) for wrong in spoilt(value))
        return
    names = [name for name in type(value).__annotations__ if isinstance(getattr(value, name), np.ndarray)]
    assert names
    for name in names:
        for wrong in spoilt(getattr(value, name)):
            assert not fits(key, replace(value, **{name: wrong})), name


def test_parts_of_fills_are_checked(made: dict[Hashable, Any]) -> None:
    key, value = next(
        (key, value)
        for key, value in made.items()
        if isinstance(key, FillKey) and key.power == 0 and any(layer.border for layer in value.layers.values())
    )
    k, layer = next((k, layer) for k, layer in value.layers.items() if layer.border)
    wrong = [replace(layer, fields=fields) for fields in spoilt(layer.fields)]
    wrong += [replace(layer, box=layer.box.pad(1))]
    for name in ("rows", "cols", "values"):
        part = getattr(layer.border, name)
        wrong += [replace(layer, border=replace(layer.border, **{name: other})) for other in spoilt(part)]
    far = replace(layer.border, rows=layer.border.rows + np.int32(1 << 20))
    wrong += [replace(layer, border=far), replace(layer, border=replace(layer.border, rows=-1 - layer.border.rows))]
    for each in wrong:
        assert not fits(key, replace(value, layers={**value.layers, k: each}))
    assert not fits(key, replace(value, layers={}))
    assert not fits(key, replace(value, layers={**value.layers, 99: layer}))
    assert not fits(key, replace(value, source=np.full_like(value.source, 77)))
    assert not fits(key, replace(value, confidence=np.full_like(value.confidence, 101)))


@pytest.mark.parametrize(
    "change",
    [
        {"items": "3"},
        {"covered": np.nan},
        {"chosen": ("a",)},
        {"warnings": (5,)},
        {"provisional": True},
        {"offers": (replace(OFFER, found="signed"),)},
        {"target": Acquisition("t", when=datetime(2024, 1, 1))},
        {"target": Acquisition("t", box=(1.0, 2.0, 3.0))},  # type: ignore[arg-type]
    ],
)
def test_rankings_are_checked_to_their_last_part(change: dict[str, Any]) -> None:
    assert fits(CHOICE, RANKING)
    assert not fits(CHOICE, replace(RANKING, **change))


def test_an_answer_is_checked_by_its_key() -> None:
    assert not fits(NamedKey("Answer", ("tag",), lambda value: value == 1), 2)
    assert fits(NamedKey("Answer", ("tag",), lambda value: value == 1), 1)
    checked, unchecked = NamedKey("Answer", ("tag",), bool), NamedKey("Answer", ("tag",))
    assert name_of(checked) == name_of(unchecked)
