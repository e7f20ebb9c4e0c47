"""What a document of somebody else may hold: so many values, and texts of so many characters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, TypeGuard

MOST_VALUES: Final = 250_000
"""Values of a JSON document, each of which takes up to 40 times its bytes in memory; 50 Items have 17,000 to 76,000."""
MOST_XML_MARKS: Final = 250_000
"""Tags and attributes of an XML document; those of products have up to 10,000."""
LONGEST_TEXT: Final = 256
"""Characters of an id, a name or a date; products are named with up to 80."""


def read_json(data: bytes) -> Any:
    """The value of a JSON document.

    Args:
        data: the document; the caller bounds its length.

    Raises:
        ValueError: it is not JSON, nested too deep, or has more than `MOST_VALUES` values.
    """
    # Each value but the first follows one of these; those within texts only make the count greater.
    count = sum(map(data.count, (b",", b"[", b"{")))
    if count > MOST_VALUES:
        raise ValueError(f"about {count} values, up to {MOST_VALUES} are read")
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def check_xml(data: bytes) -> None:
    """Refuse an XML document that would fill the memory.

    Raises:
        ValueError: more than `MOST_XML_MARKS` tags and attributes.
    """
    if (count := data.count(b"<") + data.count(b"=")) > MOST_XML_MARKS:
        raise ValueError(f"about {count} tags and attributes, up to {MOST_XML_MARKS} are read")


def short(value: object) -> Any:
    """A text cut to `LONGEST_TEXT`; anything else as it is."""
    return value[:LONGEST_TEXT] if isinstance(value, str) else value


def short_texts(value: object) -> dict[str, Any]:
    """A mapping with its own texts cut; an empty one for anything else."""
    return {key: short(inner) for key, inner in value.items()} if isinstance(value, Mapping) else {}


def too_long(value: object) -> bool:
    """Whether a value is a text that would be cut."""
    return isinstance(value, str) and len(value) > LONGEST_TEXT


def shown(value: object) -> str:
    """How a message shows a value: the beginning of a text, the type of anything that may be large."""
    return repr(value[:60]) if isinstance(value, str) else type(value).__name__


def mapping_of(value: object) -> Mapping[str, Any]:
    """A value that should be a mapping; an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def list_of(value: object) -> list[Any]:
    """A value that should be a list; an empty one for anything else."""
    return value if isinstance(value, list) else []


def is_string(value: object) -> TypeGuard[str]:
    """Whether a value is text."""
    return isinstance(value, str)
