"""The access log: one JSON object per line for each request, without values and without tokens."""

from __future__ import annotations

import json
import logging
import logging.handlers
import sys
from pathlib import Path
from typing import Any

from headrace.errors import ConfigError

__all__ = ["AccessLog", "access_log_of", "check_access_log"]


class AccessLog:
    """Writes the access log.

    A file that another tool moves away, as logrotate does, is opened again. Several processes may write one file.

    Args:
        handler: Where the lines go.
    """

    def __init__(self, handler: logging.Handler) -> None:
        handler.setFormatter(logging.Formatter("%(message)s"))
        self._handler = handler

    def write(self, line: dict[str, Any]) -> None:
        """Write one line.

        Args:
            line: What it says.
        """
        text = json.dumps(line, separators=(",", ":"))
        self._handler.handle(logging.LogRecord("headrace.access", logging.INFO, "", 0, text, None, None))

    def close(self) -> None:
        """Close the file."""
        self._handler.close()


def check_access_log(target: Path | None) -> None:
    """Refuse an access log that cannot be written, before a server starts.

    Args:
        target: `ServeSettings.access_log`.

    Raises:
        ConfigError: The file cannot be opened.
    """
    log = access_log_of(target, has_authentication=False)
    if log is not None:
        log.close()


def access_log_of(target: Path | None, *, has_authentication: bool) -> AccessLog | None:
    """The access log that the settings want.

    Args:
        target: `ServeSettings.access_log`.
        has_authentication: Whether callers must sign in.

    Returns:
        The log; None where none is wanted.

    Raises:
        ConfigError: The file cannot be opened.
    """
    if target == Path("none") or (target is None and not has_authentication):
        return None
    if target is None or target == Path("-"):
        return AccessLog(logging.StreamHandler(sys.stdout))
    try:
        return AccessLog(logging.handlers.WatchedFileHandler(target, encoding="utf-8"))
    except OSError as error:
        msg = f"The access log {target} cannot be written: {error.strerror}."
        raise ConfigError(
            msg, hint="Set `access_log` in [serve] to a file that can be written, '-' or 'none'."
        ) from error
