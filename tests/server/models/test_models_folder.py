"""The folder of cards: every network is checked before any of them can be used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from algorithms.errors import ModelError
from algorithms.models import MODELS, known_models
from server.models import folder as folders
from server.models.folder import MOST_CARDS, read_models, use_models
from server.models.listing import model_lines
from tests.helpers.exports import run
from tests.helpers.networks import card, write_card, write_network
from tests.helpers.service import application

WEIGHTS = [[0, 0, 0], [2, 2, 2], [-3, -3, -3]]


@pytest.fixture(autouse=True)
def without_others() -> Iterator[None]:
    yield
    use_models(None)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_card(tmp_path, card(write_network(tmp_path / "tiny.onnx", WEIGHTS, [0, 0, -3])))
    return tmp_path


def test_models_of_cards_stand_next_to_those_of_clearsky(models: Path) -> None:
    write_card(models, card(read_models(models)[0].files[0].sha256, name="other", remap="1 1"))
    use_models(models)
    assert [*known_models()] == [*MODELS, "rgb-rules", "other", "tiny"]
    use_models(None)
    assert [*known_models()] == [*MODELS, "rgb-rules"]


def test_a_network_that_is_not_the_cards_is_refused_and_nothing_changes(models: Path) -> None:
    use_models(models)
    before = known_models()
    network = models / "tiny.onnx"
    network.write_bytes(network.read_bytes() + b" ")
    with pytest.raises(ModelError, match=r"tiny\.yaml: sha256=.*tiny\.onnx has .*sha256sum"):
        use_models(models)
    assert known_models() == before
    network.unlink()
    with pytest.raises(ModelError, match=r"file='tiny\.onnx' is not there"):
        use_models(models)


def test_a_second_bad_card_leaves_the_first_out_too(models: Path) -> None:
    (models / "bad.yaml").write_text("name: bad\n")
    with pytest.raises(ModelError, match=r"bad\.yaml:1: file is missing"):
        use_models(models)
    assert "tiny" not in known_models()


@pytest.mark.parametrize("inside", [True, False])
def test_links_count_by_where_they_lead(tmp_path: Path, inside: bool) -> None:
    """Within the folder they are how some systems mount files; out of it they are refused."""
    folder = tmp_path / "models"
    (folder / "data").mkdir(parents=True)
    place = folder / "data" / "net" if inside else tmp_path / "net"
    checksum = write_network(place, WEIGHTS, [0, 0, -3])
    (folder / "tiny.onnx").symlink_to(place)
    write_card(folder, card(checksum))
    if inside:
        assert [model.id for model in read_models(folder)] == ["tiny"]
    else:
        with pytest.raises(ModelError, match="leads out of the card's folder"):
            read_models(folder)


def test_sizes_and_numbers_are_bounded(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "NETWORK_BYTES", 10)
    with pytest.raises(ModelError, match="of up to 10 bytes"):
        read_models(models)
    for k in range(MOST_CARDS):
        (models / f"{k}.yml").write_text("")
    with pytest.raises(ModelError, match=f"has {MOST_CARDS + 1} cards"):
        read_models(models)


def test_two_cards_of_one_name_and_a_folder_that_is_none(models: Path) -> None:
    (models / "again.yaml").write_bytes((models / "tiny.yaml").read_bytes())
    with pytest.raises(ModelError, match="'tiny' also belongs to another card"):
        read_models(models)
    with pytest.raises(ModelError, match=r"CLEARSKY_MODELS=.*cannot be read as a folder"):
        read_models(models / "nowhere")


def test_a_server_with_a_bad_card_does_not_start(models: Path) -> None:
    (models / "tiny.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match="sha256"), application(models, models=str(models)):
        pass


def test_the_command_lists_models_and_what_is_wrong(
    models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLEARSKY_MODELS", str(models))
    assert run(command="models") == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    own = "red,green,nir", "any level", "10-50 m", "clear,cloud,shadow", "present, checksum fits", "CC0"
    assert ["tiny", *own] in lines
    assert {line[0] for line in lines} == {*MODELS, "rgb-rules", "tiny"}
    (models / "tiny.onnx").write_bytes(b"x")
    assert run(command="models") == 2
    said = capsys.readouterr()
    assert "tiny\t" not in said.out
    assert said.err.count("\n") == 1
    assert "tiny.yaml: sha256" in said.err
    assert model_lines(None)[1] == []
