"""Exports by a real cluster: the same bytes as made here, also when a worker is killed half-way."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import server.export.plan
from server.analysis.request import Request
from server.errors import ClusterError
from server.export import cluster
from server.export.job import ExportJob
from server.export.preparation import prepare_export
from server.export.scene import export_scene
from server.settings import Settings
from tests.helpers.exports import filled_from, run
from tests.helpers.scenes import make_pair, write_mask, write_raster
from tests.helpers.service import free_port

distributed = pytest.importorskip("distributed", reason="no dask.distributed: pip install 'clearsky[dask]'")

pytestmark = pytest.mark.filterwarnings("default")  # of distributed and what it brings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, pair = tmp_path_factory.mktemp("cluster"), make_pair(size=(150, 140))
    write_raster(folder / "target.tif", pair.target)
    write_raster(folder / "other.tif", pair.replacement)
    write_mask(folder / "mask.tif", pair.mask)
    return folder


@pytest.fixture(scope="module")
def workers() -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0
    ) as workers:
        yield workers


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.export.plan, "PIECE_PIXELS", (32, 64))


def job_of(folder: Path, out: Path, **changes: object) -> ExportJob:
    request = Request(
        str(folder / "target.tif"),
        (str(folder / "other.tif"),),
        mask=str(folder / "mask.tif"),
        replacement_masks=("none",),
    )
    return replace(ExportJob(request, out, provenance=out.with_name("provenance.tif")), **changes)  # type: ignore[arg-type]


def test_a_cluster_writes_the_same_bytes_though_a_worker_is_killed(folder: Path, tmp_path: Path, workers: Any) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    export_scene(job_of(folder, tmp_path / "here" / "out.tif"), Settings())
    killed: list[int] = []

    def progress(done: int, total: int) -> None:
        if 0 < done < total and not killed:
            killed.append(workers.workers[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    job = job_of(folder, tmp_path / "there" / "out.tif", scheduler=workers.scheduler_address)
    report = export_scene(job, Settings(), progress)
    assert killed
    assert report.figures is not None
    assert report.figures.filled > 0
    for file in ("out.tif", "provenance.tif"):
        assert (tmp_path / "there" / file).read_bytes() == (tmp_path / "here" / file).read_bytes()


def test_a_batch_on_a_cluster_writes_the_same_bytes(
    folder: Path, tmp_path: Path, workers: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two scenes at a time, and one that fails stops none."""
    rows, file = tmp_path / "scenes.csv", tmp_path / "batch.prom"
    lines = [f"{folder}/target.tif,{tmp_path}/{name}.tif,{buffer}" for name, buffer in (("a", 2), ("b", 9))]
    rows.write_text("\n".join(["target,out,buffer", lines[0], f"{tmp_path}/nothing.tif,{tmp_path}/c.tif,", lines[1]]))
    given = ["--scheduler", workers.scheduler_address, "--json", "--metrics", file]
    assert run("--batch", rows, *filled_from(folder), *given) == 2
    done = json.loads(capsys.readouterr().out)
    assert [scene["state"] for scene in done["scenes"]] == ["done", "failed", "done"]
    assert run(folder / "target.tif", tmp_path / "here.tif", *filled_from(folder), "--buffer", 9) == 0
    assert (tmp_path / "b.tif").read_bytes() == (tmp_path / "here.tif").read_bytes()
    assert (tmp_path / "a.tif").read_bytes() != (tmp_path / "b.tif").read_bytes()
    assert 'clearsky_export_scenes{state="done"} 2.0' in file.read_text()
    assert 'clearsky_export_scenes{state="failed"} 1.0' in file.read_text()


def test_finished_pieces_are_not_made_again(
    folder: Path, tmp_path: Path, workers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(folder, tmp_path / "out.tif", scheduler=workers.scheduler_address)

    class StopError(Exception):
        """Stands for whatever ends an export."""

    def stop(done: int, total: int) -> None:
        if done:
            raise StopError

    with pytest.raises(StopError):
        export_scene(job, Settings(), stop)
    seen: list[int] = []
    export_scene(job, Settings(), lambda done, total: seen.append(done))
    assert seen[0] > 0
    assert (tmp_path / "out.tif").is_file()


def test_a_worker_that_sees_other_files_or_software_says_so(
    folder: Path, tmp_path: Path, workers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "software", lambda: "another version")
    with pytest.raises(ClusterError, match="sees other rasters, settings or software"):
        export_scene(job_of(folder, tmp_path / "out.tif", scheduler=workers.scheduler_address), Settings())
    assert not (tmp_path / "out.tif").exists()


def test_no_address_of_the_user_is_in_the_names_of_tasks(folder: Path, tmp_path: Path) -> None:
    """Every user of a scheduler sees them."""
    ready = prepare_export(job_of(folder, tmp_path / "out.tif").checked(), Settings())
    assert "target" not in cluster.fingerprint_of(ready)


@pytest.mark.parametrize("scheduler", ["tcp://127.0.0.1:{port}", "no address", "ftp://x:1"])
def test_a_scheduler_that_cannot_be_used_is_named_in_one_line(
    scheduler: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    address = scheduler.format(port=free_port())
    status = run(folder / "target.tif", tmp_path / "out.tif", *filled_from(folder), "--scheduler", address)
    errors = capsys.readouterr().err
    assert status == 2
    assert errors.count("\n") == 1
    assert address in errors
    assert not (tmp_path / "out.tif").exists()
