"""The architecture as the folders show it: imports point one way."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = (
    ("clearsky",),
    ("server.app", "server.cli"),
    ("server.export",),
    ("server.services",),
    ("server.recipes", "server.viewer", "server.demo"),
    ("server.http",),
    ("server.analysis",),
    ("server.raster",),
    ("server.scenes",),
    ("server.remote",),
    ("server.models",),
    ("server.settings",),
    ("server.work",),
    ("server.errors",),
    ("algorithms",),
)
"""From the top down: a module imports from its own part and from those in later rows."""
MODULES = sorted(p for folder in ("clearsky", "server", "algorithms") for p in (ROOT / folder).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
FOREIGN = {"_base", "_pyproj_crs", "_replace"}
"""Private names of libraries that modules need: of rasterio, of morecantile, of named tuples."""
TWO_MEANINGS = {"main", "Box", "Scene"}
"""Public names that have them all the same: `Box` of cells, and of degrees; `Scene` also of the facade."""
MOST_MODULE_LINES = 300
"""Of one module; longer ones are about more than one concept."""
MOST_TEST_LINES = 500
"""Of one file of tests; longer ones are about more than one thing."""


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _part(module: str) -> tuple[int, str]:
    """Row and name of the part that a module belongs to."""
    for row, parts in enumerate(LAYERS):
        for part in parts:
            if module == part or module.startswith(part + "."):
                return row, part
    raise AssertionError(f"{module} belongs to no part of LAYERS")


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


NAMES = frozenset(map(_name, MODULES))


def _imports(path: Path) -> Iterator[str]:
    """The modules that a module imports, however it does; of `from server import settings` the module it names."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            named = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from named & NAMES
            if named - NAMES:
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
        if imported == "server" or not imported.startswith(("clearsky", "server.", "algorithms")):
            continue  # the version alone, or another package
        to_row, to_part = _part(imported)
        assert to_part == part or to_row > row, f"{module} imports {imported}, against the direction of the layers"


def test_no_modules_import_each_other() -> None:
    """Not even in a circle, nor within one part: each can be read, and imported, before those that use it."""
    graph = {_name(path): {name for name in _imports(path) if name in NAMES} - {"server"} for path in MODULES}
    del graph["server"]  # which prepares GDAL, and which everything imports first
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


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
    modules = [name for name in modules if "compiled" not in name]  # these need the extra `fast`
    script = f"import sys, {', '.join(modules)}; print(*sorted({{n.partition('.')[0] for n in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "numpy" in loaded.split()
    assert not {"pydantic", "rio_tiler", "titiler", "rasterio", "fastapi", "onnxruntime"} & set(loaded.split())


@pytest.mark.parametrize("path", TESTS, ids=_name)
def test_tests_are_short_and_leave_private_names_alone(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_TEST_LINES
    assert list(_private(path)) == []


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_modules_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_MODULE_LINES


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_modules_leave_each_others_private_names_alone(path: Path) -> None:
    """Imported ones, and those of objects that no class of the module has."""
    assert [name for name in _private(path) if name.rpartition(".")[2] not in _own_names(path) | FOREIGN] == []


def _own_names(path: Path) -> set[str]:
    """What a module defines or sets, at its top and in its classes."""
    names: set[str] = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return names


def _private(path: Path) -> Iterator[str]:
    """Private names of our other modules: imported, reached through an object, or replaced in one."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("server", "algorithms", "tests")):
            yield from (alias.name for alias in node.names if _is_private(alias.name))
        elif isinstance(node, ast.Attribute) and _is_private(node.attr):
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                yield ast.unparse(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            if called in ("getattr", "setattr", "delattr", "object", "patch"):
                yield from (text for text in texts if _is_private(text.rpartition(".")[2]))


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


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


def _public(path: Path) -> Iterator[tuple[str, str, str]]:
    """Public names at the top of a module: each with its kind, and what it stands for."""
    for node in _tree(path).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, type(node).__name__, _name(path)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for name in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(name, ast.Name):
                    yield name.id, "constant", ast.unparse(node.value)


def test_a_public_name_has_one_meaning() -> None:
    """Two modules may declare a constant of one name only with one value, and no function or class of one name."""
    found: dict[str, set[tuple[str, str]]] = {}
    for path in MODULES:
        for name, kind, meaning in _public(path):
            if not name.startswith("_") and name not in TWO_MEANINGS:
                found.setdefault(name, set()).add((kind, meaning))
    assert {name: meanings for name, meanings in found.items() if len(meanings) > 1} == {}
