"""Logs of a server process: lines of text or of JSON, each with the number of its request, and without secrets."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from server.remote.redaction import Redacting
from server.settings import LogFormat, LogLevel
from server.work.trace import request_id


class _Numbered(logging.Filter):
    """Adds the number of the running request to each record."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "request"):
            record.request = request_id.get()
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """A record as JSON."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "request": getattr(record, "request", "-"),
        }
        # Of a record with fields they say it all; the message would only repeat them.
        fields = getattr(record, "fields", None)
        line |= {"message": record.getMessage()} if fields is None else fields
        if record.exc_text or record.exc_info:
            line["traceback"] = record.exc_text or self.formatException(record.exc_info)  # type: ignore[arg-type]
        return json.dumps(line, ensure_ascii=False, default=str)


def configure_logs(level: LogLevel, form: LogFormat) -> None:
    """Write this process's log to standard error, in place of whatever was set up before.

    Args:
        level: what is written at least, of libraries warnings at most; the access log has the level `info`.
        form: lines of text, or of JSON.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_Numbered())
    handler.addFilter(Redacting())
    if form == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(
            logging.Formatter("%(asctime)s.%(msecs)03d %(levelname)s %(request)s %(message)s", "%Y-%m-%dT%H:%M:%S")
        )
    logging.basicConfig(handlers=[handler], level=max(logging.WARNING, logging.getLevelName(level.upper())), force=True)
    logging.getLogger("clearsky").setLevel(level.upper())
