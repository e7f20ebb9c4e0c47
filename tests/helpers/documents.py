"""What the documents show to be copied: fenced blocks, and the commands in them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from tests.helpers.service import ROOT

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
"""Every document."""
SERVER = "http://127.0.0.1:8000"
"""Address of the server in the documents."""


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: str
    """File name."""
    line: int
    """Where it begins."""
    language: str
    """As the fence names it; empty for none."""
    text: str
    """What it contains."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(language: str) -> list[Block]:
    """The blocks of a language on all pages, in their order."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        fences = re.finditer(r"^ *```(\w*)\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
        found += [Block(page.name, text.count("\n", 0, match.start()) + 1, match[1], match[2]) for match in fences]
    return [block for block in found if block.language == language]


def commands(block: Block) -> list[str]:
    """The commands of a block, each on one line, without comments; of a transcript what follows `$`."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return [line for line in lines if words_of(line)]


def words_of(command: str) -> list[str]:
    """The words of a command, as a shell splits it."""
    return shlex.split(command, comments=True)
