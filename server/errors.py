"""The server's branches of the tree of errors; `server.http.statuses` maps every error to an HTTP status.

Five branches below `ClearSkyError`: bad input (`InputError`, also a `ValueError`), sources that cannot be read, work
that is given up, files that cannot be written, and packages that are not installed.
"""

from __future__ import annotations

from algorithms.errors import ClearSkyError, InputError


class DocumentError(InputError):
    """A YAML or JSON file that cannot be read; names file, line and remedy."""


class RecipeError(InputError):
    """A recipe that cannot be used; every problem names file, line, value and remedy."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class RecipeMissingError(InputError):
    """A recipe that does not exist."""


class TooLargeError(InputError):
    """More than is sent or read at once: what it is, without the remedy, is `excess`."""

    def __init__(self, excess: str, remedy: str = "") -> None:
        super().__init__(f"{excess}; {remedy}" if remedy else excess)
        self.excess = excess


class BodyTooLargeError(TooLargeError):
    """A request whose body is longer than the server reads."""


class QueryTooLongError(TooLargeError):
    """A request whose query is longer than the server reads."""


class BodyTimeoutError(InputError):
    """A request whose body does not arrive in time."""


class ClusterError(InputError):
    """A cluster that cannot be used, or fails."""


class SourceError(ClearSkyError):
    """A dataset that cannot be read."""


class SourceForbiddenError(SourceError):
    """A dataset that the allow-list does not admit."""


class SourceMissingError(SourceError):
    """A dataset that does not exist."""


class SourceUnreadableError(SourceError):
    """A dataset that exists but has no readable format."""


class SourceDeniedError(SourceForbiddenError):
    """A dataset that its own server refuses to send."""


class SourceFaultError(SourceError):
    """A dataset whose server fails, or whose content is damaged."""


class SourceTimeoutError(SourceFaultError):
    """A dataset whose server does not send in time."""


class SourceBusyError(SourceFaultError):
    """A dataset whose server does not answer, while enough requests wait for it already."""


class SourceChangedError(SourceFaultError):
    """A dataset that changed while it was read."""


class CancelledWorkError(ClearSkyError):
    """Work that is given up before it is done."""


class AbandonedError(CancelledWorkError):
    """A request whose client has gone."""


class OverdueError(CancelledWorkError):
    """A request that takes longer than the operator allows."""


class BusyError(CancelledWorkError):
    """A request for which no thread is free."""


class ShutdownError(CancelledWorkError):
    """Work that a server which is stopping no longer begins."""


class UnwritableError(ClearSkyError):
    """A file that cannot be written."""


class MissingPackageError(ClearSkyError, ImportError):
    """A package that is not installed; the message says how it is."""
