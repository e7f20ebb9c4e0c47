"""The recipe's file: what arrives, what is refused and in which words."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from algorithms.options import OPTIONS
from algorithms.reclassify import Remap
from algorithms.removal import CloudRemoval
from server.analysis.request import Request
from server.errors import RecipeError, RecipeMissingError
from server.recipes.model import Recipe, recipe_of
from server.recipes.schema import MaskKeys, Render, Written
from server.recipes.store import load_recipe
from server.work.document import YAML_BYTES, read_yaml, write_values

FULL = """\
name: lazio-july
title: "Lazio, 5 July 2018"
target: s3://bucket/s2_20180705.tif
replacements: [s3://bucket/s2_20180720.tif, later.tif]
mask: {source: m.tif, remap: "1 1", bits: [4, 3, 4]}
replacement_masks: [s3://bucket/m1.tif, m2.tif]
assets: [red]
window: 40
buffer: 4
sensitivity: 40
adjustment: moment
residual: false
refine: false
unfilled: nodata
bands: [blue, green, red, nir]
level: l1c
reflectance_scale: 0.0002
reflectance_offset: -0.1
nodata: 0
render: {bands: [red, 2], rescale: [[0, 3000]], color_formula: null, resampling: bilinear}
"""


def read(text: str | bytes, file: str = "/folder/r.yaml") -> Recipe:
    content = text.encode() if isinstance(text, str) else text
    return recipe_of(content, Path(file), Path(file).name)


def test_every_key_arrives() -> None:
    recipe = read(FULL)
    assert (recipe.name, recipe.title) == ("lazio-july", "Lazio, 5 July 2018")
    assert recipe.request == Request(
        "s3://bucket/s2_20180705.tif",
        ("s3://bucket/s2_20180720.tif", "/folder/later.tif"),
        mask="/folder/m.tif",
        mask_bits=(3, 4),
        replacement_masks=("s3://bucket/m1.tif", "/folder/m2.tif"),
        remap=Remap("1 1"),
        bands=("blue", "green", "red", "nir"),
        level="l1c",
        reflectance_scale=0.0002,
        reflectance_offset=-0.1,
        nodata=0,
        assets=("red",),
    )
    assert read("name: a\ntarget: t.tif\nmask: {model: ukis-4b-l1c}").request.model == "ukis-4b-l1c"
    written = yaml.safe_load(FULL)
    assert recipe.options == {name: written[name] for name in OPTIONS}
    assert recipe.render.bands == ("red", 2)
    assert recipe.render.rescale == ((0, 3000),)
    assert recipe.render.color_formula is None


def test_only_name_and_target_are_needed() -> None:
    recipe = read("name: a\ntarget: sub/t.tif\nbuffer: null\n")
    assert (recipe.title, recipe.request) == ("a", Request("/folder/sub/t.tif"))
    assert recipe.algorithm == CloudRemoval()
    assert read("name: a\ntarget: ../t.tif\nmask: {source: m.tif}").request.mask == "/folder/m.tif"
    assert read("name: a\ntarget: /else/t.tif").request.target == "/else/t.tif"


@pytest.mark.parametrize("indent", [None, 2, "\t"])
def test_json_is_read_alike(indent: int | str | None) -> None:
    values = yaml.safe_load(FULL) | {"title": "Gebiet \U0001f30d/é"}
    as_json, as_yaml = read(json.dumps(values, indent=indent)), read(yaml.safe_dump(values))
    assert as_json.options == as_yaml.options
    assert (as_json.title, as_json.render, as_json.request) == (as_yaml.title, as_yaml.render, as_yaml.request)


GOOD = "name: a\ntarget: t.tif\n"
BAD = [
    # text, line of the error, what the message must say
    ("", 1, ["name:", "target:"]),
    ("- name", 1, ["key: value"]),
    ("name: a", 1, ["target", "is missing", "add `target"]),
    ("name: a\ntarget:\n", 2, ["target", "is missing"]),
    (GOOD + "windw: 80", 3, ["windw", "unknown key", "did you mean `window`", "adjustment"]),
    (GOOD + "render: {band: [1]}", 3, ["render.band", "`bands`", "rescale"]),
    (GOOD + "mask: {raster: m.tif}", 3, ["mask.raster", "unknown key", "source"]),
    (GOOD + "render:\n  rescale:\n  - [0, 1]\n  - [3, 2]", 6, ["[3, 2]", "empty", "[low, high]"]),
    (GOOD + "render: {rescale: [[0]]}", 3, ["rescale.0", "missing"]),
    (GOOD + "render: {rescale: []}", 3, ["rescale", "empty"]),
    (GOOD + "render: {bands: [0]}", 3, ["bands.0=0", "greater than or equal to 1"]),
    (GOOD + "render: {bands: [1], expression: b1/b2}", 3, ["both", "keep one"]),
    (GOOD + "render: {expression: nir}", 3, ["'nir'", "(b4-b3)"]),
    (GOOD + "render: {color_formula: shine}", 3, ["'shine'", "gamma"]),
    (GOOD + "render: {colormap_name: rainbows}", 3, ["'rainbows'", "/colorMaps"]),
    (GOOD + "render: {resampling: best}", 3, ["'best'", "bilinear"]),
    (GOOD + "render: [1, 2, 3]", 3, ["render", "key: value"]),
    (GOOD + "window: 70", 3, ["window=70", "multiple of 20"]),
    (GOOD + "window: 420", 3, ["window=420", "400"]),
    (GOOD + 'window: "80"', 3, ["window='80'", "integer"]),
    (GOOD + "buffer: 16", 3, ["buffer=16", "15"]),
    (GOOD + "buffer: 2.5", 3, ["buffer=2.5", "integer"]),
    (GOOD + "adjustment: magic", 3, ["'magic'", "'regression'", "'stepwise'"]),
    (GOOD + "residual: yes", 3, ["'yes'", "boolean"]),
    (GOOD + "unfilled: no", 3, ["'no'", "'keep' or 'nodata'"]),
    (GOOD + "level: l3", 3, ["'l3'", "'l1c' or 'l2a'"]),
    (GOOD + "nodata: none", 3, ["'none'", "number"]),
    (GOOD + "bands: blue,green", 3, ["blue,green", "[a, b]"]),
    (GOOD + "replacements: r.tif", 3, ["r.tif", "[a, b]"]),
    (GOOD + "replacements:\n- r.tif\n- 7", 5, ["replacements.1=7", "quotes"]),
    (GOOD + "replacements: [null]", 3, ["replacements.0", "fill it in"]),
    (GOOD + "mask: {model: best}", 3, ["'best'", "auto", "ukis-6b-l1c"]),
    (GOOD + "mask: {model: auto, source: m.tif}", 3, ["both", "keep one"]),
    (GOOD + "mask: ''", 3, ["mask", "fill it in"]),
    (GOOD + "mask: 7", 3, ["mask=7", "key: value"]),
    (GOOD + "mask:\n  source: m.tif\n  bits: [3, 64]", 5, ["bits.1=64", "63"]),
    (GOOD + "mask:\n  source: m.tif\n  bits: 3,4", 5, ["'3,4'", "[a, b]"]),
    (GOOD + "mask: none", 3, ["mask=none", "leave `mask` out"]),
    (GOOD + "replacements: [a, b]\nreplacement_reflectance_scales: [1, 2, 3]", 4, ["3 `", "2 replacements", "one for"]),
    (GOOD + "reflectance_scale: 0", 3, ["reflectance_scale=0", "above 0"]),
    (GOOD + "replacements: [a, b]\nreplacement_reflectance_scales: [1, 0]", 4, ["reflectance_scale of 0", "above 0"]),
    (GOOD + "mask: {bits: [3]}", 3, ["`bits`", "name the raster"]),
    (
        GOOD + "replacements: [a, b]\nreplacement_masks: [m]",
        4,
        ["1 `replacement_mask`", "2 replacements", "one for each"],
    ),
    (GOOD + "assets: red", 3, ["'red'", "[a, b]"]),
    (GOOD + 'mask:\n  model: auto\n  remap: "1 1;x 1"', 5, ["'x' at position 4"]),
    ("name: a b\ntarget: t.tif", 1, ["'a b'", "letters, digits"]),
    ("name: 7\ntarget: t.tif", 1, ["name=7", "quotes"]),
    ("name: a\ntarget: ''", 2, ["target=''", "fill it in"]),
    (GOOD + "name: b", 3, ["'name'", "twice"]),
    (GOOD + "[1]: b", 3, ["key", "quotes"]),
    (GOOD + "title: &x a\nlevel: *x", 3, ["anchors"]),
    (GOOD + "title: *x", 3, ["alias"]),
    (GOOD + "title: !!python/object:os.system x", 3, ["python/object", "tag"]),
    (GOOD + "title: !!binary YQ==", 3, ["binary", "tag"]),
    (GOOD + "window: !!int eight", 3, ["'eight'", "int"]),
    (GOOD + "nodata: 1e999", 3, ["1e999"]),
    (GOOD + "title: [[[[[[[[[1]]]]]]]]]", 3, ["deeper"]),
    (GOOD + "title: 'a", 3, ["not YAML"]),
    (GOOD + "\ttitle: a", 3, ["not YAML", "\\t"]),
    (GOOD + "title: a\0b", 3, ["character"]),
    (GOOD + 'title: "\\ud83d"', 3, ["str"]),
    (GOOD.encode() + b"title: \xff", 3, ["0xff", "UTF-8"]),
    (GOOD + "#" * YAML_BYTES, 1, ["bytes"]),
]


@pytest.mark.parametrize(("text", "line", "words"), BAD, ids=[repr(case[0])[-40:] for case in BAD])
def test_an_error_names_file_line_value_and_remedy(text: str | bytes, line: int, words: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        read(text)
    (problem,) = caught.value.problems
    assert problem.startswith(f"r.yaml:{line}: ")
    assert [word for word in words if word not in problem] == []
    assert len(problem) < 500


def test_every_wrong_value_is_told_in_the_order_of_the_file() -> None:
    with pytest.raises(RecipeError) as caught:
        read("window: 1\nname: a\nbuffer: 99\nrender: {bands: [x, 0]}\n")
    lines = [int(problem.split(":")[1]) for problem in caught.value.problems]
    assert lines == [1, 1, 3, 4]


def test_bombs_cost_nothing() -> None:
    laughs = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    for text in (
        laughs,
        "[" * YAML_BYTES,
        "{a: " * (YAML_BYTES // 4),
        "- " * (YAML_BYTES // 2),
        "a: " + "9" * 60_000,
    ):
        start = time.process_time()
        with pytest.raises(RecipeError):
            read(text)
        assert time.process_time() - start < 2


def test_a_mask_of_the_scenes_own_is_named_in_short() -> None:
    short, long = (read(GOOD + f"mask: {mask}") for mask in ("scl", "{source: scl}"))
    assert short.request == long.request == Request("/folder/t.tif", mask="scl")
    assert read(GOOD + "mask: m.tif").request.mask == "/folder/m.tif"


KEYS = st.sampled_from([*Written.model_fields, *OPTIONS, "x"])
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["auto", "1 1"])
)
INNER = st.sampled_from([*MaskKeys.model_fields, *Render.model_fields, "nodata"])
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(INNER, inner, max_size=3), max_leaves=6
)


def check_outcome(content: bytes) -> None:
    """Either a recipe, or an error whose every line begins with a place inside the file."""
    try:
        recipe = read(content)
    except RecipeError as error:
        for problem in error.problems:
            found = re.match(r"r\.yaml:(\d+): .", problem)
            assert found
            assert 1 <= int(found[1]) <= len(re.split("[\n\r\x85\u2028\u2029]", content.decode(errors="replace")))
    else:
        assert re.fullmatch(r"[\w-]{1,64}", recipe.name, re.ASCII)


@given(st.dictionaries(KEYS, VALUES, max_size=6).map(lambda d: {"name": "a", "target": "t.tif"} | d), st.booleans())
def test_wrong_values_are_recipe_errors(values: dict[str, Any], as_json: bool) -> None:
    check_outcome((json.dumps(values) if as_json else yaml.safe_dump(values)).encode("utf-8", "surrogatepass"))


@given(
    st.binary(max_size=60)
    | st.text(st.sampled_from("ab:-[]{},\"'\n\t &*!|>?%@#~<.019ä\u2028\x85"), max_size=60).map(str.encode)
)
def test_any_bytes_are_recipe_errors(tail: bytes) -> None:
    check_outcome(tail)
    check_outcome(GOOD.encode() + tail)


def test_a_recipe_by_file_or_name(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(GOOD)
    assert load_recipe(str(tmp_path / "r.yaml")).request.target == str(tmp_path / "t.tif")
    assert load_recipe("a", tmp_path).request.target == str(tmp_path / "t.tif")
    with pytest.raises(RecipeMissingError, match="known: a"):
        load_recipe("b", tmp_path)
    with pytest.raises(RecipeMissingError, match="known: none"):
        load_recipe("a")
    with pytest.raises(RecipeMissingError, match=r"cannot be read.*check the path"):
        load_recipe(str(tmp_path / "none.yaml"))


@given(
    st.dictionaries(st.text(max_size=6), st.text(max_size=12) | st.sampled_from(["1e5", "08", "yes", "~"]), max_size=4),
    st.lists(st.integers() | st.booleans(), max_size=3),
)
def test_written_values_are_read_back(texts: dict[str, str], others: list[object]) -> None:
    values = {"list": others, **texts}
    assert read_yaml(write_values(values).encode(), "r.yaml").values == values
