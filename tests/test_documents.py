"""What the documents say can be done as it stands: tests they name, addresses and code they show."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from algorithms import cloud_mask
from algorithms.windows import STRIDE, window_count
from benchmarks.golden_cases import tile
from tests.helpers.documents import PAGES
from tests.helpers.scenes import Demo
from tests.helpers.service import ROOT, application, raster

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_and_modules_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    modules = re.findall(r"(?<![/\w])(tests/[\w/]*(?:\.py)?|(?:server|algorithms|benchmarks)/[\w/]+\.py)", text)
    assert [path for path in modules if not (ROOT / path).exists()] == []
    for path, function in re.findall(r"(tests/[\w/]+\.py)::(\w+)", text):
        assert f"def {function}(" in (ROOT / path).read_text(encoding="utf-8"), function


def test_security_names_tests() -> None:
    assert len(re.findall(r"tests/\w[\w/]*\.py::test_\w+", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))) >= 3


def test_the_windows_are_as_far_apart_as_the_documents_say() -> None:
    def said(page: str, pattern: str) -> list[int]:
        found = re.findall(pattern, (ROOT / "docs" / page).read_text(encoding="utf-8"))
        return [int(number) for number in found]

    assert re.findall(r"stride (\d+)", cloud_mask.__doc__ or "") == [str(STRIDE)]
    assert said("algorithm.md", r"stride (\d+)") == [STRIDE]
    assert said("models.md", r"own lattice, (\d+) apart") == [STRIDE]
    assert said("operations.md", r"one per (\d+) cells") == [STRIDE]
    side = window_count(5490)
    assert said("operations.md", r"windows of one scene.*? \| (\d+) \|") == [side**2]
    assert said("operations.md", r"(\d+) x 59 ms") == [side**2]


@pytest.fixture
def started(demo_scene: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which `make serve` is called, the demo scene made."""
    (tmp_path / "demo-scene").symlink_to(demo_scene(512).cloudy.parent)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_first_addresses_of_the_readme_answer(started: Path) -> None:
    blocks = re.findall(r"```\n(http://127.0.0.1:8000.*?)```", README, re.DOTALL)
    addresses = [line for block in blocks for line in block.splitlines()]
    assert len(addresses) == 2
    z, x, y = tile(started / "demo-scene" / "cloudy.tif", 13).split("/")[-3:]
    with application(started / "demo-scene") as client:
        for address in addresses:
            answer = client.get(address.removeprefix("http://127.0.0.1:8000").format(z=z, x=x, y=y))
            assert answer.status_code == 200, answer.text
            assert float(answer.headers["x-clearsky-filled-fraction"]) > 0.05
            assert raster(answer.content)[:3].std() > 10


def test_the_python_code_of_the_readme_runs(started: Path) -> None:
    made: dict[str, object] = {}
    for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(code, made)
    assert getattr(made["pixels"], "array", np.empty(0)).shape == (6, 512, 512)
    assert (started / "cloud-free.png").read_bytes().startswith(b"\x89PNG")
    assert getattr(made["filled"], "shape", None) == (6, 512, 512)
    assert getattr(made["mask"], "any", bool)()
