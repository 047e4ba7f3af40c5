"""Events that wait to be imported: on disk until all are known to be valid.

Their hash says whether they were imported before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa

from headrace.events.event_batch import EventBatch
from headrace.plan import DType, Source
from headrace.worker.log_rows import log_rows

__all__ = ["Digest", "Staging"]


class Digest:
    """The SHA-256 of events in order: their values and when they were known.

    How they came, in blocks, files and formats, does not change it.

    Args:
        source: The source.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        # What differs in length per event is hashed apart, so that where one batch ends and the next begins leaves no
        # trace.
        self._parts: dict[str, Any] = {}
        self._events = 0

    def add(self, batch: EventBatch) -> None:
        """Take events in.

        Args:
            batch: The events.
        """
        self._events += len(batch)
        self._update("known_at", batch.known_us.astype("<i8").tobytes())
        for column in self._source.columns:
            values, name = batch.values(column.name), f"column {column.name}"
            self._update(f"{name} valid", values.valid.tobytes())
            if column.dtype in (DType.STRING, DType.JSON):
                texts = [
                    b"" if text is None else text.encode("utf-8", "surrogatepass") for text in values.data.tolist()
                ]
                self._update(f"{name} lengths", np.array([len(text) for text in texts], "<i8").tobytes())
                self._update(name, b"".join(texts))
            else:
                kind = "<f8" if column.dtype is DType.FLOAT64 else "<i8"
                self._update(name, np.where(values.valid, values.data, 0).astype(kind).tobytes())

    def hexdigest(self) -> str:
        """64 hex digits."""
        whole = hashlib.sha256(f"{self._source.topic}\0{self._events}".encode())
        for name in sorted(self._parts):
            whole.update(name.encode() + b"\0" + self._parts[name].digest())
        return whole.hexdigest()

    def _update(self, part: str, data: bytes) -> None:
        self._parts.setdefault(part, hashlib.sha256()).update(data)


class Staging:
    """Rows of the log in a file.

    Args:
        path: The file.
        source: The source.
        group_rows: How many rows a group has, nearly.
    """

    def __init__(self, path: Path, source: Source, group_rows: int) -> None:
        self._group_rows = group_rows
        self._path = path
        self._source = source
        self._writer: Any = None

    def add(self, batch: EventBatch) -> None:
        """Append events.

        Args:
            batch: The events.
        """
        rows = log_rows(self._source, [batch])
        if self._writer is None:
            self._writer = pa.ipc.new_file(str(self._path), rows.schema)
        self._writer.write_table(rows)

    def groups(self) -> Iterator[pa.Table]:
        """All rows in order, in groups. Nothing can be added after this."""
        self.close()
        if not self._path.exists():
            return
        with pa.memory_map(str(self._path)) as mapped:
            reader = pa.ipc.open_file(mapped)
            waiting: list[pa.RecordBatch] = []
            for number in range(reader.num_record_batches):
                waiting.append(reader.get_batch(number))
                if sum(batch.num_rows for batch in waiting) >= self._group_rows:
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
