"""What is shipped is pinned, with checksums, and its licences are listed."""

from __future__ import annotations

import re
from importlib.metadata import requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
ENTRY = re.compile(r"^([\w.-]+)==([\w.]+)(?: ; [^\\\n]+)?((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", re.MULTILINE)


def locked() -> dict[str, str]:
    return {canonicalize_name(name): pinned for name, pinned, _ in ENTRY.findall(LOCK)}


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}


def needed(name: str, extra: str = "") -> set[str]:
    """Packages that one needs on this system, and what those need."""
    found: set[str] = set()
    waiting = [(name, extra)]
    while waiting:
        package, extras = waiting.pop()
        for text in requires(package) or []:
            requirement = Requirement(text)
            if requirement.marker is not None and not any(
                requirement.marker.evaluate({"extra": known}) for known in extras.split(",")
            ):
                continue
            key = canonicalize_name(requirement.name)
            if key not in found or requirement.extras:
                found.add(key)
                waiting.append((requirement.name, ",".join(["", *sorted(requirement.extras)])))
    return found


def test_every_line_of_the_lock_is_a_version_with_checksums() -> None:
    assert ENTRY.sub("", LOCK).strip() == ""
    assert "://" not in LOCK


def test_the_lock_agrees_with_the_constraints() -> None:
    known = pinned()
    assert {name: known.get(name, version) for name, version in locked().items()} == locked()


def test_everything_that_the_server_needs_is_locked() -> None:
    found = needed("clearsky")
    assert len(found) > 40
    assert found <= locked().keys()


def test_everything_locked_has_its_licence_in_the_list() -> None:
    page = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\w.-]+) \| ([\w.]+) \| (.+) \|$", page, re.MULTILINE)[1:]
    assert {canonicalize_name(name): version for name, version, _ in rows if name != "---"} == locked()


def test_the_suite_runs_on_what_is_locked() -> None:
    here = {name: version(name) for name in needed("clearsky")}
    assert here == {name: locked()[name] for name in here}
