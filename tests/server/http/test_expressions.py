"""Band arithmetic: what a request may ask for, and what would hang or end the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote_plus

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from algorithms.errors import ParameterError
from server.http.expressions import LONGEST_EXPRESSION, check_expression, expression_bands, with_lost_plus
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


def _bare(expression: str) -> str:
    """Without what changes no value: spaces, and signs of plus."""
    return expression.replace(" ", "").replace("++", "+").removeprefix("+")


@pytest.mark.parametrize(
    "expression",
    [
        "(nir-red)/(nir+red)",
        "(nir - red) / (nir + red)",
        "b1+(b2+b3)*2+.5+1.+1e+5",
        "2+(b1+1)+(b2)",
        "sqrt(b1)+sqrt (b2) + where( b1 > 2, b1, 0 )",
        "(b1>5) & (b2<7); b1 + b2",
        "+b1++b2",
    ],
)
def test_a_plus_that_an_address_makes_a_space_stands_for_itself(expression: str) -> None:
    sent = unquote_plus(expression)
    assert _bare(with_lost_plus(sent)) == _bare(expression)
    assert with_lost_plus(with_lost_plus(sent)) == with_lost_plus(sent)
    assert with_lost_plus(expression) == expression


@given(st.text(alphabet="b123+-*/%().;,<>=&|~ e'\"[]", max_size=60))
def test_what_can_be_read_with_its_spaces_keeps_its_meaning(expression: str) -> None:
    mended = with_lost_plus(expression)
    assert mended.replace("+", " ") == expression.replace("+", " ")
    with suppress(ParameterError):
        check_expression(expression)
        assert mended == expression


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


def test_clients_that_send_a_plus_as_it_is_get_its_picture(client: TestClient, folder: Path) -> None:
    """With bands by name, also that of a file whose name alone says which band it is, below both prefixes."""
    write_raster(folder / "a_B04.tif", np.full((1, 32, 32), 7, np.uint16), descriptions=("",))
    write_raster(folder / "a_B08.tif", np.full((1, 32, 32), 9, np.uint16), descriptions=("",))
    for url, expression in (
        (f"{folder}/a_B04.tif", "(red {}red)*2;sqrt(red){}(1)"),
        (f"{folder}/a_{{B04,B08}}.tif", "(nir-red)/(nir{}red)"),
        (f"{folder}/a_{{B04,B08}}.tif", "(b2) {} (b1)"),
    ):
        for prefix in ("cog", "stac"):
            sent = [
                client.get(f"/{prefix}/preview.tif?url={quote(url)}&expression={expression.replace('{}', plus)}")
                for plus in ("+", "%2B", "%20")
            ]
            assert [answer.status_code for answer in sent] == [200] * 3, sent[0].text
            assert sent[0].content == sent[1].content == sent[2].content
    assert raster(sent[0].content)[0].max() == 16


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("T33UWP_20250701T100031_B04_10m", "red"),
        ("LC08_L2SP_017036_20130419_20200913_02_T2_SR_B5", "nir"),
        ("nir", "nir"),
        ("cloudy", None),
        ("scene_B4x", None),
    ],
)
def test_a_files_name_says_which_band_it_is(client: TestClient, folder: Path, name: str, known: str | None) -> None:
    url = write_raster(folder / f"{name}.tif", np.full((1, 32, 32), 7, np.uint16), descriptions=("",))
    assert client.get("/cog/assets", params={"url": url}).json() == [known or "b1"]
    several = write_raster(folder / f"several_{name}.tif", np.full((2, 32, 32), 7, np.uint16), descriptions=("", ""))
    assert client.get("/cog/assets", params={"url": several}).json() == ["b1", "b2"]
    answer = client.get("/cog/preview.tif", params={"url": url, "expression": f"{known or 'nir'}*2"})
    assert answer.status_code == (200 if known else 400)
