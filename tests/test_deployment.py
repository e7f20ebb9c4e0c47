"""What `deploy/` holds agrees with the server: settings, paths, ports, metrics and versions that it names exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from server import __version__
from server.settings import Settings
from server.work.figures import CacheFigures, Figures
from server.work.metrics import Metrics
from server.work.trace import Trace
from tests.helpers.service import ROOT, application, good

DEPLOY = ROOT / "deploy"
FILES = sorted(path for path in [*DEPLOY.rglob("*"), ROOT / "Dockerfile", ROOT / ".env.example"] if path.is_file())
SCRAPED = {"up"}
"""Series that Prometheus makes itself."""


def read(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def exported() -> dict[str, set[str]]:
    """Labels by name of every series that a server exports, `le` of histograms included."""
    tiers = tuple(CacheFigures("computed", tier, 1, 1, 1) for tier in ("memory", "shared"))
    metrics = Metrics("1", lambda: Figures(tiers, 0, "cpu", shared_works=True))
    metrics.inferred("model", 0.1)
    metrics.request("GET", 200, 0.1, Trace(seconds={"read": 0.1}, route="/", cloud_fraction=0.1, filled_fraction=0.1))
    found: dict[str, set[str]] = {}
    for line in metrics.render()[0].decode().splitlines():
        if not line.startswith("#"):
            name, labels = re.fullmatch(r"(\w+)(\{.*\})? \S+", line).groups("")  # type: ignore[union-attr]
            found.setdefault(name, set()).update(re.findall(r"(\w+)=", labels))
    return found


def expressions() -> Iterator[tuple[str, str]]:
    """Every query of the dashboard and the alerts, with where it stands."""
    for panel in json.loads(read("grafana.json"))["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for group in yaml.safe_load(read("alerts.yml"))["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_queries_ask_for_what_is_exported(where: str, expression: str, exported: dict[str, set[str]]) -> None:
    names = set(re.findall(r"\b(?:clearsky|process)_\w+|\bup\b", expression))
    assert names
    assert names <= exported.keys() | SCRAPED
    for name, selector in re.findall(r"((?:clearsky|process)_\w+)\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)(?:=|!=|=~|!~)\"", selector)) <= exported[name] | {"job", "instance"}
    labels = {label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")}
    assert labels <= {label for name in names - SCRAPED for label in exported[name]} | {"job", "instance"}


def test_the_dashboard_shows_every_metric_of_the_server(exported: dict[str, set[str]]) -> None:
    shown = " ".join(expression for _, expression in expressions())
    families = {re.sub(r"_(?:bucket|sum|count)$", "", name) for name in exported if name.startswith("clearsky_")}
    assert [name for name in sorted(families) if name not in shown] == []


def test_the_dashboard_has_places_and_a_source() -> None:
    board = json.loads(read("grafana.json"))
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_settings_that_are_named_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    known = {name.upper() for name in Settings.model_fields}
    assert set(re.findall(r"\bCLEARSKY_([A-Z_]+)\b", text)) <= known


def test_settings_of_the_chart_exist_and_are_valid() -> None:
    chosen = yaml.safe_load(read("helm/values.yaml"))["settings"]
    assert {name.lower() for name in chosen} <= Settings.model_fields.keys()
    Settings(**{name.lower(): value for name, value in chosen.items()})


def test_every_setting_is_in_the_example() -> None:
    named = set(
        re.findall(r"^#? ?CLEARSKY_([A-Z_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert {name.upper() for name in Settings.model_fields} <= named


def test_probes_and_checks_ask_for_what_is_answered(tmp_path: Path) -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in FILES}
    probed = set(re.findall(r"httpGet: \{path: (\S+),", texts["deployment.yaml"]))
    assert probed == {"/healthz", "/readyz"}
    asked = probed | set(re.findall(r"127\.0\.0\.1:8000(/\w+)", texts["Dockerfile"]))
    asked |= set(re.findall(r"location = (\S+)", texts["nginx.conf"]))
    asked |= set(re.findall(r"path: (/metrics)", texts["servicemonitor.yaml"]))
    assert asked == {"/healthz", "/readyz", "/metrics"}
    with application(tmp_path) as client:
        for path in asked:
            good(client.get(path))


def test_one_version_and_one_port() -> None:
    compose, chart = yaml.safe_load(read("compose.yaml")), yaml.safe_load(read("helm/Chart.yaml"))
    assert compose["services"]["clearsky"]["image"] == f"clearsky:{__version__}"
    assert chart["version"] == chart["appVersion"] == __version__
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    ports = re.findall(r"EXPOSE (\d+)|--port\", \"(\d+)|127\.0\.0\.1:(\d+)", dockerfile)
    ports += re.findall(r"clearsky:(\d+);", read("nginx.conf")) + re.findall(r"port: (\d{4})$", read("prometheus.yml"))
    ports += re.findall(r"containerPort: (\d+)", read("helm/templates/deployment.yaml"))
    assert {port for found in ports for port in (found if isinstance(found, tuple) else (found,)) if port} == {"8000"}


def test_services_run_without_privileges_and_on_fixed_versions() -> None:
    services: dict[str, Any] = yaml.safe_load(read("compose.yaml"))["services"]
    for name, service in services.items():
        assert re.fullmatch(r"[\w./-]+:v?\d[\w.-]*", service["image"]), name
        assert "privileged" not in service
    assert services["clearsky"]["read_only"]
    assert services["clearsky"]["cap_drop"] == services["redis"]["cap_drop"] == ["ALL"]
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    users = re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE)
    assert users == re.findall(r"--uid (\d+)", dockerfile) == ["10001"]
    assert "runAsUser: 10001" in read("helm/templates/deployment.yaml")


def test_the_image_takes_what_its_steps_copy() -> None:
    """`.dockerignore` lets pass what the Dockerfile copies, and no more."""
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = {
        name for line in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE) for name in line.split()
    }
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert ignored[0] == "*"
    assert {name.removeprefix("!") for name in ignored if name.startswith("!")} == copied
    assert all((ROOT / name).exists() for name in copied)
