"""Band arithmetic: what a request may ask for, and what would hang or end the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from algorithms.errors import ParameterError
from server.http.expressions import LONGEST_EXPRESSION, check_expression, expression_bands
from tests.helpers.scenes import CLEAR_REPLACEMENTS, make_pair, write_raster
from tests.helpers.service import application, raster

GOOD = {
    "b1": (1,),
    "(b4-b3)/(b4+b3)": (3, 4),
    "B2*2;b1;": (1, 2),
    "where(b1>1000,b1,0)": (1,),
    "b1**2+sqrt(b2)": (1, 2),
    "b1%16": (1,),
    "b1//10": (1,),
    "2**10*b1": (1,),
    "10**-4*b1": (1,),
    "b1>5": (1,),
    "(b1>5)&(b2<7)": (1, 2),
    "b1" + "+b1" * 99: (1,),
    "(" * 60 + "b1" + ")" * 60: (1,),
}
HARMFUL = [
    "9**9**9*b1",  # Python's integers: minutes with all threads waiting
    "((9**64)**64)**64*b1",
    "b1**(9**9)",
    "b1+9**999999999",
    "(b1*0-2147483647-1)%(b1*0-1)",  # the processor's division: the end of the process
    "(b1*0-9223372036854775807-1)//(b1*0-1)",
    "b1%-1",
    "b1%b2",
    "sum(b1)",  # another shape
    "prod(b1,0)",
    "max(b1)",
    "b1+99999999999999999999",
    "b1+1e999",
    "b1+'a'",
    "b1+True",
    "b1+None",
    "b1+1j",
    "eval(b1)",
    "b1.real(b1)",
    "open('/etc/passwd')",
    "",
    ";;;",
    "b1+",
    "b1\0",
    "b1+" * 2000 + "b1",
    "+".join(["b1"] * 3000),
    "(" * 300 + "b1" + ")" * 300,
    "-" * 500 + "b1",
    ";".join(["b1"] * 200),
    "b1" + " " * LONGEST_EXPRESSION,
]


@pytest.mark.parametrize("expression", GOOD, ids=lambda text: text[:30])
def test_arithmetic_passes(expression: str) -> None:
    check_expression(expression)
    assert expression_bands(expression) == GOOD[expression]


@pytest.mark.parametrize("expression", HARMFUL, ids=lambda text: text[:30])
def test_harm_is_refused(expression: str) -> None:
    with pytest.raises(ParameterError):
        check_expression(expression)


def test_a_plus_that_an_address_made_a_space_is_explained() -> None:
    with pytest.raises(ParameterError, match="%2B"):
        check_expression("(b4-b3)/(b4 b3)")


@pytest.mark.parametrize("expression", ["nothing", "bx+b1", "2", "b1+numpy", "b123456"])
def test_names_are_bands(expression: str) -> None:
    with pytest.raises(ParameterError, match=r"no band|not a band"):
        expression_bands(expression)


@given(st.text(alphabet="b123+-*/%().;,<>=&|~ e'\"[]", max_size=60))
def test_any_text_is_checked(expression: str) -> None:
    with suppress(ParameterError):  # and nothing else
        check_expression(expression)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, pair = tmp_path_factory.mktemp("expressions"), make_pair(size=(64, 64))
    write_raster(folder / "target.tif", pair.target)
    write_raster(folder / "replacement.tif", pair.replacement)
    write_raster(folder / "mask.tif", pair.mask[None].astype(np.uint8), nodata=255)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder) as client:
        yield client


@pytest.mark.parametrize("filled", [False, True])
def test_comparisons_give_0_and_1(client: TestClient, folder: Path, filled: bool) -> None:
    query = {"url": str(folder / "target.tif")}
    if filled:
        query |= {"replacement": str(folder / "replacement.tif"), "mask": str(folder / "mask.tif")} | CLEAR_REPLACEMENTS
    plain = raster(client.get("/cog/preview.tif", params=query | {"bidx": 1}).content)[0]
    limit = int(np.median(plain))
    for path in ("/cog/preview.tif", "/cog/preview.png"):
        answer = client.get(path, params=query | {"expression": f"b1>{limit}"})
        assert answer.status_code == 200, answer.text
        np.testing.assert_array_equal(raster(answer.content)[0], plain > limit)


def test_the_process_lives_on(client: TestClient, folder: Path) -> None:
    query = {"url": str(folder / "target.tif")}
    for expression in HARMFUL:
        for path in ("/cog/preview.tif", "/cog/point/15.001,41.546", "/cog/statistics"):
            answer = client.get(path, params=query | {"expression": expression})
            assert answer.status_code == 400 or not expression, f"{expression[:40]}: {answer.status_code}"
