"""The server's own errors; `server.http.statuses` maps every error to an HTTP status."""

from __future__ import annotations

from algorithms.errors import ClearSkyError


class SourceForbiddenError(ClearSkyError):
    """A dataset that the allow-list does not admit."""


class SourceMissingError(ClearSkyError):
    """A dataset that does not exist."""


class SourceUnreadableError(ClearSkyError):
    """A dataset that exists and cannot be read."""


class SourceDeniedError(SourceForbiddenError):
    """A dataset that its own server refuses to hand out."""


class SourceFaultError(ClearSkyError):
    """A dataset whose server fails, or whose content is damaged."""


class SourceTimeoutError(SourceFaultError):
    """A dataset whose server does not send in time."""


class SourceBusyError(SourceFaultError):
    """A dataset whose server does not answer, while enough requests wait for it already."""


class SourceChangedError(SourceFaultError):
    """A dataset that changed while it was read."""


class RecipeError(ClearSkyError):
    """A recipe that cannot be used; every problem names file, line, value and remedy."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class RecipeMissingError(ClearSkyError):
    """A recipe that is not there."""


class TooLargeError(ClearSkyError):
    """A request for more pixels than the server hands out at once."""


class AbandonedError(ClearSkyError):
    """A request whose client has gone."""


class OverdueError(ClearSkyError):
    """A request that takes longer than the operator allows."""
