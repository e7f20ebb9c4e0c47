"""The models' cards: they agree with the installed files, and the right one is chosen."""

import hashlib
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest

from algorithms.bands import ROLES
from algorithms.errors import BandError, ModelError, ParameterError
from algorithms.models import MODELS, CloudModel, ModelFile, select_model


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.id)
def test_cards_agree_with_the_installed_files(model: CloudModel) -> None:
    assert model.present
    assert len(model.files) == 2
    for file in model.files:
        assert hashlib.sha256(model.place(file).read_bytes()).hexdigest() == file.sha256
    assert f"{len(model.bands)}b-{model.level}" in model.id


@pytest.mark.parametrize(
    "changes",
    [
        {"package": "clearsky_no_such_package"},
        {"network": ModelFile("other.onnx", "")},
        {"statistics": ModelFile("other.json", "")},
    ],
)
def test_a_model_whose_file_is_missing_is_not_present(changes: dict[str, Any]) -> None:
    assert not replace(MODELS["ukis-4b-l1c"], **changes).present


def test_cards_are_values() -> None:
    model = MODELS["ukis-4b-l1c"]
    assert replace(model) == model
    assert hash(replace(model)) == hash(model)
    assert replace(model, level="l2a") != model
    assert len(set(MODELS.values())) == len(MODELS)
    for field in fields(model):
        with pytest.raises(FrozenInstanceError):
            setattr(model, field.name, None)


@pytest.mark.parametrize(
    ("names", "level", "chosen"),
    [
        (ROLES, "l1c", "ukis-6b-l1c"),
        (ROLES, "l2a", "ukis-6b-l2a"),
        (ROLES[:4], "l1c", "ukis-4b-l1c"),
        (ROLES[:5], "l2a", "ukis-4b-l2a"),
        ((*ROLES[:4], "swir22"), "l1c", "ukis-4b-l1c"),
        (("coastal", None, *reversed(ROLES)), "l1c", "ukis-6b-l1c"),
    ],
)
def test_choice_by_bands_and_level(names: tuple[str | None, ...], level: str, chosen: str) -> None:
    assert select_model(names, level=level) is MODELS[chosen]


def test_choice_by_name_overrides_bands_and_level() -> None:
    assert select_model(ROLES, level="l1c", model="ukis-4b-l2a") is MODELS["ukis-4b-l2a"]


def test_unknown_model_lists_the_ids() -> None:
    with pytest.raises(ModelError, match="'nope' is unknown") as caught:
        select_model(ROLES, model="nope")
    assert all(name in str(caught.value) for name in MODELS)


def test_unknown_level_lists_the_levels() -> None:
    with pytest.raises(ParameterError, match="'l3' is unknown: choose from l1c, l2a"):
        select_model(ROLES, level="l3")


@pytest.mark.parametrize(("names", "model"), [(ROLES[:3], None), (ROLES[:4], "ukis-6b-l1c"), ((), None)])
def test_missing_bands_are_an_error(names: tuple[str, ...], model: str | None) -> None:
    with pytest.raises(BandError, match="swir16, swir22 not found" if model else "nir not found"):
        select_model(names, model=model)


def test_what_else_there_is_to_find_clouds_with_is_named() -> None:
    """In pictures of three bands, named or not, the rules; for an unknown model, where others come from."""
    for names in (["red", "green", "blue"], [None, None, None]):
        with pytest.raises(BandError, match="model=rgb-rules"):
            select_model(names)
    with pytest.raises(ModelError, match="CLEARSKY_MODELS"):
        select_model(["red"], model="tiny")
