"""Whether the machine went down while a worker had a store open: then commits may be on disk in part."""

from __future__ import annotations

import os
from pathlib import Path

from headrace.errors import StoreDamagedError, StoreUnavailableError
from headrace.stores.lmdb.environment import REBUILD, writable_hint

__all__ = ["BOOT_ID", "BootMark"]

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Linux's name for the machine's current boot. Where there is no such file, nothing is noted."""


class BootMark:
    """A file beside the store that says in which boot of the machine it was opened.

    A worker that is killed leaves the file. What that worker wrote is safe in the kernel; only a machine that goes
    down loses it.

    Args:
        folder: The store's folder.
        boot_id: The file that names the machine's current boot.
    """

    def __init__(self, folder: Path, boot_id: Path = BOOT_ID) -> None:
        self._file = folder / "open-since"
        self._boot_id = boot_id

    def begin(self) -> None:
        """Note that the store is open.

        Raises:
            StoreDamagedError: It was, when the machine went down.
            StoreUnavailableError: The folder cannot be written.
        """
        try:
            now = self._boot_id.read_text(encoding="ascii").strip() if self._boot_id.exists() else ""
            before = self._file.read_text(encoding="ascii").strip() if self._file.exists() else now
            if before != now:
                msg = (
                    f"The machine went down, or was another one, while a worker had the store at {self._file.parent} "
                    "open: commits may be there in part."
                )
                raise StoreDamagedError(msg, hint=REBUILD)
            if now:
                with self._file.open("w", encoding="ascii") as file:
                    file.write(now)
                    file.flush()
                    os.fsync(file.fileno())
                _sync_folder(self._file.parent)
        except OSError as error:
            msg = f"The store's folder {self._file.parent} cannot be written: {error}."
            raise StoreUnavailableError(msg, hint=writable_hint()) from error

    def end(self) -> None:
        """Note that everything is on disk."""
        self._file.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
