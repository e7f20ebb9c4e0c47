"""Every block of the documents that can be copied is run here, or somewhere that is named.

The addresses and the Python of the README: tests/test_documents.py. JavaScript: tests/clients/test_web_maps.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest
import rasterio
import yaml
from click.testing import CliRunner
from starlette.testclient import TestClient

from benchmarks.golden_cases import tile
from server.cli import cli
from server.demo import write_demo
from server.recipes.store import load_recipe
from server.remote.rules import Rules
from tests.helpers.archives import write_plain_item
from tests.helpers.documents import PAGES, SERVER, Block, blocks, commands, words_of
from tests.helpers.scenes import read_raster
from tests.helpers.service import ROOT, application, good
from tests.helpers.templates import slra

ELSEWHERE = {
    r"make \w|[A-Z_]+=\S+ make ": "CI calls the targets",
    r".*clearsky serve": "runs until it is stopped: tests/server/test_serve_processes.py",
    r"docker |helm ": "needs Docker or Kubernetes: `make deployment` checks the files",
    r"pip ": "installs packages",
    r"dask ": "runs until it is stopped: tests/server/export/test_cluster.py",
    r".*--scheduler ": "needs a cluster: tests/server/export/test_cluster.py",
    r"\.venv/bin/(python -m benchmarks|pre-commit)": "takes minutes, or changes the checkout",
    r"gdal_translate ": "tests/clients/test_gdal.py",
    r"clearsky export --batch|clearsky replacements|.*--replacement auto": "needs a STAC API: tests/server/export",
    r"curl .*earth-search": "needs the network: tests/server/http/test_auto.py has a STAC API of its own",
    r".*--adjustment stepwise": "the rings are compiled first: tests/server/export/test_stepwise.py",
    r"clearsky recipe check recipes/": "two answers to be read: tests/server/recipes/test_recipe_command.py",
}
"""Commands that are not run here, and why."""
OTHER_PYTHON = {"upstream.md": "band_descriptions =", "models.md": "torch.onnx.export("}
"""Lines of Python that need what is not here, by page: the beginning of the block."""
OTHER_YAML = {"models.md": "cards of cloud models: tests/server/models/test_documented_cards.py"}
"""YAML that is read elsewhere, by page."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that the documents name, small, in one folder."""
    folder = tmp_path_factory.mktemp("reader")
    demo = write_demo(folder / "demo-scene", size=256)
    for name, file in {"cloudy": demo.cloudy, "clear": demo.clear}.items():
        (folder / f"{name}.tif").symlink_to(file)
        (folder / f"{name.upper()}.tif").symlink_to(file)
        item = Path(write_plain_item(folder / name, read_raster(file))).read_text()
        document = {"cloudy": "ITEM.json", "clear": "OTHER.json"}[name]
        (folder / document).write_text(item.replace('"href": "', f'"href": "{name}/'))
    for place, source in ((folder, "cloudy"), (folder / "clear", "clear")):
        for band, name in {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir"}.items():
            (place / f"{band}.tif").symlink_to(folder / source / f"{name}.tif")
    (folder / "slra.rft.xml").write_text(slra())
    (folder / "models").mkdir()
    (folder / "recipes").mkdir()
    return folder


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same as the working directory."""
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder) as client:
        yield client


def local(text: str, folder: Path) -> str:
    """An address or command with the folder's names."""
    return text.replace("demo-scene/", f"{folder}/demo-scene/").replace("/data/", f"{folder}/")


def elsewhere(command: str) -> str | None:
    """The pattern of commands that are not run here, if there is one."""
    return next((pattern for pattern in ELSEWHERE if re.match(pattern, command)), None)


CONSOLE = [block for block in blocks("console") if not all(map(elsewhere, commands(block)))]


@pytest.mark.parametrize("block", CONSOLE, ids=str)
def test_commands_run(here: Path, client: TestClient, block: Block) -> None:
    """One after the other, as a reader copies them."""
    for command in commands(block):
        if elsewhere(command):
            continue
        words = words_of(local(command, here))
        settings = dict(word.split("=", 1) for word in words if re.match(r"CLEARSKY_\w+=", word))
        program, *rest = words[len(settings) :]
        if program == "curl":
            (address,) = [word for word in rest if word.startswith(SERVER)]
            good(client.get(address.removeprefix(SERVER)))
            continue
        assert program.removeprefix(".venv/bin/") == "clearsky", f"{block}: {command} is run nowhere"
        done = CliRunner().invoke(cli, rest, env=settings)
        assert (done.exit_code, done.exception) == (0, None), f"{block}: {command}: {done.output}"


def test_no_reason_is_left_over() -> None:
    said = [command for block in blocks("console") for command in commands(block)]
    assert [pattern for pattern in ELSEWHERE if pattern not in map(elsewhere, said)] == []
    tests = re.findall(r"tests/[\w/.]+", " ".join([*ELSEWHERE.values(), *OTHER_YAML.values()]))
    assert [path for path in tests if not (ROOT / path.rstrip(".")).exists()] == []


ADDRESSES = [
    (block, line)
    for block in blocks("")
    if block.page != "README.md"
    for line in block.text.splitlines()
    if line.startswith((SERVER, "/cog/", "/stac/", "/recipes/"))
]


@pytest.mark.parametrize(("block", "address"), ADDRESSES, ids=lambda value: str(value)[:40])
def test_addresses_answer(folder: Path, client: TestClient, block: Block, address: str) -> None:
    z, x, y = tile(folder / "demo-scene" / "cloudy.tif", 13).split("/")[-3:]
    good(client.get(local(address.removeprefix(SERVER), folder).format(z=z, x=x, y=y)))


@pytest.mark.parametrize("page", sorted({block.page for block in blocks("python")} - {"README.md"}))
def test_python_runs(here: Path, client: TestClient, page: str) -> None:
    """The blocks of a page one after the other, with a stand-in for the window of QGIS."""
    added: list[str] = []
    made: dict[str, Any] = {"iface": SimpleNamespace(addRasterLayer=lambda source, *_: added.append(source))}
    for block in blocks("python"):
        if block.page == page and not block.text.startswith(OTHER_PYTHON.get(page, "\0")):
            exec(local(block.text, here), made)
    for source in added:
        address = unquote(parse_qs(source)["url"][0]) if "%25" in source else parse_qs(source)["url"][0]
        z, x, y = tile(here / "demo-scene" / "cloudy.tif", 13).split("/")[-3:]
        good(client.get(address.removeprefix(SERVER).format(z=z, x=x, y=y)))


@pytest.mark.parametrize("block", [b for b in blocks("yaml") if b.page not in OTHER_YAML], ids=str)
def test_yaml_is_understood(folder: Path, monkeypatch: pytest.MonkeyPatch, block: Block) -> None:
    """A recipe, or rules for sources."""
    file = folder / "recipes" / "shown.yaml"
    file.write_text(block.text)
    if "target" in yaml.safe_load(block.text):
        assert load_recipe(str(file)).name
    else:
        for name in ("CDSE_KEY", "CDSE_SECRET", "CDSE_TOKEN"):
            monkeypatch.setenv(name, "secret")
        monkeypatch.setenv("HOME", str(folder))
        (folder / ".netrc").write_text("machine urs.earthdata.nasa.gov login someone password secret")
        (folder / ".netrc").chmod(0o600)
        assert Rules.read(file).entries


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_figures_have_the_names_of_the_real_ones(here: Path, block: Block) -> None:
    """The answer of `clearsky export --json`."""
    words = "export CLOUDY.tif figures.tif --replacement CLEAR.tif --json --overwrite"
    done = CliRunner().invoke(cli, words.split())
    assert set(json.loads(block.text)) == set(json.loads(done.stdout)), done.output


def test_every_language_is_one_that_is_tried() -> None:
    tried = {"console", "", "python", "yaml", "json", "js", "text"}
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert not set(re.findall(r"^ *```(\w+)$", text, re.MULTILINE)) - tried


def test_exports_of_the_documents_have_pixels(folder: Path) -> None:
    """Whatever the commands above have written."""
    for file in folder.glob("*.tif"):
        with rasterio.open(file) as src:
            assert src.read(1).any(), file
