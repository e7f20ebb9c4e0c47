"""Routes that every application of a process has: made once, since making them takes a second or two."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Depends, FastAPI
from starlette.routing import BaseRoute

from server.http.nearmiss import warn_of_near_misses

EVERY_ROUTE: Final = (Depends(warn_of_near_misses),)
"""What runs before each route."""


def prepared_routes(*routers: tuple[APIRouter, str, str]) -> tuple[BaseRoute, ...]:
    """The routes of routers, each with its prefix and tag, for any number of applications.

    They find the application in the request. FastAPI's `include_router` analyses all of their parameters for each
    application afresh.
    """
    parent = APIRouter(dependencies=EVERY_ROUTE)
    for router, prefix, tag in routers:
        parent.include_router(router, prefix=prefix, tags=[tag])
    return tuple(parent.routes)


def add_prepared(app: FastAPI, routes: tuple[BaseRoute, ...]) -> None:
    """Add routes to an application, behind those that it has."""
    app.router.routes.extend(routes)
