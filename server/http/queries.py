"""ASGI middleware that checks every query before anything reads it."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from algorithms.errors import ClearSkyError, ParameterError
from server.errors import QueryTooLongError
from server.http.asgi import Receive, Scope, Send, below_root, respond
from server.http.checks import Values, check_values
from server.http.statuses import error_response

LONGEST_QUERY: Final = 65_536
"""Bytes of a query string: 64 sources of 1,000 characters."""
MOST_PARAMETERS: Final = 4096
PAGES: Final = ("/viewer", "/assets/")
"""Paths whose queries the server does not read: the page's own state, which its script puts right."""


def checked_query(query: bytes) -> bytes:
    """The query with every value checked, and with CRS in their canonical form.

    Raises:
        QueryTooLongError, ParameterError: with the parameter, its value and the remedy.
    """
    if len(query) > LONGEST_QUERY:
        raise QueryTooLongError(f"the query has {len(query)} bytes; up to {LONGEST_QUERY} are accepted")
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
    except ValueError as error:
        raise ParameterError(f"the query has more than {MOST_PARAMETERS} parameters; give fewer") from error
    named: dict[str, Values] = {}
    for name, value in pairs:
        named.setdefault(name, []).append(value)
    passed = {name: check_values(name, values) for name, values in named.items()}
    if passed == named:
        return query
    return urlencode([(name, value) for name, values in passed.items() for value in values]).encode()


class CheckedQueries:
    """Refuses queries that would harm or confuse; passes on what was checked."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the query, then run the request."""
        if scope["type"] == "http" and scope["query_string"] and not below_root(scope).startswith(PAGES):
            try:
                scope = scope | {"query_string": checked_query(scope["query_string"])}
            except ClearSkyError as error:
                await respond(error_response(error), scope, receive, send)
                return
        await self.app(scope, receive, send)
