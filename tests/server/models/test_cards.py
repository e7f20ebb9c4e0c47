"""Model cards: what a good one means, and that a bad one is one line with file, line, key and remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from algorithms.errors import ModelError
from algorithms.models import FixedStatistics, SizeRule
from server.models.cards import LARGEST_SIDE, read_card
from server.work.document import write_values
from tests.helpers.networks import card

SHA = "ab" * 32


def read(**changes: Any) -> Any:
    return read_card(write_values(card(**{"sha256": SHA, **changes})).encode(), "cards/tiny.yaml")


def test_a_card_is_a_model() -> None:
    written = read(
        bands=["B02", "B03", "B04", "B08", "B8A", "B12"],
        scale=10000,
        normalisation={"mean": [1.0] * 6, "std": [2] * 6},
        size={"multiple": 32, "least": 320, "most": 512},
        level="l2a",
        classes=["clear", {"meaning": "cloud", "density": "high"}, "thin cloud", "shadow", "snow", "water"],
        title="A model",
    )
    model = written.model(Path("/models"))
    assert model.id == "tiny"
    assert model.bands == ("blue", "green", "red", "nir", "nir08", "swir22")
    assert (model.scale, model.level, model.resolution, model.licence) == (10000, "l2a", (10, 50), "CC0")
    assert model.normalisation == FixedStatistics((1,) * 6, (2,) * 6)
    assert model.size == SizeRule(32, 320, 512)
    assert model.size.side == 320
    assert (model.cloud, model.shadow) == ((1, 2), (3,))
    assert model.classes == ("clear", "cloud (high)", "thin cloud", "shadow", "snow", "water")


DENSITIES = ["clear", *({"meaning": "cloud", "density": name} for name in ("low", "medium", "high"))]


@pytest.mark.parametrize(
    ("classes", "remap", "cloud", "shadow"),
    [
        (DENSITIES, None, (1, 2, 3), ()),
        (DENSITIES, "1 1;2 1;3 1", (1, 2, 3), ()),
        (DENSITIES, "2 3 1", (2, 3), ()),
        (["clear", "cloud", "shadow", "snow"], "1 1;3 1", (1, 3), ()),
        (["clear", "cloud", "shadow"], "2 1", (), (2,)),
    ],
)
def test_a_remap_chooses_what_is_covered(
    classes: list[Any], remap: str | None, cloud: tuple[int, ...], shadow: tuple[int, ...]
) -> None:
    assert read(classes=classes, remap=remap).covered() == (cloud, shadow)


def test_every_difference_gives_another_fingerprint_and_the_folder_none() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"name": "other"},
        {"sha256": "cd" * 32},
        {"bands": ["green", "red", "nir"]},
        {"scale": 2},
        {"normalisation": "none"},
        {"normalisation": {"mean": [0, 0, 0], "std": [1, 1, 1]}},
        {"size": {"multiple": 512}},
        {"output": "probabilities"},
        {"classes": ["clear", "shadow", "cloud"]},
        {"remap": "1 1"},
    ]
    models = [read_card(write_values(card(SHA) | each).encode(), "c").model(Path("/a")) for each in changes]
    assert len({model.fingerprint for model in models}) == len(changes)
    assert read().model(Path("/elsewhere")).fingerprint == models[0].fingerprint


BAD: list[tuple[dict[str, Any], list[str]]] = [
    ({"name": None}, ["name", "is missing", "add `name"]),
    ({"name": "A b"}, ["name='A b'"]),
    ({"name": "auto"}, ["name='auto'", "choose another"]),
    ({"name": "ukis-6b-l1c"}, ["ClearSky's own"]),
    ({"sha256": "12"}, ["sha256='12'"]),
    ({"sha256": None}, ["sha256 is missing"]),
    ({"file": "../tiny.onnx"}, ["file='../tiny.onnx'", "out of the card's folder"]),
    ({"file": "/etc/passwd"}, ["out of the card's folder"]),
    ({"file": "a\\..\\b"}, ["out of the card's folder"]),
    ({"bands": ["red", "ultraviolet light", "nir"]}, ["bands", "'ultraviolet light'", "common names"]),
    ({"bands": ["red", "red"]}, ["twice"]),
    ({"bands": []}, ["bands"]),
    ({"scale": 0}, ["scale=0"]),
    ({"scale": "10000"}, ["scale='10000'"]),
    ({"normalisation": "zscore"}, ["normalisation='zscore'", "window"]),
    ({"normalisation": {"mean": [0, 0, 0], "std": [1, 0, 1]}}, ["normalisation=", "greater than 0"]),
    ({"normalisation": {"mean": [0, 0], "std": [1, 1, 1]}}, ["normalisation.mean has 2 numbers for 3 bands"]),
    ({"size": {"most": 128}}, ["size", "no side of 256 cells"]),
    ({"size": {"multiple": 300, "most": 512, "least": 320}}, ["size", "no side of 256 cells"]),
    ({"size": {"most": 100_000}}, ["size.most=100000", str(LARGEST_SIDE)]),
    ({"resolution": [50, 10]}, ["resolution", "finest, coarsest"]),
    ({"resolution": None}, ["resolution is missing"]),
    ({"output": "mask"}, ["output='mask'", "logits"]),
    ({"classes": ["clear", "fog"]}, ["classes.1", "fog"]),
    ({"classes": ["clear", {"meaning": "snow", "density": "low"}]}, ["classes.1", "density is of `cloud`"]),
    ({"classes": ["clear", "snow"]}, ["no class counts as cloud"]),
    ({"remap": "0 0"}, ["no class counts as cloud"]),
    ({"remap": "1 1;x"}, ["remap='1 1;x'", "position"]),
    ({"normalization": "none"}, ["normalization is no key", "did you mean `normalisation`"]),
]


@pytest.mark.parametrize(("changes", "words"), BAD, ids=[words[0] for _, words in BAD])
def test_a_bad_card_is_one_line(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ModelError) as caught:
        read(**changes)
    said = str(caught.value)
    assert said.startswith("cards/tiny.yaml:")
    assert "\n" not in said
    assert len(said) < 700
    assert all(word in said for word in words), said


@pytest.mark.parametrize("content", [b"", b"- a", b"name: &a x", b"\xff", b"name: !!python/object:os.system x"])
def test_what_is_no_card_is_an_error_of_models(content: bytes) -> None:
    with pytest.raises(ModelError, match=r"^c\.yaml:1: "):
        read_card(content, "c.yaml")
