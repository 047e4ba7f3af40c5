"""A worker's log: one line per message on standard error, with the time in UTC. Repeated messages are left out."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from headrace.cli.output import errors

__all__ = ["FloodFilter", "LineFormatter", "set_up_logging"]

_OURS = "headrace"
_WINDOW_S = 60.0
_OURS_AT_ONCE = 20
_REMEMBERED = 10_000
_NUMBER = re.compile(r"\d+")
_KEY_LENGTH = 120

_REPORTED_AT_THE_END = ("Crashed reason=", "Drain messages raised", "We experienced a crash!", "Error: %r")
"""Beginnings of mode's messages about an error that ends a worker. headrace reports it once, in its last line."""


class LineFormatter(logging.Formatter):
    """A record as one line: time, level, logger, message.

    Args:
        tracebacks: Whether tracebacks follow; otherwise an exception is its type and text.
    """

    def __init__(self, *, tracebacks: bool) -> None:
        super().__init__()
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = " ".join(f"{at} {record.levelname} {record.name}: {record.getMessage()}".split())
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return line
        if self._tracebacks and record.exc_info:
            return f"{line}\n{self.formatException(record.exc_info)}"
        return " ".join(f"{line}: {type(error).__name__}: {error}".split())


@dataclass
class _Seen:
    since: float
    let_through: int = 0
    held_back: int = 0


class FloodFilter(logging.Filter):
    """Holds back messages that are repeated (a broker that is away), and later says how many there were.

    Args:
        monotonic: A clock in seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._seen: dict[tuple[str, str], _Seen] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to print a message."""
        if record.name.partition(".")[0] != _OURS:
            return self._passes(record, (record.name, _NUMBER.sub("#", str(record.msg)[:_KEY_LENGTH])), 1)
        # Of headrace's own messages with one text and different values (dead letters), a few pass, and each once.
        if len(self._seen) > _REMEMBERED:
            self._seen.clear()
        same = self._passes(record, (record.name, record.getMessage()), 1)
        return same and self._passes(record, (record.name, str(record.msg)), _OURS_AT_ONCE)

    def _passes(self, record: logging.LogRecord, key: tuple[str, str], at_once: int) -> bool:
        now = self._monotonic()
        seen = self._seen.setdefault(key, _Seen(now))
        if now - seen.since >= _WINDOW_S:
            if seen.held_back:
                record.msg = f"{record.getMessage()} (and {seen.held_back:,} like it in {now - seen.since:.0f} s)"
                record.args = None
            seen = self._seen[key] = _Seen(now)
        if seen.let_through < at_once:
            seen.let_through += 1
            return True
        seen.held_back += 1
        return False


class _Lines(logging.Handler):
    """Writes lines without wrapping them. On a terminal they stay above the line that shows progress."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
            if errors.is_terminal:
                errors.print(line, soft_wrap=True, markup=False, highlight=False, emoji=False)
            else:
                sys.stderr.write(line + "\n")
        except Exception:
            self.handleError(record)


def set_up_logging(*, verbose: bool, ours: int = logging.INFO) -> None:
    """Log on standard error: headrace's messages, and warnings of libraries.

    Args:
        verbose: Whether to log everything, with tracebacks.
        ours: The lowest level of headrace's own messages.
    """
    handler = _Lines()
    handler.setFormatter(LineFormatter(tracebacks=verbose))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler], force=True)
    logging.getLogger(_OURS).setLevel(ours)
    if not verbose:
        handler.addFilter(_is_not_reported_at_the_end)
        handler.addFilter(FloodFilter())


def _is_not_reported_at_the_end(record: logging.LogRecord) -> bool:
    return not (
        record.name.partition(".")[0] in {"faust", "mode"}
        and record.levelno >= logging.ERROR
        and any(words in str(record.msg) for words in _REPORTED_AT_THE_END)
    )
