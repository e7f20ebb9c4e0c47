"""What `clearsky models` lists: every model, and what is wrong with the cards of those that cannot be used."""

from __future__ import annotations

import hashlib
from pathlib import Path

from algorithms.errors import ModelError
from algorithms.models import CloudModel, known_models
from server.models.folder import use_models


def model_lines(folder: Path | None) -> tuple[list[tuple[str, ...]], list[str]]:
    """A line of columns for each model, and one for everything that is wrong.

    Args:
        folder: of the operator's cards.
    """
    problems: list[str] = []
    use_models(None)
    try:
        use_models(folder)
    except ModelError as error:
        problems.append(f"no card of {str(folder)!r} is used: {error}")
    return [_line(model) for model in known_models().values()], problems


def _line(model: CloudModel) -> tuple[str, ...]:
    low, high = model.resolution
    return (
        model.id,
        ",".join(model.bands),
        model.level or "any level",
        f"{low:g}-{high:g} m",
        ",".join(model.classes),
        _state(model),
        model.licence,
    )


def _state(model: CloudModel) -> str:
    if not model.files:
        return "present (no file)"
    if not model.present:
        return f"missing: {model.remedy}"
    for file in model.files:
        found = hashlib.sha256(model.place(file).read_bytes()).hexdigest()
        if found != file.sha256:
            return f"damaged: {file.name} has sha256 {found[:16]}...; {model.remedy}"
    return "present, checksum fits"
