"""Failures of transforms: counted by column, and logged without flooding the log."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from headrace.transforms.row_isolation import Made

__all__ = ["ColumnFailures", "Failures", "failures_summary"]

logger = logging.getLogger(__name__)

_QUIET_S = 60.0
"""How long no further warning is logged for a column."""
_SEVERAL = 3
"""An expression is broken if it failed on all events, and those were at least this many."""
_FRAMES = 2
"""How many of the innermost calls a message shows of where a function failed."""


@dataclass
class ColumnFailures:
    """How often a column could not be computed.

    Attributes:
        what: What computes it: an expression or a udf.
        is_function: Whether it is a udf.
        events: How many events it was computed for.
        failed: How many of those failed; they get nulls.
        error: The last error; None if it never failed.
    """

    what: str
    is_function: bool = False
    events: int = 0
    failed: int = 0
    error: Exception | None = None

    @property
    def is_broken(self) -> bool:
        """Whether the definition is wrong rather than some events.

        A function is broken if it fails on most events: it may have a mistake anywhere. An expression compiled, so its
        failures come from values: it is broken if it fails on all of several events.
        """
        if self.is_function:
            return 2 * self.failed > self.events
        return self.failed == self.events >= _SEVERAL

    @property
    def reason(self) -> str:
        """The last error, in one line."""
        return "" if self.error is None else _one_line(self.error)


class Failures:
    """Counts the failures of a view's transforms, and logs warnings.

    Args:
        view: The view's name.
        monotonic: A clock in seconds.
        warns: Whether to log warnings.
    """

    def __init__(self, view: str, monotonic: Callable[[], float] = time.monotonic, *, warns: bool = True) -> None:
        self._view = view
        self._warns = warns
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._columns: dict[str, ColumnFailures] = {}
        self._quiet_until: dict[str, float] = {}

    def note(self, column: str, what: str, made: Made, *, is_function: bool) -> None:
        """Count a column that was computed for some events."""
        failed = 0 if made.failed is None else int(made.failed.sum())
        with self._lock:
            noted = self._columns.setdefault(column, ColumnFailures(what, is_function))
            noted.events += len(made.array)
            noted.failed += failed
            if not failed:
                return
            noted.error = made.error or noted.error
            now = self._monotonic()
            if not self._warns or now < self._quiet_until.get(column, now):
                return
            self._quiet_until[column] = now + _QUIET_S
            counts = (noted.failed, noted.events, noted.reason)
        logger.warning("%s.%s: %s failed on %d of %d events, which get nulls: %s", self._view, column, what, *counts)

    def by_column(self) -> dict[str, ColumnFailures]:
        """The columns that failed on any event."""
        with self._lock:
            return {name: noted for name, noted in self._columns.items() if noted.failed}


def failures_summary(by_view: Mapping[str, Mapping[str, ColumnFailures]]) -> dict[str, dict[str, Any]]:
    """Failures for JSON: by ``view.column``, what failed on how many of how many events, and the last reason."""
    return {
        f"{view}.{column}": {
            "what": noted.what,
            "failed": noted.failed,
            "events": noted.events,
            "reason": noted.reason,
            "broken": noted.is_broken,
        }
        for view, columns in by_view.items()
        for column, noted in columns.items()
    }


def _one_line(error: Exception) -> str:
    """An error and where it came from, in one line, as log collectors need it."""
    text = str(error).strip()
    what = f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)][-_FRAMES:]
    where = "; ".join(f"{frame.filename}:{frame.lineno} in {frame.name}: {frame.line}" for frame in reversed(frames))
    return f"{what} (at {where})" if where else what


def _is_users(filename: str) -> bool:
    path = filename.replace("\\", "/")
    return "/headrace/transforms/" not in path and "/site-packages/" not in path
