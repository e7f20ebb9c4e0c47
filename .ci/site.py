"""Hooks of the documentation site: pages of the top folder, the reference from the code, and links between them."""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parents[1]
TOP_PAGES: Final = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "changelog.md": "CHANGELOG.md",
}
"""Pages of the site that are files of the top folder."""
PYTHON_PAGE: Final = """# Python

## The module `clearsky`

::: clearsky
    options: {show_root_heading: false, show_root_toc_entry: false}

## The package `algorithms`

Arrays in, arrays out: no files, no server.

::: algorithms.cloud_mask
::: algorithms.reclassify.reclassify
::: algorithms.buffer_mask
::: algorithms.fill_clouds
::: algorithms.stepwise_adjustment
"""
_LINK: Final = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#:]+)(#[^)]*)?\)|(!\[[^\]]*\])\(([^)#:]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Show pages that nobody has entered in `nav`, too: under "Use"."""
    entered = re.findall(r"[\w/-]+\.md", str(config.nav))
    more = sorted(page.name for page in Path(config.docs_dir).glob("*.md") if page.name not in entered)
    next(part["Use"] for part in config.nav or [] if "Use" in part).extend(more)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in the folder of documents."""
    sys.path.insert(0, str(ROOT))
    made = {page: (ROOT / source).read_text(encoding="utf-8") for page, source in TOP_PAGES.items()}
    made["reference/command-line.md"] = command_line_page()
    made["reference/http.md"] = http_page()
    made["reference/python.md"] = PYTHON_PAGE
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, files: Files, **_: Any) -> str:
    """Let links between files of the repository lead to pages; what is no page keeps its text alone."""
    own = page.file.src_uri
    folder = "" if own in TOP_PAGES else posixpath.dirname(posixpath.join("docs", own))
    pages = {source: name for name, source in TOP_PAGES.items()}

    def link(found: re.Match[str]) -> str:
        text, target, anchor, picture, image = found.groups()
        path = posixpath.normpath(posixpath.join(folder, target or image))
        inside = pages.get(path) or path.removeprefix("docs/")
        if (path in pages or path.startswith("docs/")) and files.get_file_from_path(inside) is not None:
            there = posixpath.relpath(inside, posixpath.dirname(own) or ".")
            return f"{picture}({there})" if picture else f"[{text}]({there}{anchor or ''})"
        return text or found.group(0)

    return _LINK.sub(link, markdown)


def _commands(group: click.Group, words: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from _commands(command, f"{words} {name}")
        else:
            yield f"{words} {name}", command


def command_line_page() -> str:
    """What `--help` says of every command."""
    from server.cli import cli  # noqa: PLC0415  # GDAL is prepared where the server is imported

    parts = ["# Command line\n"]
    for words, command in _commands(cli, "clearsky"):
        context = click.Context(command, info_name=words, max_content_width=100)
        parts.append(f"## {words}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def http_page() -> str:
    """The routes by group, and the parameters of a tile, as `/openapi.json` has them."""
    from server.app import create_app  # noqa: PLC0415
    from server.settings import Settings  # noqa: PLC0415

    document = create_app(Settings()).openapi()
    groups: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = operation.get("tags", ["Service"])[0]
            about = (operation.get("summary") or "").strip()
            groups.setdefault(tag, []).append(f"| `{method.upper()} {path}` | {_cell(about)} |")
    parts = ["# HTTP\n", "A running server describes all of this at `/api`, to try it out, and in `/openapi.json`.\n"]
    for tag, rows in groups.items():
        parts.append(f"## {tag}\n\n| route | does |\n| --- | --- |\n" + "\n".join(rows) + "\n")
    tile = document["paths"]["/cog/tiles/{tileMatrixSetId}/{z}/{x}/{y}"]["get"]
    rows = [_parameter(parameter) for parameter in tile["parameters"] if parameter["in"] == "query"]
    parts.append("## Parameters of a tile below `/cog`\n\n| parameter | meaning |\n| --- | --- |\n")
    parts[-1] += "\n".join(rows) + "\n"
    return "\n".join(parts)


def _parameter(parameter: dict[str, Any]) -> str:
    about = parameter.get("description") or parameter.get("schema", {}).get("description") or ""
    return f"| `{parameter['name']}` | {_cell(about)} |"


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;")
