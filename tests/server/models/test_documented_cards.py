"""The cards on the page are good ones, but for the checksums of files that nobody has here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from server.models.cards import read_card
from tests.helpers.service import ROOT

CARDS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "models.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize(
    ("number", "name", "cloud", "shadow"),
    [(0, "omnicloudmask", (1, 2), (3,)), (1, "cloudsen12-l1c", (1, 2), (3,)), (2, "three-densities", (1, 2, 3), ())],
)
def test_the_cards_on_the_page_mean_what_it_says(
    number: int, name: str, cloud: tuple[int, ...], shadow: tuple[int, ...]
) -> None:
    model = read_card(CARDS[number].encode(), "docs/models.md").model(Path("/models"))
    assert (model.id, model.cloud, model.shadow) == (name, cloud, shadow)
    assert model.size.side == 256


def test_there_are_no_others() -> None:
    assert len(CARDS) == 3
