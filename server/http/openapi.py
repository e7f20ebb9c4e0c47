"""The errors in `/openapi.json`: the real answers, in place of what FastAPI and TiTiler suppose."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel, Field

PROBLEM: Final = "Problem"
"""Name of the model of every error's answer."""
SUPPOSED: Final = ("HTTPValidationError", "ValidationError")
"""FastAPI's models of a bad parameter, which no answer here uses."""
BAD_VALUE: Final = {"400": "A parameter or a dataset that cannot be used", "414": "A query that is too long"}
BAD_BODY: Final = {"408": "A body that does not arrive in time", "413": "A body that is too large"}
DATASET_ERRORS: Final = {
    "403": "A dataset that may not be read",
    "404": "A dataset that does not exist, or a place outside it",
    "502": "A dataset that is damaged, or whose server fails",
    "503": "The answer takes too long, or a dataset changed while it was read; try again",
    "504": "A dataset whose server does not send in time",
}
"""Statuses of routes that read datasets, and what they mean."""

PAGE_OR_JSON: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/json": {"schema": {"type": "object"}}}}
}
"""What pages answer to clients that do not ask for HTML, next to the page."""


class Problem(BaseModel):
    """The answer to a request that fails."""

    detail: str = Field(description="The value at fault and the remedy")


def declare_errors(app: FastAPI, datasets: tuple[str, ...]) -> None:
    """Let the application's OpenAPI document declare the errors that it answers.

    Args:
        app: the application.
        datasets: beginnings of the paths that read datasets.
    """
    supposed = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _correct(supposed(), datasets)
        return supposed()

    app.openapi = openapi  # type: ignore[method-assign]


def _correct(document: dict[str, Any], datasets: tuple[str, ...]) -> None:
    schemas = document["components"]["schemas"]
    for name in SUPPOSED:
        schemas.pop(name, None)
    schemas[PROBLEM] = Problem.model_json_schema()
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{PROBLEM}"}}}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            responses = operation["responses"]
            errors = BAD_VALUE if responses.pop("422", None) else {}
            if path.startswith(datasets):
                errors = BAD_VALUE | DATASET_ERRORS
            if "requestBody" in operation:
                errors = errors | BAD_BODY
            responses.update({code: {"description": text, "content": content} for code, text in errors.items()})
