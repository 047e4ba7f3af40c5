"""Ctrl-C at any moment: one line, exit code 130, no traceback.

While commands are imported there is nothing to tidy up, so the process ends on the spot: raised inside the import of a compiled
module, a KeyboardInterrupt may be swallowed, or come out as an ImportError. While a command works, KeyboardInterrupt is raised
as ever, so that brokers are stopped and files closed; where the command is just importing something, once that is done.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

__all__ = ["INTERRUPTED", "end_at_once", "is_program", "raise_while_working"]

INTERRUPTED = 130
_AGAIN_S = 0.02


def is_program() -> bool:
    """Whether this process is the command line's own, which may be ended; not so in a test that calls a command."""
    return signal.getsignal(signal.SIGINT) in (_end, _interrupt)


def end_at_once() -> None:
    """From now on, Ctrl-C ends the process on the spot; where our parent has us ignore it, it stays ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return
    signal.signal(signal.SIGINT, _end)
    waited, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    if waited:  # it was pressed during an import, and the alarm would meet an interpreter that is ending
        _end(signal.SIGALRM, None)


def raise_while_working() -> None:
    """From now on, Ctrl-C raises KeyboardInterrupt; only where `end_at_once` was called before."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, _interrupt)


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if not _is_importing(frame):
        raise KeyboardInterrupt
    signal.signal(signal.SIGINT, _end)  # a second Ctrl-C means: do not wait
    signal.signal(signal.SIGALRM, _interrupt)
    signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
