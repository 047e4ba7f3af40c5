"""A state in a local folder: each name is a file that people can read.

A write makes a draft, syncs it, and renames it over the file. It compares and swaps under a lock on the file `.lock` of
the folder, which other processes of this machine respect (and other machines, on a file system with locks). A process
that was killed leaves a draft at most, which the next write of the name replaces.

The version is made of the file's time of change, size and inode. The time of change always grows from one write to the
next, so no version returns.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from headrace.state.base import ABSENT, State, StateConflictError, Stored, folders_and_name

__all__ = ["LocalState"]

_LOCK = ".lock"


@dataclass(frozen=True)
class LocalState(State):
    """Files below a folder.

    Attributes:
        root: The folder; the first write creates it.
    """

    root: Path

    def read(self, name: str) -> Stored | None:
        try:
            with self._path(name).open("rb") as file:
                return Stored(file.read(), _version(os.fstat(file.fileno())))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def version(self, name: str) -> str | None:
        found = _stat(self._path(name))
        return None if found is None else _version(found)

    def write(self, name: str, data: bytes, *, expected: str | None = None, is_secret: bool = False) -> str:
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.parent):
            before = _expect(path, expected)
            draft = path.with_name(f".{path.name}.draft")
            try:
                draft.unlink(missing_ok=True)
                with open(
                    os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if is_secret else 0o666), "wb"
                ) as file:
                    file.write(data)
                    now = max(time.time_ns(), 0 if before is None else before.st_mtime_ns + 1)
                    file.flush()
                    os.utime(file.fileno(), ns=(now, now))
                    os.fsync(file.fileno())
                    version = _version(os.fstat(file.fileno()))
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)  # it exists only if the rename did not happen
            _sync_folder(path.parent)
        return version

    def delete(self, name: str, *, expected: str | None = None) -> bool:
        path = self._path(name)
        if expected is None and _stat(path) is None:
            return False
        with _locked(path.parent):
            if _expect(path, expected) is None:
                return False
            path.unlink()
            _sync_folder(path.parent)
        return True

    def names(self, folder: str = "") -> list[str]:
        try:
            found = list(os.scandir(self._path(folder) if folder else self.root))
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(one.name for one in found if one.is_file() and not one.name.startswith("."))

    def place(self, name: str) -> str:
        return str(self._path(name))

    def _path(self, name: str) -> Path:
        return self.root.joinpath(*folders_and_name(name))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / _LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _version(found: os.stat_result) -> str:
    return f"{found.st_mtime_ns:x}-{found.st_size:x}-{found.st_ino:x}"


def _expect(path: Path, expected: str | None) -> os.stat_result | None:
    found = _stat(path)
    if expected is not None and expected != (ABSENT if found is None else _version(found)):
        msg = f"{path} was changed by another process."
        raise StateConflictError(msg)
    return found


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)  # the name, too
    finally:
        os.close(folder)
