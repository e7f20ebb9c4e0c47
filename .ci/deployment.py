"""Check what `deploy/` and the Dockerfile hold with the tools that read them: Helm, Kubernetes' schemas, and others.

Run by `make deployment`, with the tools of an environment of its own.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import yaml

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm"
KUBERNETES = ("1.25", "1.31", "1.35")
"""Versions whose schemas the chart must fit: the oldest that it names, and later ones."""
HELM_INFO = 1
"""Severity of a recommendation of `helm lint`."""
VALUES: dict[str, dict[str, Any]] = {
    "default": {},
    "everything": {
        "cacheUrl": "redis://redis:6379/0",
        "secret": "credentials",
        "recipes": {"lazio.yaml": "name: lazio\ntarget: /data/lazio.tif\n"},
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data", "readOnly": True}}],
        "volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": True}],
        "ingress": {"enabled": True, "className": "nginx", "tlsSecret": "tls", "annotations": {"a": "b"}},
        "networkPolicy": {"from": [{"namespaceSelector": {}}]},
        "serviceMonitor": {"enabled": True},
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
    },
    "least": {"autoscaling": {"enabled": False}, "networkPolicy": {"enabled": False}, "settings": {}},
}
"""Values that together render every line of every template."""
REFUSED: tuple[dict[str, Any], ...] = (
    {"replica": 3},
    {"replicas": "3"},
    {"settings": {"CACHE_BYTES": 5}},
    {"settings": {"cache_bytes": "5"}},
    {"cacheUrl": "http://redis"},
    {"autoscaling": {"targetCPU": 0}},
)
"""Values that the schema must refuse."""


def run(*command: str | Path) -> None:
    """A tool that says with its exit status whether it agrees; in this environment, or on the machine."""
    name = str(command[0])
    program = Path(sys.executable).with_name(name)
    found = str(program) if program.exists() else shutil.which(name, path="/usr/sbin:/usr/bin:/bin:/usr/local/bin")
    if found is None:
        sys.exit(f"{name} is not installed: .ci/run does it")
    done = subprocess.run([found, *map(str, command[1:])], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    print(f"{name}: {command[-1]}")  # noqa: T201


def check_chart() -> None:
    """Lint it, render it, and hold every manifest against the schemas of Kubernetes."""
    for finding in helm.lint(str(CHART)).get("messages", []):
        if finding["severity"] > HELM_INFO:
            sys.exit(f"helm lint: {finding}")
    kinds: set[str] = set()
    with helm.Chart.load(str(CHART)) as chart:
        for name, values in VALUES.items():
            chart.validate_schema(values)
            for template, text in chart.render(values, name="test", namespace="maps").items():
                for manifest in yaml.safe_load_all(text) if template.endswith(".yaml") else ():
                    if manifest is None:
                        continue
                    kinds.add(manifest["kind"])
                    if manifest["kind"] != "ServiceMonitor":  # of an operator, not of Kubernetes
                        for version in KUBERNETES:
                            kubernetes_validate.validate(manifest, version, strict=True)
            print(f"helm: {name}")  # noqa: T201
        for values in REFUSED:
            try:
                chart.validate_schema(values)
            except helm.HelmError:
                continue
            sys.exit(f"values.schema.json admits {values}")
    if missing := {"HorizontalPodAutoscaler", "NetworkPolicy", "Ingress", "ServiceMonitor"} - kinds:
        sys.exit(f"the chart renders no {', '.join(sorted(missing))}")


def check_dashboard() -> None:
    """Its queries, as rules that Prometheus could record."""
    panels = json.loads((DEPLOY / "grafana.json").read_text(encoding="utf-8"))["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    rules = [{"record": f"dashboard:{i}", "expr": query} for i, query in enumerate(queries)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "grafana.yml"
        file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
        run("promtool", "check", "rules", file)


def check_nginx() -> None:
    """Its own check, with addresses that can be had here, and that of gixy."""
    text = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "nginx.conf"
        file.write_text(text.replace("/var/cache/nginx", folder).replace("/tmp/", f"{folder}/"), encoding="utf-8")  # noqa: S108
        run("nginx", "-t", "-q", "-c", file)
    # Answers are kept by host, so that nobody is given another's; $host would lose the port.
    run("gixy", "--skips", "host_spoofing", DEPLOY / "nginx.conf")


def main() -> None:
    """Check everything; status 1 at the first that is wrong."""
    run("hadolint", ROOT / "Dockerfile")
    run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")
    run("promtool", "check", "rules", DEPLOY / "alerts.yml")
    run("promtool", "check", "config", DEPLOY / "prometheus.yml")
    check_dashboard()
    check_nginx()
    check_chart()


if __name__ == "__main__":
    main()
