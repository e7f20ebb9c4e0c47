"""What stands between the network and the routes, from the inside out."""

from __future__ import annotations

from typing import Final

from fastapi import FastAPI

from server.http.bodies import BoundedBodies
from server.http.claims import Claims
from server.http.compression import CompressedText
from server.http.failsafe import Failsafe
from server.http.head import HeadAsGet
from server.http.queries import CheckedQueries
from server.http.stuck import StuckThreads
from server.settings import Settings
from server.work.activity import Activity

BODY_SECONDS: Final = 30.0
"""Time for a body to arrive."""


def add_guards(app: FastAPI, settings: Settings, stuck: StuckThreads, activity: Activity) -> None:
    """Add the middleware that bounds requests and completes answers; each runs before the one above it.

    Args:
        app: The application, with its own middleware added.
        settings: The operator's bounds.
        stuck: Threads whose requests were given up.
        activity: The requests under way.
    """
    app.add_middleware(CheckedQueries)
    app.add_middleware(Claims, timeout=settings.request_timeout, stuck=stuck, activity=activity)
    app.add_middleware(BoundedBodies, most=settings.max_body_bytes, seconds=min(BODY_SECONDS, settings.request_timeout))
    app.add_middleware(CompressedText)
    app.add_middleware(HeadAsGet)
    app.add_middleware(Failsafe)
