"""The architecture as the folders show it: imports point one way."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = (
    ("server.app", "server.cli"),
    ("server.export",),
    ("server.services",),
    ("server.recipes", "server.viewer", "server.demo"),
    ("server.http",),
    ("server.analysis",),
    ("server.raster",),
    ("server.scenes",),
    ("server.remote",),
    ("server.settings",),
    ("server.work",),
    ("server.errors",),
    ("algorithms",),
)
"""From the top down: a module imports from its own part and from those in later rows."""
MODULES = sorted(p for folder in ("server", "algorithms") for p in (ROOT / folder).rglob("*.py"))


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _part(module: str) -> tuple[int, str]:
    """Row and name of the part that a module belongs to."""
    for row, parts in enumerate(LAYERS):
        for part in parts:
            if module == part or module.startswith(part + "."):
                return row, part
    raise AssertionError(f"{module} belongs to no part of LAYERS")


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_point_one_way(path: Path) -> None:
    module = _name(path)
    if module == "server":  # prepares GDAL before anything opens a raster
        return
    row, part = _part(module)
    for imported in _imports(path):
        if imported == "server" or not imported.startswith(("server.", "algorithms")):
            continue  # the version alone, or another package
        to_row, to_part = _part(imported)
        assert to_part == part or to_row > row, f"{module} imports {imported}, against the direction of the layers"


NUMERICS = [p for p in MODULES if _name(p).startswith(("algorithms", "server.analysis")) and p.stem != "removal"]
"""Everything but `algorithms.removal`, the TiTiler algorithms."""


@pytest.mark.parametrize("path", NUMERICS, ids=_name)
def test_numerics_and_analysis_stand_apart_from_titiler(path: Path) -> None:
    module = _name(path)
    foreign = {"pydantic", "titiler", "fastapi", "starlette", "algorithms.removal"}
    if module.startswith("algorithms"):
        foreign |= {"rio_tiler", "rasterio", "attr"}
    for imported in _imports(path):
        assert not {imported, imported.partition(".")[0]} & foreign, f"{module} imports {imported}"


def test_importing_the_numerics_imports_no_server_framework() -> None:
    modules = [_name(path) for path in NUMERICS if path.is_relative_to(ROOT / "algorithms")]
    modules.remove("algorithms.compiled_rings")  # needs the extra `fast`
    script = f"import sys, {', '.join(modules)}; print(*sorted({{n.partition('.')[0] for n in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "numpy" in loaded.split()
    assert not {"pydantic", "rio_tiler", "titiler", "rasterio", "fastapi", "onnxruntime"} & set(loaded.split())


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=_name)
def test_benchmarks_stand_without_the_tests(path: Path) -> None:
    assert [name for name in _imports(path) if name.split(".")[0] == "tests"] == []


def test_the_architecture_page_lists_every_module() -> None:
    """In `docs/architecture.md`, below the heading of its folder."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed: set[str] = set()
    for section in page.split("\n### ")[1:]:
        heading, _, body = section.partition("\n")
        listed |= {f"{heading.strip('`')}{name}.py" for name in re.findall(r"^\| `(\w+)` \|", body, re.MULTILINE)}
    there = {path.relative_to(ROOT).as_posix() for path in MODULES if path.stem != "__init__"}
    assert listed == there


def _public(kind: str) -> dict[str, dict[str, str]]:
    """Public names at the top of modules, of constants or of functions: name -> module -> what it stands for."""
    found: dict[str, dict[str, str]] = {}
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if kind == "functions" and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.setdefault(node.name, {})[_name(path)] = ""
            elif kind == "constants" and isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                for name in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    if isinstance(name, ast.Name):
                        found.setdefault(name.id, {})[_name(path)] = ast.unparse(node.value)
    return {name: where for name, where in found.items() if not name.startswith("_")}


def test_a_public_name_has_one_meaning() -> None:
    """Two modules may declare a constant of one name only with one value, and no function of one name."""
    constants = {name: where for name, where in _public("constants").items() if len(set(where.values())) > 1}
    functions = {name: where for name, where in _public("functions").items() if len(where) > 1 and name != "main"}
    assert (constants, functions) == ({}, {})
