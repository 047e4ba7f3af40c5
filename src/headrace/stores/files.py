"""Whether a store's files are still the ones that a process has open."""

from __future__ import annotations

from pathlib import Path

__all__ = ["store_files"]


def store_files(url: str) -> tuple[int, int] | None:
    """What tells the files of a store from those of a store that was made later in the same place.

    A process that keeps a store open compares this with what it was before it opened the store. A file that is open
    keeps its number, so no other file can have it meanwhile.

    Args:
        url: The store, as for `open_store`.

    Returns:
        The device and the number of an LMDB store's file; None if it is not there, and for stores on a server.
    """
    scheme, _, path = url.partition(":")
    if scheme != "lmdb":
        return None
    try:
        found = (Path(path) / "data.mdb").stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
