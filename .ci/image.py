"""Run the steps of the Dockerfile in a scratch folder, and what it builds without any network.

`python .ci/image.py [FOLDER]`: two minutes, most of them downloads; needs Linux and root, but no container engine. What
changes the system (`apt-get`, `useradd`) is left out.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SYSTEM = ("apt-get", "useradd")
"""Commands of steps that are left out."""
FILLED = """
import urllib.request
base = "http://127.0.0.1:8000"
query = "url=demo-scene/cloudy.tif&replacement=demo-scene/clear.tif&bidx=3&bidx=2&bidx=1&rescale=0,3000&max_size=128"
with urllib.request.urlopen(f"{base}/cog/preview.png?{query}", timeout=120) as answer:
    print("filled:", answer.headers["x-clearsky-filled-fraction"], len(answer.read()), "bytes")
    assert float(answer.headers["x-clearsky-filled-fraction"]) > 0.1
"""


def instructions(text: str) -> list[tuple[str, str]]:
    """Instructions of a Dockerfile in order, their continued lines joined."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    joined = re.sub(r"\s*\\\n\s*", " ", lines)
    return [(word, rest.strip()) for line in joined.splitlines() if line for word, _, rest in [line.partition(" ")]]


class Scratch:
    """A folder in which the image's absolute paths lie."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = Path("/")
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
        self.commands: dict[str, list[str]] = {}

    def inside(self, text: str) -> str:
        """Text with the image's paths as they are here."""
        return re.sub(r"(?<![\w/.])/(opt|src|home)\b", lambda found: f"{self.folder}/{found[1]}", text)

    def here(self) -> Path:
        """The working folder."""
        place = Path(self.inside(str(self.place)))
        place.mkdir(parents=True, exist_ok=True)
        return place

    def run(self, command: str) -> None:
        """A step; the build ends where it fails."""
        if any(word in command for word in SYSTEM):
            print("left out:", command)  # noqa: T201
            return
        print("RUN", command, flush=True)  # noqa: T201
        step = ["sh", "-ec", self.inside(command)]
        subprocess.run(step, cwd=self.here(), env=self.environment, check=True)  # noqa: S603

    def copy(self, rest: str) -> None:
        """Files of the repository; those of an earlier stage lie where they were built."""
        if rest.startswith("--from="):
            return
        *sources, target = rest.split()
        for name in sources:
            source, place = ROOT / name, self.here() / target
            if source.is_dir():
                shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
            else:
                shutil.copy(source, place)

    def follow(self, word: str, rest: str) -> None:
        """One instruction."""
        if word == "RUN":
            self.run(rest)
        elif word == "COPY":
            self.copy(rest)
        elif word == "WORKDIR":
            self.place = Path(rest)
        elif word == "ENV":
            for pair in shlex.split(rest):
                name, _, value = pair.partition("=")
                self.environment[name] = self.inside(value).replace("$PATH", self.environment["PATH"])
        elif word == "ARG":
            name, _, value = rest.partition("=")
            self.environment.setdefault(name, value)
        elif word in ("CMD", "HEALTHCHECK"):
            self.commands[word] = json.loads(rest[rest.index("[") :])
        elif word not in ("FROM", "USER", "EXPOSE"):
            sys.exit(f"this script does not know {word}")

    def start(self) -> None:
        """Start the server in a network of its own, wait until it is healthy, and ask for a filled picture."""
        check, serve = (shlex.join(self.commands[word]) for word in ("HEALTHCHECK", "CMD"))
        script = (
            f"ip link set lo up; {serve} & server=$!; trap 'kill $server' EXIT; "
            f"for i in $(seq 120); do {check} 2>/dev/null && break; kill -0 $server; sleep 1; done; "
            f"{check} && python -c {shlex.quote(FILLED)}"
        )
        command = ["unshare", "--net", "sh", "-ec", script]
        subprocess.run(command, cwd=self.here(), env=self.environment, check=True)  # noqa: S603


def main() -> None:
    """Build and start; status 1 where a step fails."""
    with tempfile.TemporaryDirectory(prefix="clearsky-image-") as made:
        scratch = Scratch(Path(sys.argv[1] if len(sys.argv) > 1 else made).resolve())
        for word, rest in instructions((ROOT / "Dockerfile").read_text(encoding="utf-8")):
            scratch.follow(word, rest)
        scratch.start()


if __name__ == "__main__":
    main()
