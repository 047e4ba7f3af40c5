"""Writing a small file so that it is whole and on the disk, whatever happens meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["write_durably"]


def write_durably(path: Path, text: str) -> None:
    """Write a file in one step: readers see the old one or the new one, and after a power cut one of them is there; on return, the new one.

    Args:
        path: The file; its folder is there.
        text: What it is to hold.

    Raises:
        OSError: It cannot be written; the old one stays.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)  # it is only there where it did not become the file
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the name, too
    finally:
        os.close(folder)
