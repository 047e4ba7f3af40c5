"""One import at a time on a machine: they share a folder for what waits."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from headrace.config import Project
from headrace.errors import IngestError

__all__ = ["only_import"]


@contextmanager
def only_import(project: Project) -> Iterator[None]:
    """Keep other imports of this machine out.

    Raises:
        IngestError: Another one is under way, or the folder cannot be written.
    """
    path = project.state / "log" / "_imports.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        msg = f"The folder {path.parent} cannot be written: {error}."
        hint = "Make it writable, or set `state` in headrace.toml to another folder."
        raise IngestError(msg, hint=hint) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            msg = "Another import into this project is under way."
            raise IngestError(msg, hint="Wait for it to end, and import again.") from None
        yield
