"""LMDB environments, one per folder and process: an application may make two clients, and LMDB opens a folder once."""

from __future__ import annotations

import fcntl
import logging
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import lmdb

from headrace.errors import StoreDamagedError, StoreLockedError, StoreMissingError, StoreUnavailableError

__all__ = [
    "REBUILD",
    "Environment",
    "close_environment",
    "lock_folder",
    "move_aside",
    "open_environment",
    "writable_hint",
]

_MAP_SIZE = 1 << 40
"""Address space, not disk: the file grows as it is used."""

_DATABASES = (b"records", b"positions", b"journal", b"meta")

_log = logging.getLogger(__name__)

REBUILD = "Run `headrace stream --rebuild`: a new store is filled from the log, and nothing is lost."


@dataclass
class Environment:
    """An open environment.

    Attributes:
        env: LMDB's environment.
        databases: Its databases: records, positions, journal, meta.
        writable: Whether it was opened to write.
        users: How many stores share it.
    """

    env: Any
    databases: tuple[Any, Any, Any, Any]
    writable: bool
    users: int = 1


_open: dict[Path, Environment] = {}
_guard = threading.Lock()


def open_environment(path: Path, *, writable: bool) -> Environment:
    """Open an environment, or share the one this process has.

    Args:
        path: Its folder.
        writable: Whether to write.

    Returns:
        The environment; give it back with `close_environment`.

    Raises:
        StoreMissingError: There is no store there yet.
        StoreUnavailableError: Its files cannot be used.
        StoreLockedError: This process has it open to read only.
        StoreDamagedError: The files are not a store, or are cut short.
    """
    key = path.resolve()
    with _guard:
        shared = _open.get(key)
        if shared is None:
            shared = _open[key] = _new_environment(path, writable=writable)
        elif writable and not shared.writable:
            msg = f"This process already reads the store at {path}."
            raise StoreLockedError(msg, hint="Close its FeatureClient before starting a worker in the same process.")
        else:
            shared.users += 1
        return shared


def close_environment(path: Path, environment: Environment) -> None:
    """Give an environment back; the last one to do so closes it."""
    with _guard:
        environment.users -= 1
        if environment.users == 0:
            del _open[path.resolve()]
            environment.env.close()


def lock_folder(path: Path) -> IO[str]:
    """Lock a store's folder for the one process that writes; the lock ends when the file is closed.

    Raises:
        StoreUnavailableError: The folder cannot be written.
        StoreLockedError: Another process has the lock.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle = (path / "worker.lock").open("a+", encoding="utf-8")
    except OSError as error:
        msg = f"The store's folder {path} cannot be written: {error}."
        raise StoreUnavailableError(msg, hint=writable_hint()) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.seek(0)
        holder = handle.read().strip() or "unknown"
        handle.close()
        hint = 'LMDB serves one worker: stop that one, or scale out on Redis (`store = "redis://…"` in headrace.toml).'
        msg = f"Another worker (process {holder}) writes the store at {path}."
        raise StoreLockedError(msg, hint=hint) from None
    handle.seek(0)
    handle.truncate()
    handle.write(str(os.getpid()))
    handle.flush()
    return handle


def move_aside(path: Path, error: StoreDamagedError) -> None:
    """Move a damaged store to another folder beside it, so that a new one can be made."""
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    _log.warning("%s It was moved to %s; a new one is filled from the log.", error.what, aside)
    path.rename(aside)


def _new_environment(path: Path, *, writable: bool) -> Environment:
    env: Any = None
    try:
        # Commits are not synced one by one; readahead is off because records are small and looked up at random.
        env = lmdb.open(
            str(path),
            map_size=_MAP_SIZE,
            max_dbs=4,
            sync=False,
            readonly=not writable,
            readahead=False,
            max_readers=1024,
        )
        _refuse_cut_short(path, env)
        records, positions, journal, meta = (env.open_db(name, create=writable) for name in _DATABASES)
    except BaseException as error:
        if env is not None:
            env.close()
        if not isinstance(error, lmdb.Error | OSError):
            raise
        raise _translated(path, error) from error
    return Environment(env, (records, positions, journal, meta), writable)


def _translated(path: Path, error: Exception) -> StoreDamagedError | StoreUnavailableError:
    if isinstance(error, lmdb.InvalidError | lmdb.CorruptedError | lmdb.VersionMismatchError):
        return StoreDamagedError(f"The store at {path} is damaged: {error}.", hint=REBUILD)
    if isinstance(error, lmdb.NotFoundError | lmdb.ReadonlyError):
        return StoreMissingError(
            f"The store at {path} is still empty.", hint="Start a worker with `headrace stream`; it fills the store."
        )
    return StoreUnavailableError(f"The store at {path} cannot be opened: {error}.", hint=writable_hint())


def writable_hint() -> str:
    """What to do about a folder that cannot be written."""
    return "Check that the disk has room and the folder is writable, or set `state` in headrace.toml to another one."


def _refuse_cut_short(path: Path, env: Any) -> None:
    """A file shorter than its pages would end the process with SIGBUS at the first read of a missing page.

    LMDB may leave unused pages at the end unwritten, so a short file need not be damaged. A child process reads
    everything to find out.
    """
    pages = env.info()["last_pgno"] + 1
    if (path / "data.mdb").stat().st_size >= pages * env.stat()["psize"]:
        return
    read_all = (
        "import lmdb, sys\n"
        "env = lmdb.open(sys.argv[1], readonly=True, lock=False, max_dbs=4)\n"
        "with env.begin() as txn:\n"
        "    for name, _ in list(txn.cursor()):\n"
        "        for _ in txn.cursor(env.open_db(name, txn=txn)): pass\n"
    )
    child = subprocess.run([sys.executable, "-c", read_all, str(path)], capture_output=True, check=False)  # noqa: S603 our own code
    if child.returncode != 0:
        msg = f"The store file {path / 'data.mdb'} is cut short."
        raise StoreDamagedError(msg, hint=REBUILD)
