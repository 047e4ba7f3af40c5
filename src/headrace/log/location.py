"""Where a Delta table is: a local folder or the URI of an object store, and the file system that opens its files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs
from deltalake.fs import DeltaStorageHandler

from headrace.config import TableRoot
from headrace.errors import LogError

__all__ = ["Location", "Place", "StoredFile"]


_CHUNK = 1 << 22


class StoredFile(NamedTuple):
    """A file below a table's place.

    Attributes:
        name: Its path below the place.
        size: Its bytes.
        changed_s: When it was written, in seconds since 1970.
    """

    name: str
    size: int
    changed_s: float


@dataclass(frozen=True)
class Location:
    """A place of tables.

    Attributes:
        uri: A local path, or a URI such as `s3://bucket/prefix`.
        options: Storage options for an object store, as Delta Lake calls them.
    """

    uri: str
    options: Mapping[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, place: Place) -> Location:
        """The location that a path, a URI or a location means; a `file://` URI is the local path."""
        if isinstance(place, Location):
            return place
        text, options = (place.uri, place.options) if isinstance(place, TableRoot) else (os.fspath(place), {})
        if text.startswith("file:"):
            text = unquote(urlsplit(text).path)
        return cls(text if text == "/" else text.rstrip("/"), options)

    def __str__(self) -> str:
        return self.uri

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        return "://" not in self.uri

    @property
    def path(self) -> Path:
        """The local folder.

        Raises:
            LogError: It is in an object store.
        """
        if not self.is_local:
            msg = f"{self} is in an object store, and this needs a local folder."
            raise LogError(msg)
        return Path(self.uri)

    @cached_property
    def filesystem(self) -> pafs.FileSystem:
        """The file system that opens what `file` names."""
        if self.is_local:
            return pafs.LocalFileSystem(use_mmap=True)
        return pafs.PyFileSystem(DeltaStorageHandler(self.uri, dict(self.options)))

    def below(self, name: str) -> Location:
        """A folder in it."""
        return Location(f"{self.uri}/{name}", self.options)

    def file(self, name: str) -> str:
        """The path of a file below it, in its file system."""
        return str(self.path / name) if self.is_local else name

    def files(self, folder: str = "") -> list[StoredFile]:
        """Every file below it, or below a folder in it; none where it does not exist.

        Raises:
            OSError: It cannot be listed.
        """
        selector = pafs.FileSelector(self.file(folder), recursive=True, allow_not_found=True)
        above = f"{self.uri.rstrip('/')}/" if self.is_local else ""
        return [
            StoredFile(one.path.removeprefix(above), one.size, _seconds(one.mtime))
            for one in self.filesystem.get_file_info(selector)
            if one.type == pafs.FileType.File
        ]

    def write(self, name: str, data: pa.Buffer) -> None:
        """Write a file.

        Raises:
            OSError: It cannot be written.
        """
        if self.is_local:  # an object store has no folders
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        # Delta Lake's file system takes Python's bytes alone, which pyarrow gives it only from a buffer of its own.
        step = max(data.size, 1) if self.is_local else _CHUNK
        with self.filesystem.open_output_stream(
            self.file(name), buffer_size=None if self.is_local else 2 * _CHUNK
        ) as file:
            for start in range(0, data.size, step):
                file.write(data.slice(start, min(step, data.size - start)))

    def remove(self, name: str) -> None:
        """Remove a file, unless it is gone already.

        Raises:
            OSError: It cannot be removed.
        """
        with suppress(FileNotFoundError):
            self.filesystem.delete_file(self.file(name))


Place: TypeAlias = str | os.PathLike[str] | TableRoot | Location
"""A local path, a URI, or one with storage options."""


def _seconds(changed: datetime | None) -> float:
    return 0.0 if changed is None else changed.timestamp()
