"""Esri's raster function templates (`.rft.xml`): what one says about *Stepwise Local Radiometric Adjustment*."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException, DTDForbidden
from defusedxml.ElementTree import fromstring
from pydantic import ValidationError

from algorithms.reclassify import Remap
from algorithms.removal import CloudRemoval
from server.errors import RecipeError

TEMPLATE_BYTES: Final = 1 << 22
"""Largest template; a thumbnail inside takes most of a large one."""

_TYPE: Final = "{http://www.w3.org/2001/XMLSchema-instance}type"

# The first that occurs in an argument's name says what it is: `buffer_mask` is a buffer, not a mask.
_ROLES: Final = (
    ("replac", "replacement"), ("buffer", "buffer"), ("window", "window"), ("mask", "mask"),
    ("target", "target"), ("raster", "target"),
)  # fmt: skip
_OURS: Final = ("pythonmodule", "classname")


@dataclass(slots=True)
class Template:
    """What a template says about SLRA."""

    file: str
    """Its name, for messages."""
    title: str = ""
    """The template's name."""
    target: str | None = None
    """Raster of the argument, where it has a value."""
    replacement: str | None = None
    """Likewise."""
    mask: str | None = None
    """Likewise."""
    remap: Remap | None = None
    """Remap string of a function between the mask raster and SLRA."""
    window: int | None = None
    """Size of window."""
    buffer: int | None = None
    """Buffer steps."""
    notes: list[str] = field(default_factory=list)
    """What could not be converted, or was converted in a way worth knowing."""


def _plain(text: str | None) -> str:
    return re.sub(r"[^a-z0-9]", "", (text or "").lower())


def _parse(file: Path) -> Element:
    with file.open("rb") as source:
        content = source.read(TEMPLATE_BYTES + 1)
    if len(content) > TEMPLATE_BYTES:
        raise RecipeError(f"{file}: more than {TEMPLATE_BYTES} bytes; save the template without its thumbnail")
    try:
        root: Element = fromstring(content, forbid_dtd=True)
    except DefusedXmlException as error:
        what = "a document type" if isinstance(error, DTDForbidden) else "entities"
        raise RecipeError(f"{file}: declares {what}, which no template needs; remove the declaration") from error
    except ParseError as error:
        raise RecipeError(f"{file}:{error.position[0]}: not XML: {error}; export the template as .rft.xml") from error
    except (ValueError, LookupError) as error:
        raise RecipeError(f"{file}: not XML: {error}; save the template as UTF-8") from error
    for element in root.iter():
        element.tag = str(element.tag).rpartition("}")[2]
    return root


def _type(element: Element) -> str:
    return element.get(_TYPE, "").rpartition(":")[2]


def _is_function(element: Element) -> bool:
    return element.find("Function") is not None and element.find("Arguments") is not None


def _arguments(function: Element, file: str) -> dict[str, Element]:
    """Arguments by name, from a list of names and one of values, or from pairs of key and value."""
    box = function.find("Arguments")
    assert box is not None  # noqa: S101  (see _is_function)
    names = [(name.text or "").strip() for name in box.findall("Names/String")]
    values = box.findall("Values/*")
    if len(names) != len(values):
        raise RecipeError(
            f"{file}: {_title(function)!r} has {len(names)} argument names and {len(values)} values; "
            "export the template again"
        )
    found = dict(zip(names, values, strict=True))
    for pair in [*box.findall("PropertySetProperty"), *box.findall("PropertyArray/PropertySetProperty")]:
        value = pair.find("Value")
        if value is not None:
            found[(pair.findtext("Key") or "").strip()] = value
    return found


def _title(function: Element) -> str:
    return (function.findtext("Function/Name") or function.findtext("Name") or "").strip()


def _value(element: Element) -> Element | None:
    """The value itself, out of any variables around it."""
    inner: Element | None = element
    while inner is not None and _type(inner) == "RasterFunctionVariable":
        inner = inner.find("Value")
    return inner


def _text(element: Element) -> str | None:
    inner = _value(element)
    return (inner.text or "").strip() or None if inner is not None else None


def _numbers(element: Element) -> list[float]:
    inner = _value(element)
    words = [] if inner is None else re.split(r"[\s,;]+", " ".join(part.strip() for part in inner.itertext()))
    return [float(word) for word in words if word]


