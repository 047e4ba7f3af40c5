"""Events that wait to be imported: on disk until all of them are known to hold, and hashed, which tells whether they were imported before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa

from headrace.events.batch import EventBatch
from headrace.plan import DType, Source
from headrace.stream.rows import log_rows

__all__ = ["Digest", "Staging"]


class Digest:
    """The SHA-256 of events in order: their values and when they were known, however they came in blocks, files and formats.

    Args:
        source: The source.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._columns = {column.name: hashlib.sha256() for column in source.columns}
        self._known = hashlib.sha256()
        self._events = 0

    def add(self, batch: EventBatch) -> None:
        """Take events in.

        Args:
            batch: The events.
        """
        self._events += len(batch)
        self._known.update(batch.known_us.astype("<i8").tobytes())
        for column in self._source.columns:
            values = batch.values(column.name)
            digest = self._columns[column.name]
            digest.update(values.valid.tobytes())
            if column.dtype is DType.STRING:
                texts = [
                    b"" if text is None else text.encode("utf-8", "surrogatepass") for text in values.data.tolist()
                ]
                digest.update(np.array([len(text) for text in texts], "<i8").tobytes())
                digest.update(b"".join(texts))
            else:
                kind = "<f8" if column.dtype is DType.FLOAT64 else "<i8"
                digest.update(np.where(values.valid, values.data, 0).astype(kind).tobytes())

    def hexdigest(self) -> str:
        """64 hex digits."""
        whole = hashlib.sha256(f"{self._source.topic}\0{self._events}".encode())
        for name, digest in (*self._columns.items(), ("known_at", self._known)):
            whole.update(name.encode() + b"\0" + digest.digest())
        return whole.hexdigest()


class Staging:
    """Rows of the log in a file.

    Args:
        path: The file.
        source: The source.
    """

    def __init__(self, path: Path, source: Source) -> None:
        self._path = path
        self._source = source
        self._writer: Any = None

    def add(self, batch: EventBatch) -> None:
        """Put events behind those that are there.

        Args:
            batch: The events.
        """
        rows = log_rows(self._source, [batch])
        if self._writer is None:
            self._writer = pa.ipc.new_file(str(self._path), rows.schema)
        self._writer.write_table(rows)

    def groups(self, rows: int) -> Iterator[pa.Table]:
        """All of it, in order; nothing can be added any more.

        Args:
            rows: How many rows a group has, nearly.
        """
        self.close()
        if not self._path.exists():
            return
        with pa.memory_map(str(self._path)) as held:
            reader = pa.ipc.open_file(held)
            waiting: list[pa.RecordBatch] = []
            for number in range(reader.num_record_batches):
                waiting.append(reader.get_batch(number))
                if sum(batch.num_rows for batch in waiting) >= rows:
                    yield pa.Table.from_batches(waiting)
                    waiting = []
            if waiting:
                yield pa.Table.from_batches(waiting)

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
