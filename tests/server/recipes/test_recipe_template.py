"""`clearsky recipe from-rft`: raster function templates of ArcGIS become recipes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from algorithms.removal import CloudRemoval
from server.recipes.store import load_recipe
from tests.helpers.recipes import clearsky
from tests.helpers.templates import SLRA, XSI, doubles, function, slra, variable

STRING = "<Value xsi:type='xs:string'>{}</Value>"
DATASET = (
    "<Value xsi:type='typens:RasterDatasetName'><WorkspaceName xsi:type='typens:WorkspaceName'>"
    "<PathName>/data/july/</PathName></WorkspaceName><Name>clear.tif</Name></Value>"
)


def convert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], xml: str, *args: str
) -> tuple[dict[str, Any], str]:
    """The recipe as plain values, and what was said on stderr."""
    file = tmp_path / "slra.rft.xml"
    file.write_text(xml)
    assert clearsky(monkeypatch, "from-rft", file, *args) == 0
    told = capsys.readouterr()
    comments = [line for line in told.out.splitlines() if line.startswith("#")]
    assert len(comments) == len(told.err.splitlines()) + 1
    return yaml.safe_load(told.out), told.err


def test_esris_own_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Open variables stay open, and `recipe check` says which."""
    values, said = convert(tmp_path, monkeypatch, capsys, slra())
    assert values == {
        "name": "stepwise-local-radiometric-adjustment",
        "title": SLRA,
        "target": None,
        "replacements": [None],
        "mask": {"model": "auto"},
        "window": 40,
    }
    assert "fill in `target`" in said
    out = tmp_path / "out.yaml"
    assert clearsky(monkeypatch, "from-rft", tmp_path / "slra.rft.xml", "-o", out) == 0
    assert clearsky(monkeypatch, "check", "--offline", out) == 2
    said = capsys.readouterr().err
    assert "target: is missing" in said
    assert "replacements.0=None" in said
    assert clearsky(monkeypatch, "from-rft", tmp_path / "slra.rft.xml", "-o", out) == 2
    assert "already exists" in capsys.readouterr().err


@pytest.mark.parametrize("exact", [False, True])
def test_options_fill_the_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], exact: bool
) -> None:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.xml").write_text(slra())
    options = ["--target", "a.tif", "--replacement", "b.tif", "--replacement", "s3://x/c.tif", "--mask", "/m.tif"]
    more = ["--exact"] * exact
    assert clearsky(monkeypatch, "from-rft", "t.xml", *options, "--name", "n", "-o", "sub/n.yaml", *more) == 0
    recipe = load_recipe("sub/n.yaml")
    assert recipe.request.sources == (str(tmp_path / "a.tif"), str(tmp_path / "b.tif"), "s3://x/c.tif", "/m.tif")
    esri: dict[str, Any] = {"window": 40, "buffer": 10, "adjustment": "stepwise", "residual": False, "refine": False}
    expected = CloudRemoval(**esri) if exact else CloudRemoval(window=40)
    assert recipe.algorithm == expected
    assert clearsky(monkeypatch, "check", "--offline", "sub/n.yaml") == 0
    assert clearsky(monkeypatch, "from-rft", "t.xml", "--name", "a b") == 2
    assert "'a b'" in capsys.readouterr().err