def _raster(element: Element) -> str | None:
    """Path or address of a raster, where the value has one."""
    inner = _value(element)
    if inner is None:
        return None
    if len(inner) == 0:
        return (inner.text or "").strip() or None
    if url := inner.findtext(".//URL") or inner.findtext(".//Url"):
        return url.strip()
    folder, name = inner.findtext(".//PathName"), inner.findtext("Name")
    if not name:
        return None
    separator = "\\" if "\\" in (folder or "") else "/"
    return f"{folder.rstrip(separator)}{separator}{name}" if folder else name


def _is_slra(arguments: dict[str, Element], function: Element) -> bool:
    words = [_title(function), *(_text(value) or "" for name, value in arguments.items() if _plain(name) in _OURS)]
    return any("stepwiselocalradiometricadjustment" in _plain(word) for word in words)


def _whole(text: str, name: str, option: str, file: str) -> int:
    """A number for one of the algorithm's options."""
    try:
        number = float(text)
        value = getattr(CloudRemoval.model_validate({option: number}), option)
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise RecipeError(f"{file}: {name}={text!r}: {message}; correct the template") from error
    except (ValueError, OverflowError) as error:
        raise RecipeError(f"{file}: {name}={text!r} is not a whole number; correct the template") from error
    return int(value)


def _table(ranges: list[float], outputs: list[float]) -> str:
    """A remap string from ArcGIS's ranges, whose upper ends do not belong to them, for whole classes."""
    entries = []
    for low, high, value in zip(ranges[::2], ranges[1::2], outputs, strict=True):
        first, last = math.ceil(low), math.ceil(high) - 1 if high > low else math.floor(high)
        if last >= first:
            entries.append(f"{first} {value:g}" if first == last else f"{first} {last} {value:g}")
    return ";".join(entries)


def _remap(arguments: dict[str, Element], template: Template) -> Remap | None:
    """The remap string of a Remap or Reclassify function."""
    plain = {_plain(name): value for name, value in arguments.items()}
    strings = [text for name, value in plain.items() if name in ("remap", "remapstring") and (text := _text(value))]
    try:
        if strings:
            remap = strings[0]
        elif "inputranges" in plain and "outputvalues" in plain:
            remap = _table(_numbers(plain["inputranges"]), _numbers(plain["outputvalues"]))
            unmatched = plain.get("allowunmatched")
            if unmatched is not None and (_text(unmatched) or "").lower() == "true":
                template.notes.append("values that the remap table does not list count as clear here")
        else:
            return None
        return Remap(remap)
    except (ValueError, OverflowError) as error:
        raise RecipeError(f"{template.file}: the mask's remap table: {error}; correct the template") from error


def _leaf(element: Element, role: str, template: Template) -> str | None:
    """The raster below a chain of functions; of the functions only a remap of the mask can be kept."""
    inner = _value(element)
    while inner is not None and _is_function(inner):
        arguments = _arguments(inner, template.file)
        remap = _remap(arguments, template) if role == "mask" else None
        if remap and template.remap is None:
            template.remap = remap
        else:
            template.notes.append(f"the function {_title(inner)!r} on the {role} raster was not converted")
        rasters = [value for name, value in arguments.items() if "raster" in _plain(name)]
        inner = _value(rasters[0]) if len(rasters) == 1 else None
    return _raster(inner) if inner is not None else None


def _functions(root: Element) -> Iterator[Element]:
    return (element for element in root.iter() if _is_function(element))


def read_template(file: Path) -> Template:
    """Read a template.

    Raises:
        RecipeError: not XML, with declarations that could be an attack, without SLRA, or with values out of range.
    """
    root = _parse(file)
    template = Template(str(file), title=(root.findtext("Name") or "").strip())
    found = [(f, _arguments(f, template.file)) for f in _functions(root)]
    ours = [(function, arguments) for function, arguments in found if _is_slra(arguments, function)]
    if not ours:
        names = ", ".join(repr(_title(function)) for function, _ in found) or "no function at all"
        raise RecipeError(
            f"{file}: has no Stepwise Local Radiometric Adjustment but {names}; convert the template that has it"
        )
    function, arguments = ours[0]
    if function is not root:
        template.notes.append(f"the functions around it ({_title(root)!r}) were not converted")
    seen: set[str] = set()
    for name, value in arguments.items():
        word = _plain(name)
        role = next((role for sign, role in _ROLES if sign in word), None)
        if word in _OURS:
            continue
        if role is None or role in seen:
            template.notes.append(f"the argument {name!r} was not converted")
            continue
        seen.add(role)
        if role in ("window", "buffer"):
            if (text := _text(value)) is not None:
                setattr(template, role, _whole(text, name, role, template.file))
        else:
            setattr(template, role, _leaf(value, role, template))
    return template
