"""A finite history of events to replay, as `history()` of a project's `streams/<topic>.py` returns it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.config import Project
from headrace.errors import ConfigError, EventError
from headrace.events.repo_modules import own_modules
from headrace.produce.encode import EncodedEvent, EventEncoder
from headrace.times import us_of

__all__ = ["EncodedHistory", "History", "load_history"]

History: TypeAlias = pa.Table | Iterable[Mapping[str, Any]]
"""Events of one source: an Arrow table with the model's fields as columns, or mappings that the model accepts."""


class EncodedHistory:
    """A history whose events are validated and encoded as they are asked for.

    Args:
        history: The events, in any order, the same at each run.
        encoder: Their source's encoder.
        timestamp_field: The field of the event time.

    Raises:
        EventError: The table's event times are not timestamps with a time zone, or missing; or the model refuses an
            event.
    """

    def __init__(self, history: History, encoder: EventEncoder, timestamp_field: str) -> None:
        self._encoder = encoder
        self._table: pa.Table | None = None
        self._encoded: list[EncodedEvent] = []
        if isinstance(history, pa.Table):
            self._table = history.combine_chunks()  # picking rows from one chunk is several times faster
            self.ts_us = _event_times(history, timestamp_field)
        else:
            events = [event if isinstance(event, dict) else dict(event) for event in history]
            self._encoded = encoder.encode_rows(events, range(len(events)))
            self.ts_us = np.array([us_of(event.time) for event in self._encoded], np.int64)

    def encode(self, rows: npt.NDArray[np.int64]) -> list[EncodedEvent]:
        """Validate and encode some of the events.

        Args:
            rows: Their row numbers.

        Returns:
            The events, in the order of `rows`.

        Raises:
            EventError: The model refuses one.
        """
        if self._table is None:
            return [self._encoded[row] for row in rows.tolist()]
        return self._encoder.encode_rows(_dicts(self._table.take(rows)), rows.tolist())


def load_history(project: Project, topic: str) -> History:
    """Ask a project for the history of a topic.

    Args:
        project: The project.
        topic: The topic; ``-`` and ``.`` in it are ``_`` in the file's name.

    Returns:
        What `history()` of ``streams/<topic>.py`` returns.

    Raises:
        ConfigError: There is no such file, it fails to import, or it has no `history()`.
    """
    folder = project.root / "streams"
    name = topic.replace("-", "_").replace(".", "_")
    if not (folder / f"{name}.py").is_file():
        there = ", ".join(sorted(_with_history(folder))) or "none"
        hint = f"Write it, with a function history() that returns the events. There are histories for: {there}."
        msg = f"There is no {folder / name}.py to produce topic {topic!r} from."
        raise ConfigError(msg, hint=hint)
    with own_modules(project.root):
        if "streams" not in sys.modules and not (folder / "__init__.py").is_file():
            # A folder that is no package would stand behind any package of the name.
            sys.modules["streams"] = ModuleType("streams")
            sys.modules["streams"].__path__ = [str(folder)]
        try:
            module = importlib.import_module(f"streams.{name}")
        except Exception as error:
            hint = "Fix the module; `python -m` must be able to run it from the project's folder."
            msg = f"{folder / name}.py cannot be imported: {type(error).__name__}: {error}."
            raise ConfigError(msg, hint=hint) from error
    make = getattr(module, "history", None)
    if not callable(make):
        hint = "Write `def history() -> headrace.produce.History`: an Arrow table, or dicts, of the events."
        msg = f"{folder / name}.py has no function history()."
        raise ConfigError(msg, hint=hint)
    found: History = make()
    return found


def _with_history(folder: Path) -> list[str]:
    return [
        path.stem
        for path in folder.glob("*.py")
        if "def history(" in path.read_text(encoding="utf-8", errors="replace")
    ]


def _event_times(table: pa.Table, field: str) -> npt.NDArray[np.int64]:
    if field not in table.column_names:
        hint = f"It has: {', '.join(table.column_names)}. Name it as in the model."
        msg = f"The history has no column {field!r}, the event time of its source."
        raise EventError(msg, hint=hint)
    column = table.column(field)
    if not pa.types.is_timestamp(column.type) or column.type.tz is None:
        hint = 'Make it pa.timestamp("us", tz="UTC").'
        msg = f"The history's column {field!r}, the event time, is of type {column.type}."
        raise EventError(msg, hint=hint)
    if column.null_count:
        msg = f"The history's column {field!r}, the event time, is missing in {column.null_count:,} rows."
        raise EventError(msg, hint="Leave those out.")
    return _epoch_us(column, field)


def _dicts(table: pa.Table) -> list[dict[str, Any]]:
    names = table.column_names
    columns = [_values(table.column(name), name) for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _values(column: pa.ChunkedArray, field: str) -> Sequence[Any]:
    """The column's values. Arrow's own way is slow for times: it looks up the time zone for each."""
    if not pa.types.is_timestamp(column.type) or column.type.tz is None or column.null_count:
        return list(column.to_pylist())
    return [at.replace(tzinfo=UTC) for at in _epoch_us(column, field).view("datetime64[us]").astype(object)]


def _epoch_us(column: pa.ChunkedArray, field: str) -> npt.NDArray[np.int64]:
    try:
        times: npt.NDArray[np.int64] = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid as error:
        hint = "Round it: headrace's times are microseconds, from year 1 to 9999."
        msg = f"The history's column {field!r} does not fit microseconds: {error}."
        raise EventError(msg, hint=hint) from error
    return times