def test_a_chain_with_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Remap feeds the mask; rasters have values; arguments come in another order and as pairs."""
    remap = {
        "OutputValues": doubles(1, 1),
        "InputRanges": doubles(1, 3, 3, 3),
        "Raster": variable("Raster", STRING.format("/data/classes.tif")),
        "AllowUnmatched": variable("a", "<Value xsi:type='xs:boolean'>true</Value>"),
    }
    xml = slra(
        input_mask=function("Remap", remap, "AnyType"),
        input_replacement_raster=variable("r", DATASET),
        input_raster=function("Clip", {"Raster": variable("Raster", STRING.format("/data/cloudy.tif"))}, "AnyType"),
        buffer_mask=variable("b", "<Value xsi:type='xs:double'>5</Value>"),
        gamma=variable("g", STRING.format("1")),
    )
    values, said = convert(tmp_path, monkeypatch, capsys, xml)
    assert values == {
        "name": "stepwise-local-radiometric-adjustment",
        "title": SLRA,
        "target": "/data/cloudy.tif",
        "replacements": ["/data/july/clear.tif"],
        "mask": {"source": "/data/classes.tif", "remap": "1 2 1;3 1"},
        "window": 40,
        "buffer": 5,
    }
    assert [word for word in ("'Clip'", "'gamma'", "does not list") if word not in said] == []
    pairs = "".join(
        f"<PropertySetProperty><Key>{key}</Key><Value xsi:type='xs:string'>{value}</Value></PropertySetProperty>"
        for key, value in {"window_size": "60", "Raster": "t.tif", "ReplacementRaster": "r.tif"}.items()
    )
    paired = (
        f"<RasterFunctionTemplate {XSI}><Name>My SLRA</Name><Function><Name>{SLRA}</Name></Function>"
        f"<Arguments><PropertyArray>{pairs}</PropertyArray></Arguments></RasterFunctionTemplate>"
    )
    values, _ = convert(tmp_path, monkeypatch, capsys, paired)
    assert (values["name"], values["target"], values["replacements"]) == ("my-slra", "t.tif", ["r.tif"])
    assert values["window"] == 60


@pytest.mark.parametrize(("remap", "kept"), [("1 1;2 1;3 1", True), ("1 2 1", True), ("3 1", False)])
def test_a_remap_string(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], remap: str, kept: bool
) -> None:
    """It goes with the user's mask; with a model only where it means the same for the model's classes."""
    chain = function(
        "Reclassify", {"in_raster": variable("m"), "remap": variable("x", STRING.format(remap))}, "AnyType"
    )
    values, said = convert(tmp_path, monkeypatch, capsys, slra(input_mask=chain))
    assert values["mask"] == {"model": "auto"} | ({"remap": remap} if kept else {})
    assert ("left out" in said) is not kept
    values, _ = convert(tmp_path, monkeypatch, capsys, slra(input_mask=chain), "--mask", "m.tif")
    assert values["mask"] == {"source": "m.tif", "remap": remap}
    values, _ = convert(tmp_path, monkeypatch, capsys, slra(input_mask=chain), "--mask", "m.tif", "--exact")
    assert values["mask"] == {"source": "m.tif", "remap": remap}
    assert values["replacement_masks"] == ["none"]


INT = "<Value xsi:type='xs:int'>{}</Value>"
EVIL = "<!DOCTYPE a [<!ENTITY {}>]>"
BAD_TEMPLATES = [
    (slra(size_of_window=variable("w", INT.format(70))), ["size_of_window='70'", "multiple of 20", "template"]),
    (slra(size_of_window=variable("w", INT.format(420))), ["size_of_window='420'", "400"]),
    (slra(size_of_window=variable("w", INT.format("wide"))), ["size_of_window='wide'", "number"]),
    (slra(size_of_window=variable("w", INT.format("inf"))), ["size_of_window='inf'"]),
    (slra(size_of_window=variable("w", INT.format("80.5"))), ["size_of_window='80.5'"]),
    (slra(buffer_mask=variable("b", INT.format(16))), ["buffer_mask='16'", "15"]),
    (
        slra(input_mask=function("Remap", {"remap": variable("x", STRING.format("1 1;x 1"))}, "AnyType")),
        ["remap", "'x' at position 4"],
    ),
    (slra(input_mask=function("Remap", {"InputRanges": doubles(1), "OutputValues": doubles(1)}, "AnyType")), ["remap"]),
    (function("Stretch", {"Raster": variable("Raster")}), ["'Stretch'", SLRA]),
    ("<a/>", ["no function at all"]),
    (slra().replace("<String>input_mask</String>", ""), ["4 argument names and 5 values"]),
    ("<a>", ["slra.rft.xml:1: not XML"]),
    ('{"name": "json"}', ["not XML", ".rft.xml"]),
    (EVIL.format("x SYSTEM 'file:///etc/hostname'") + "<a>&x;</a>", ["document type"]),
    (EVIL.format("x SYSTEM 'http://127.0.0.1:9/x'") + "<a>&x;</a>", ["document type"]),
    (
        "<!DOCTYPE a [<!ENTITY a0 'ha'>"
        + "".join(f"<!ENTITY a{i + 1} '{f'&a{i};' * 10}'>" for i in range(9))
        + "]><a>&a9;</a>",
        ["document type"],
    ),
    ("<?xml version='1.0' encoding='nonsense'?><a/>", ["not XML"]),
]


@pytest.mark.parametrize(("xml", "words"), BAD_TEMPLATES, ids=[words[0] for _, words in BAD_TEMPLATES])
def test_bad_templates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], xml: str, words: list[str]
) -> None:
    file = tmp_path / "slra.rft.xml"
    file.write_text(xml)
    assert clearsky(monkeypatch, "from-rft", file) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.splitlines()) == 1
    assert [word for word in ("slra.rft.xml:", *words) if word not in told.err] == []
    assert os.uname().nodename not in told.err
    assert clearsky(monkeypatch, "from-rft", tmp_path / "none.xml") == 2


def test_a_recipe_has_no_signatures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = {"--target": "a.tif", "--replacement": "b.tif", "--mask": "c.tif"}
    signed = [part for name, file in sources.items() for part in (name, f"https://h.org/{file}?v=1&sig=SECRET&se=2")]
    values, said = convert(tmp_path, monkeypatch, capsys, slra(), *signed)
    assert "SECRET" not in f"{values}{said}"
    assert [values["target"], *values["replacements"], values["mask"]["source"]] == [
        f"https://h.org/{file}?v=1" for file in sources.values()
    ]
