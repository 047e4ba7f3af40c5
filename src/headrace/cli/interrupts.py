"""Ctrl-C at any moment: one line, exit code 130, no traceback.

While commands are imported there is nothing to clean up, so the process ends at once. (A KeyboardInterrupt inside the
import of a compiled module can be swallowed, or become an ImportError.) While a command works, KeyboardInterrupt is
raised as usual, so that brokers are stopped and files are closed. If the command is importing a module at that moment,
it is raised after the import.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

__all__ = ["INTERRUPTED", "end_at_once", "is_program", "raise_while_working"]

INTERRUPTED = 130
_AGAIN_S = 0.02


def is_program() -> bool:
    """Whether this process runs only the command line, and may be ended. A test that calls a command may not."""
    return signal.getsignal(signal.SIGINT) in (_end, _interrupt)


def end_at_once() -> None:
    """From now on, Ctrl-C ends the process at once. Where the parent process made it ignored, it stays ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return
    signal.signal(signal.SIGINT, _end)
    waited, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    if waited:  # Ctrl-C was pressed during an import; the alarm would come while the interpreter ends
        _end(signal.SIGALRM, None)


def raise_while_working() -> None:
    """From now on, Ctrl-C raises KeyboardInterrupt, if `end_at_once` was called before."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, _interrupt)


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if not _is_importing(frame):
        raise KeyboardInterrupt
    signal.signal(signal.SIGINT, _end)  # a second Ctrl-C does not wait for the import
    signal.signal(signal.SIGALRM, _interrupt)
    signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
