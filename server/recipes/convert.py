"""From a raster function template to a recipe."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from algorithms.options import ESRI_BUFFER, WHOLE_ADJUSTMENT
from algorithms.reclassify import MODEL_REMAP, reclassify
from server.analysis.clouds import NO_CLOUDS
from server.recipes.model import recipe_of
from server.recipes.rft import Template
from server.remote.signatures import shown_name
from server.work.document import write_values


def _unsigned(name: str | None) -> str | None:
    return shown_name(name) if name else name


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-").lower()[:64] or "recipe"


def _mask(template: Template, source: str | None, notes: list[str]) -> dict[str, Any]:
    if source:
        return {"source": source} | ({"remap": template.remap.text} if template.remap else {})
    notes.append("the template has no mask raster, so a cloud model finds the clouds; --mask names your own raster")
    if template.remap:
        classes = [[0, 1, 2]]
        if (reclassify(classes, template.remap) == reclassify(classes, MODEL_REMAP)).all():
            return {"model": "auto", "remap": template.remap.text}
        notes.append(
            f"the remap {template.remap.text!r} is for other classes than the model's (1 cloud, 2 shadow): left out"
        )
    return {"model": "auto"}


def write_recipe(
    template: Template,
    *,
    target: str | None = None,
    replacements: tuple[str, ...] = (),
    mask: str | None = None,
    name: str | None = None,
    exact: bool = False,
) -> tuple[str, list[str]]:
    """The recipe that does what a template does.

    Args:
        template: the template.
        target: cloudy raster instead of the template's.
        replacements: other dates instead of the template's.
        mask: raster of classes instead of the template's.
        name: the recipe's name.
        exact: write the settings of Esri's function.

    Returns:
        YAML with the notes as comments; and the notes. A raster nobody named is null, which `recipe check` reports.

    Raises:
        RecipeError: a name that cannot be one.
    """
    notes = list(template.notes)
    # Signatures do not last, and a recipe is passed on.
    target = _unsigned(target or template.target)
    others: list[str | None] = [*map(_unsigned, replacements)] or [_unsigned(template.replacement)]
    source = _unsigned(mask or template.mask)
    content: dict[str, Any] = {"name": name or _slug(template.title or Path(template.file).name.split(".")[0])}
    content |= {"title": template.title} if template.title else {}
    content |= {"target": target, "replacements": others, "mask": _mask(template, source, notes)}
    content |= {"window": template.window} if template.window is not None else {}
    buffer = ESRI_BUFFER if exact and template.buffer is None else template.buffer
    content |= {"buffer": buffer} if buffer is not None else {}
    if exact:
        content |= {"adjustment": WHOLE_ADJUSTMENT, "residual": False, "refine": False}
        content |= {"replacement_masks": [NO_CLOUDS]}
        notes.append("adjustment stepwise is for `clearsky export --recipe`; choose moment or regression for map tiles")
    else:
        notes.append("filled by regression with residual correction; --exact writes the settings of Esri's function")
        if source:
            notes.append("clouds of the replacements are looked for, which Esri's function does not do")
        if buffer is None:
            notes.append(f"Esri's function widens the mask by {ESRI_BUFFER} steps; this recipe's default is smaller")
    for key, value in (("target", target), ("replacements", others[0])):
        if value is None:
            notes.append(f"fill in `{key}`: the template leaves it open")
    notes += [f"{path!r} is a Windows path" for path in (target, *others, source) if path and "\\" in path]
    head = [f"Converted from {Path(template.file).name}", *notes]
    text = "".join(f"# {' '.join(line.split())}\n" for line in head) + write_values(content)
    filled = text.replace("target: null\n", "target: x\n").replace("- null\n", "- x\n")
    recipe_of(filled.encode(), Path(template.file), f"recipe from {template.file}")
    return text, notes
