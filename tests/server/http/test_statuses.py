"""The tree of errors has five branches, and every error has its status."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from algorithms.errors import ClearSkyError, InputError
from server.errors import CancelledWorkError, MissingPackageError, SourceError, UnwritableError
from server.http.failsafe import Failsafe
from server.http.statuses import STATUS, error_response
from tests.helpers.scenes import make_pair, write_raster
from tests.helpers.service import ROOT, application

BRANCHES = (InputError, SourceError, CancelledWorkError, UnwritableError, MissingPackageError)


def below(error: type[ClearSkyError]) -> Iterator[type[ClearSkyError]]:
    for child in error.__subclasses__():
        yield child
        yield from below(child)


TREE = ("algorithms.errors", "server.errors")
DECLARED: list[type[ClearSkyError]] = sorted({e for e in below(ClearSkyError) if e.__module__ in TREE}, key=str)


def test_the_tree_stands_in_two_modules() -> None:
    family: list[type[ClearSkyError]] = [ClearSkyError, *DECLARED]
    names = {error.__name__ for error in family}
    homes = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for folder in ("algorithms", "server", "clearsky")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and names & {ast.unparse(base).split(".")[-1] for base in node.bases}
    }
    assert homes == set(TREE)


def status(error: type[Exception]) -> int:
    """Of the nearest base class in the table, as the application looks it up."""
    return next(STATUS[base] for base in error.__mro__ if base in STATUS)


@pytest.mark.parametrize("error", DECLARED, ids=lambda e: e.__name__)
def test_each_error_is_on_one_branch(error: type[Exception]) -> None:
    assert sum(issubclass(error, branch) for branch in BRANCHES) == 1
    assert issubclass(error, ValueError) == issubclass(error, InputError)


@pytest.mark.parametrize("error", [e for e in DECLARED if e not in BRANCHES], ids=lambda e: e.__name__)
def test_no_error_is_a_fault_of_the_server(error: type[Exception]) -> None:
    expected = {
        InputError: {400, 404, 408, 413, 414},
        SourceError: {400, 403, 404, 502, 503, 504},
        CancelledWorkError: {499, 503},
    }
    assert status(error) in next(codes for branch, codes in expected.items() if issubclass(error, branch))


def test_an_unknown_style_is_refused_once(tmp_path: Path) -> None:
    write_raster(tmp_path / "any.tif", make_pair(size=(32, 32)).target)
    with application(tmp_path) as client:
        answer = client.get("/cog/preview.png", params={"url": str(tmp_path / "any.tif"), "style": "nvdi"})
    assert answer.status_code == 400
    assert answer.json()["detail"].count("nvdi") == 1


def raised_within(*modules: str) -> Exception:
    """An error raised by code of the last module, which that of the one before has called, and so on."""
    run: Callable[[], object] | None = None
    for module in reversed(modules):
        names: dict[str, Any] = {"__name__": module, "called": run}
        exec("def run():\n    if called is None: raise TypeError('unsupported array dtype')\n    called()", names)
        run = names["run"]
    assert run is not None
    with pytest.raises(TypeError) as caught:
        run()
    return caught.value


@pytest.mark.parametrize(
    ("modules", "status"),
    [
        (("titiler.core.factory", "rio_tiler.reader"), 400),
        (("server.http.reader", "rio_tiler.reader", "numpy.lib.shape"), 400),
        (("titiler.core.factory", "server.http.expressions", "numpy"), 400),
        (("server.analysis.view", "rasterio.warp"), 400),
        (("algorithms.shift", "rasterio.warp"), 400),
        (("algorithms.fill", "numba.core.dispatcher"), 500),
        (("server.http.reader", "server.analysis.engine", "algorithms.clouds", "onnxruntime.capi.session"), 500),
        (("server.http.reader", "server.analysis.blocks", "numpy.lib.shape"), 500),
        (("rio_tiler.reader", "algorithms.removal"), 500),
        (("rio_tiler.reader", "server.http.reader"), 500),
    ],
)
def test_faults_within_the_algorithms_are_the_servers(modules: tuple[str, ...], status: int) -> None:
    answer = error_response(raised_within(*modules))
    assert answer.status_code == status
    assert (b"change them" in answer.body) == (status == 400)
    assert (b"dtype" in answer.body) == (status == 400)


def test_what_the_server_cancels_is_to_be_asked_again() -> None:
    sent: list[Any] = []

    async def answer(message: Any) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def ends(*_: Any) -> None:
        await asyncio.sleep(60)

    async def ended() -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
        task = asyncio.create_task(Failsafe(ends)(scope, receive, answer))
        await asyncio.sleep(0)
        task.cancel()
        await task

    asyncio.run(ended())
    assert sent[0]["status"] == 503
    assert b"ask again" in sent[1]["body"]
