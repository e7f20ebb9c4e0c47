"""Packages of the extra `notebook`, which are imported where they are asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from server.errors import MissingPackageError


def extra_package(name: str) -> Any:
    """A package of the extra.

    Raises:
        MissingPackageError: it, or one that it needs, is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        lacking = "" if error.name == name else f" needs {error.name}, which"
        raise MissingPackageError(
            f"{name}{lacking} is not installed: pip install {error.name or name}, or pip install 'clearsky[notebook]'"
        ) from error
