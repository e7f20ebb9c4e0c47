"""YAML (and JSON) as plain values, with the line of every one of them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from algorithms.errors import InputError
from server.errors import DocumentError, RecipeError

YAML_BYTES: Final = 1 << 16
"""Largest file; real recipes and model cards have some hundred bytes."""

MAX_DEPTH: Final = 8
"""Deepest nesting of lists and mappings."""

ValuePath = tuple[str | int, ...]

_TAG: Final = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """YAML with JSON's types only: no dates, no `yes` and `no`, no anchors, nothing deep."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012  (declared like this by PyYAML)
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A node; an alias to another one is refused, since aliases of aliases grow without bound."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.MarkedYAMLError(problem="anchors and aliases are not accepted", problem_mark=event.start_mark)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"nested deeper than {MAX_DEPTH} levels", problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    """YAML that every reader reads alike: quotes whatever a reader might take for more than text."""


for _tag, _pattern, _first in (
    ("bool", "true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("int", r"[-+]?[0-9]+", [*"-+0123456789"]),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", [*"-+.0123456789"]),
    ("null", "~|null|Null|NULL|", [*"~nN", ""]),
):
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_TAG + _tag, re.compile(f"^(?:{_pattern})$"), _first)


@dataclass(frozen=True, slots=True)
class Document:
    """The content of a file."""

    name: str
    """The file's name, for messages."""
    values: dict[str, Any]
    """Plain values; what is null is left out, so that it means the default."""
    lines: Mapping[ValuePath, int] = field(repr=False)
    """1-based line of every value and of every key that is null; `()` is the whole."""

    def line(self, key: ValuePath) -> int:
        """Line of a value, or of the nearest one around it."""
        while key not in self.lines and key:
            key = key[:-1]
        return self.lines.get(key, 1)

    def at(self, key: ValuePath) -> str:
        """`file:line` of a value."""
        return f"{self.name}:{self.line(key)}"


def _scalar(node: yaml.ScalarNode, where: str) -> Any:
    kind = node.tag.removeprefix(_TAG)
    text = str(node.value)
    try:
        if kind == "str":
            # JSON writes characters beyond the basic plane as two halves; one half alone is no character.
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        if kind == "null":
            return None
        if kind == "bool":
            return {"true": True, "false": False}[text.lower()]
        if kind == "int":
            return int(text)
        if kind == "float" and math.isfinite(number := float(text)):
            return number
    except (ValueError, KeyError):
        raise DocumentError(f"{where}: {text[:40]!r} is not of type {kind}; write a plain value without tags") from None
    raise DocumentError(f"{where}: {text[:40]!r} with tag {kind!r} is not accepted; write a plain value without tags")


def _value(node: yaml.Node, key: ValuePath, name: str, lines: dict[ValuePath, int]) -> Any:
    where = f"{name}:{node.start_mark.line + 1}"
    lines.setdefault(key, node.start_mark.line + 1)
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node, where)
    if node.tag.removeprefix(_TAG) not in ("seq", "map"):
        raise DocumentError(f"{where}: tag {node.tag!r} is not accepted; write plain values without tags")
    if isinstance(node, yaml.SequenceNode):
        return [_value(child, (*key, i), name, lines) for i, child in enumerate(node.value)]
    values: dict[str, Any] = {}
    for title, child in node.value:
        line = title.start_mark.line + 1
        word = _scalar(title, f"{name}:{line}") if isinstance(title, yaml.ScalarNode) else None
        if not isinstance(word, str):
            raise DocumentError(f"{name}:{line}: a key must be a plain word; put it in quotes")
        if (*key, word) in lines:
            raise DocumentError(f"{name}:{line}: {word[:40]!r} occurs twice here; remove one")
        lines[*key, word] = line
        value = _value(child, (*key, word), name, lines)
        if value is not None:
            values[word] = value
    return values


def _compose(text: str, name: str) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise DocumentError(f"{name}:{line}: character {error.character!r} is not accepted; remove it") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = f"{error.problem or error.context}"
        raise DocumentError(f"{name}:{mark.line + 1 if mark else 1}: not YAML: {problem}; correct the syntax") from None
    return node


def read_yaml(
    content: bytes, name: str, *, refuse: type[InputError] = RecipeError, keys: tuple[str, ...] = ("name", "target")
) -> Document:
    """Read a YAML or JSON file whose top level is a mapping.

    Args:
        content: the file's bytes, UTF-8.
        name: what messages call the file.
        refuse: the error for anything else.
        keys: what such a file has at least, for messages.

    Raises:
        InputError: of that type, with `name:line`.
    """
    try:
        return _read(content, name, keys)
    except DocumentError as error:
        raise refuse(str(error)) from error.__cause__


def _read(content: bytes, name: str, keys: tuple[str, ...]) -> Document:
    if len(content) > YAML_BYTES:
        raise DocumentError(f"{name}:1: {len(content)} bytes are more than {YAML_BYTES}; real ones are short")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DocumentError(
            f"{name}:{line}: byte {content[error.start]:#x} is not UTF-8; save the file as UTF-8"
        ) from None
    if text.lstrip().startswith("{"):
        text = text.replace("\t", " ")  # JSON may be indented by tabs, YAML may not
    node = _compose(text, name)
    lines: dict[ValuePath, int] = {}
    values = _value(node, (), name, lines) if node else None
    if not isinstance(values, dict):
        least = " and ".join(f"`{key}:`" for key in keys)
        raise DocumentError(f"{name}:1: has no `key: value` lines; write at least {least}")
    return Document(name, values, lines)


def write_values(values: dict[str, Any]) -> str:
    """Plain values as YAML that `read_yaml` reads back."""
    return str(yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000))
