"""Named places where a worker can be killed on purpose: what `make crash` proves the stream with.

`HEADRACE_FAILPOINT=after-log-append` kills the process with SIGKILL when it reaches that place, `after-log-append:3`
when it reaches it for the third time. `before-online-write:3:stop` stops it with SIGSTOP instead, like a machine that
hangs; continued later, it is a zombie. If the variable is not set, a failpoint costs one comparison.
"""

from __future__ import annotations

import os
import signal
import threading

from headrace.errors import ConfigError

__all__ = ["FAILPOINTS", "VARIABLE", "Failpoint", "arm", "reach"]

VARIABLE = "HEADRACE_FAILPOINT"
"""The environment variable that arms one."""

FAILPOINTS = (
    "before-online-write",
    "after-online-write",
    "before-log-append",
    "after-log-append",
    "before-store-sync",
    "after-store-sync",
    "before-offset-commit",
    "after-offset-commit",
    "during-rebalance",
)
"""The failpoints, in the order in which a round reaches them."""

_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class Failpoint:
    """A failpoint that has been armed.

    Args:
        setting: `name`, `name:times` or `name:times:kill|stop`.

    Attributes:
        name: Its name.
        left: How many more times it must be reached.
        signal: The signal that the process then gets.

    Raises:
        ConfigError: There is no failpoint of that name, or the setting cannot be parsed.
    """

    def __init__(self, setting: str) -> None:
        self.name, _, more = setting.partition(":")
        times, _, how = more.partition(":")
        if self.name not in FAILPOINTS:
            msg = f"${VARIABLE} is {setting!r}, and there is no failpoint {self.name!r}."
            raise ConfigError(msg, hint=f"Failpoints are: {', '.join(FAILPOINTS)}.")
        if (times and not (times.isdecimal() and int(times))) or (how or "kill") not in _SIGNALS:
            msg = f"${VARIABLE} is {setting!r}, which does not read."
            raise ConfigError(msg, hint="Write name, name:3 (the third time it is reached) or name:3:stop.")
        self.left = int(times or 1)
        self.signal = _SIGNALS[how or "kill"]
        self._lock = threading.Lock()

    def reach(self, name: str) -> None:
        """Count a time that a failpoint is reached; at the last one, end or stop this process."""
        if name == self.name:
            with self._lock:
                self.left -= 1
                is_time = self.left == 0
            if is_time:
                os.kill(os.getpid(), self.signal)


_armed: Failpoint | None = None


def arm(setting: str | None) -> None:
    """Arm the failpoint that a setting names, or none; a worker does this with the environment's when it starts.

    Args:
        setting: See `Failpoint`; None or nothing disarms.

    Raises:
        ConfigError: There is no such failpoint.
    """
    global _armed  # noqa: PLW0603 one per process, and an unarmed failpoint must cost nothing
    _armed = Failpoint(setting) if setting else None


def reach(name: str) -> None:
    """Say that the worker has reached a failpoint.

    Args:
        name: One of `FAILPOINTS`.
    """
    if _armed is not None:
        _armed.reach(name)
