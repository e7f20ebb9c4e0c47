"""Print docs/licences.md: the licence of every package of requirements.lock, as the packages themselves state it."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path

LOCK = Path(__file__).parents[1] / "requirements.lock"
HEAD = """# Licences

What `requirements.lock` installs, and the licence that each package states. Made by `make licences`; ClearSky itself is
[Apache-2.0](../LICENSE).

| package | version | licence |
| --- | --- | --- |"""
ELSEWHERE = "not installed on Linux"
"""Of packages for other systems."""


def locked() -> list[tuple[str, str]]:
    """Names and versions."""
    return re.findall(r"^([\w.-]+)==([\w.]+)", LOCK.read_text(encoding="utf-8"), re.MULTILINE)


def licence(told: PackageMetadata) -> str:
    """The licence expression, a short licence field, or the classifiers."""
    named = next((text for field in ("License-Expression", "License") for text in told.get_all(field) or []), "")
    if named and "\n" not in named and len(named) < 60:
        return named
    kinds = [c.rpartition(" :: ")[2] for c in told.get_all("Classifier") or [] if c.startswith("License :: ")]
    first = named.strip().split("\n")[0][:60] if named else ""
    return ", ".join(kind for kind in kinds if kind != "OSI Approved") or first


def main() -> None:
    """Write the page; status 1 if a package states no licence."""
    lines, unknown = [HEAD], []
    for name, version in locked():
        try:
            told = metadata(name)
        except PackageNotFoundError:
            lines.append(f"| {name} | {version} | {ELSEWHERE} |")
            continue
        stated = licence(told)
        if not stated:
            unknown.append(name)
        lines.append(f"| {told['Name']} | {version} | {stated} |")
    sys.stdout.write("\n".join(lines) + "\n")
    if unknown:
        sys.exit(f"no licence is stated by {', '.join(unknown)}: look it up and name it here")


if __name__ == "__main__":
    main()
