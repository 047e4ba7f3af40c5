"""A worker's watchdog: it ends the process if the worker does not end by itself.

Faust stops its services one after the other, and some wait forever: for a thread that is gone, for a broker that is
away. The watchdog is a plain thread that needs no event loop. Ending at any moment is safe: what is not in both stores
is read again.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable

from headrace.errors import HeadraceError

__all__ = ["END_S", "Watchdog"]

logger = logging.getLogger(__name__)

END_S = 12.0
"""How long a clean end may take, in seconds: less than the thirty that Kubernetes and our compose file wait before they
kill."""

_LOOK_S = 0.5
_SAY_S = 1.5
"""How long the last message may take, in seconds: its reader may have stopped reading."""
_STOPPED_S = 5.0
"""If a check comes this many seconds late, the whole process was stopped (SIGSTOP, a laptop asleep), and nothing
hangs."""


class Watchdog:
    """Ends the process if the worker does not end.

    Args:
        last_words: Reports why the worker ends, and returns the exit code; called at most once, and only if the process
            has to be ended.
        within_s: How long a clean end may take, in seconds.
    """

    def __init__(self, last_words: Callable[[HeadraceError], int], within_s: float = END_S) -> None:
        self._last_words = last_words
        self._within_s = within_s
        self._lock = threading.Lock()
        self._error: HeadraceError | None = None
        self._code: int | None = None
        self._deadline: float | None = None
        self._check: Callable[[], HeadraceError | None] | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def error(self) -> HeadraceError | None:
        """Why the worker ends; None if it was asked to, or does not end yet."""
        return self._error

    def watch(self, check: Callable[[], HeadraceError | None]) -> None:
        """Check the worker from now on.

        Args:
            check: Returns what the worker cannot recover from, if there is something; called twice a second in the
                watchdog's thread.
        """
        self._check = check
        self._start()

    def end(self, error: HeadraceError | None = None) -> None:
        """The worker begins to end; the first error is the one that is reported.

        Args:
            error: Why; None if it was asked to.
        """
        with self._lock:
            self._error = self._error or error
            if self._deadline is None:
                self._deadline = time.monotonic() + self._within_s
                if sys.__stderr__ is not None:
                    # If something keeps the interpreter's lock, this thread cannot run either: then C code ends the
                    # process.
                    faulthandler.dump_traceback_later(self._within_s + 2 * _SAY_S, exit=True, file=sys.__stderr__)
        self._start()

    def reported(self, code: int) -> None:
        """The reason was reported elsewhere, and the process ends with this code."""
        self._code = code
        self.end()

    def done(self) -> None:
        """The worker has ended, and the process continues."""
        self._over.set()
        with self._lock:
            if self._deadline is not None:
                faulthandler.cancel_dump_traceback_later()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="headrace-watchdog", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        looked = time.monotonic()
        while not self._over.wait(_LOOK_S):
            now = time.monotonic()
            held_up, looked = now - looked > _STOPPED_S, now
            if self._deadline is None:
                wrong = None if held_up or self._check is None else self._check()
                if wrong is not None:
                    self.end(wrong)
            elif held_up:
                self._deadline = max(self._deadline, now + _STOPPED_S)
            elif now >= self._deadline:
                self._end_process()

    def _end_process(self) -> None:
        saying = threading.Thread(target=self._say, daemon=True)
        saying.start()
        saying.join(_SAY_S)
        os._exit(self._exit_code())

    def _exit_code(self) -> int:
        if self._code is not None:
            return self._code
        return 0 if self._error is None else 1

    def _say(self) -> None:
        if self._code is None and self._error is not None:
            self._code = self._last_words(self._error)
        elif self._code is None:
            logger.warning(
                "The worker did not end cleanly within %g s, so its process ends now. No data is lost.", self._within_s
            )
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
