"""A state in memory, for tests."""

from __future__ import annotations

import threading
from itertools import count

from headrace.state.base import ABSENT, State, StateConflictError, Stored, folders_and_name

__all__ = ["MemoryState"]


class MemoryState(State):
    """Bytes in a dictionary; threads may share it."""

    def __init__(self) -> None:
        self._stored: dict[str, Stored] = {}
        self._lock = threading.Lock()
        self._versions = count(1)

    def read(self, name: str) -> Stored | None:
        folders_and_name(name)
        return self._stored.get(name)

    def version(self, name: str) -> str | None:
        stored = self.read(name)
        return None if stored is None else stored.version

    def write(self, name: str, data: bytes, *, expected: str | None = None, is_secret: bool = False) -> str:
        del is_secret  # memory knows no owners
        folders_and_name(name)
        with self._lock:
            self._expect(name, expected)
            stored = Stored(bytes(data), str(next(self._versions)))
            self._stored[name] = stored
        return stored.version

    def delete(self, name: str, *, expected: str | None = None) -> bool:
        with self._lock:
            self._expect(name, expected)
            return self._stored.pop(name, None) is not None

    def names(self, folder: str = "") -> list[str]:
        above = (*folders_and_name(folder),) if folder else ()
        found = [folders_and_name(name) for name in list(self._stored)]
        return sorted(parts[-1] for parts in found if parts[:-1] == above)

    def place(self, name: str) -> str:
        return f"memory:{name}"

    def _expect(self, name: str, expected: str | None) -> None:
        if expected is not None and expected != (self.version(name) or ABSENT):
            msg = f"{name} was changed by another thread."
            raise StateConflictError(msg)
