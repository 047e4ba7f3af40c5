"""One at a time may put a table's files in order: compact, vacuum, erase. Appends and readers need not ask.

The lock is a file beside the table. It also holds the names of the files that are being written and not committed yet, so that whoever comes
after one that was killed removes what it left: an erasure must find every file that may hold a row.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace.errors import LogUnavailableError
from headrace.log.delta import open_table

__all__ = ["Unfinished", "upkeep"]

_LOOK_S = 0.05


class Unfinished:
    """The files that are being written and not committed yet.

    Args:
        table: The table's folder.
        lock: The lock's file, which is held.
    """

    def __init__(self, table: Path, lock: int) -> None:
        self._table = table
        self._lock = lock
        self._paths: list[str] = self._read()
        if self._paths:
            self.remove()

    def add(self, path: str) -> None:
        """Note a file before it is written.

        Args:
            path: Its path below the table's folder.
        """
        self._paths.append(path)
        self._write()

    def settle(self) -> None:
        """Everything noted has been committed."""
        self._paths.clear()
        self._write()

    def remove(self) -> None:
        """Remove what was noted and no version of the table has."""
        delta = open_table(self._table)
        live = set() if delta is None else {Path(uri).name for uri in delta.file_uris()}
        for path in self._paths:
            if Path(path).name not in live:
                (self._table / path).unlink(missing_ok=True)
        self.settle()

    def _read(self) -> list[str]:
        try:
            found = json.loads(os.pread(self._lock, os.fstat(self._lock).st_size, 0) or b"[]")
        except ValueError:  # cut short while it was noted: its file was not begun
            return []
        return [path for path in found if isinstance(path, str)]

    def _write(self) -> None:
        data = json.dumps(self._paths).encode()
        os.pwrite(self._lock, data, 0)
        os.ftruncate(self._lock, len(data))


@contextmanager
def upkeep(table: Path, *, wait_s: float) -> Iterator[Unfinished]:
    """Be the only one who puts a table's files in order.

    Args:
        table: The table's folder.
        wait_s: How long to wait for another to end, in seconds.

    Yields:
        Where files are noted before they are written.

    Raises:
        LogUnavailableError: Another is at it.
    """
    try:
        lock = os.open(table.parent / f".{table.name}.upkeep", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        msg = f"The log at {table} cannot be put in order: {error}."
        raise LogUnavailableError(msg, hint="See that its folder is writable.") from error
    try:
        _take(lock, table, time.monotonic() + wait_s)
        unfinished = Unfinished(table, lock)
        try:
            yield unfinished
        except BaseException:
            unfinished.remove()
            raise
    finally:
        os.close(lock)


def _take(lock: int, table: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                msg = f"The files of {table} are just being compacted, vacuumed or erased from by another."
                raise LogUnavailableError(msg, hint="Try again in a moment.") from error
        time.sleep(_LOOK_S)
