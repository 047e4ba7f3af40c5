"""A lookup's answer as an Arrow IPC stream, and back, equal to the bit.

The table has the request's columns, then the features by `view__feature`, then for each view `view:status`,
`view:newest_event` and `view:evidence` (source partition to offset). The schema's metadata has the rest, as JSON under
the key `headrace`, with the names that `wire.py` gives it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from headrace.errors import ServerError
from headrace.events.columns import Values
from headrace.events.event_batch import ARROW_TYPES, column_values, of_integers
from headrace.lookup.request import EntityRows
from headrace.lookup.response import Block, FeatureValues, OnlineFeatures, Status, ViewAnswer, maker
from headrace.lookup.wire_format import FORMAT, NO_SERVER, check_format, entity_rows_of, reading, values_of
from headrace.lookup.wire_request import rows_from_answer, rows_to_json
from headrace.lookup.wire_values import computed_values, plain_type
from headrace.plan import DType
from headrace.times import iso_time

__all__ = ["answer_from_arrow", "answer_to_arrow"]

_METADATA = b"headrace"
_VIEW_COLUMNS = ("status", "newest_event", "evidence")
_KEY_TYPES = (DType.INT64, DType.FLOAT64, DType.BOOL, DType.STRING, DType.TIMESTAMP, DType.DATE)


def answer_to_arrow(answer: OnlineFeatures) -> bytes:
    """An answer as an Arrow IPC stream of one record batch.

    Args:
        answer: The answer.

    Raises:
        LookupRequestError: A value of the request cannot be sent.
    """
    rows = entity_rows_of(answer)
    plain = _plain_columns(rows)
    columns: dict[str, pa.Array] = {}
    if plain is not None:
        columns = {name: pa.array(rows.columns[name], ARROW_TYPES[dtype]) for name, dtype in plain.items()}
    values = values_of(answer)
    arrays = [*columns.values(), *(_array(answer.dtypes[name], values[name]) for name in values)]
    names = [*columns, *values]
    for name, view in answer.views.items():
        arrays += _view_arrays(view)
        names += [f"{name}:{column}" for column in _VIEW_COLUMNS]
    metadata: dict[str, Any] = {
        "format": FORMAT,
        "at": iso_time(answer.at_us),
        "at_us": answer.at_us,
        "plan": answer.plan_hash,
        "origin": answer.origin,
        "entity_columns": list(columns),
        "features": list(values),
        "types": {name: dtype.value for name, dtype in answer.dtypes.items()},
        "topics": answer.topics,
        "views": list(answer.views),
        "problems": [[row, feature, reason] for row, feature, reason in answer.problems],
        **({} if plain is not None else rows_to_json(rows)),
    }
    schema = pa.schema(
        [pa.field(name, array.type) for name, array in zip(names, arrays, strict=True)],
        metadata={_METADATA: json.dumps(metadata).encode()},
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    stream: bytes = sink.getvalue().to_pybytes()
    return stream


def answer_from_arrow(stream: bytes, entity_rows: Sequence[dict[str, Any]] | None = None) -> OnlineFeatures:
    """The answer that `answer_to_arrow` wrote.

    Args:
        stream: The stream.
        entity_rows: The rows of the request; None takes those of the stream.

    Raises:
        ServerError: It is no such stream, or has another format.
    """
    try:
        table = pa.ipc.open_stream(stream).read_all()
        data = json.loads((table.schema.metadata or {}).get(_METADATA, b"null"))
    except (pa.ArrowException, OSError, ValueError) as error:
        msg = f"This is no answer of a headrace server ({type(error).__name__}: {error})."
        raise ServerError(msg, hint=NO_SERVER) from error
    check_format(data)
    with reading():
        return _answer(data, table.columns, entity_rows)


def _answer(
    data: dict[str, Any], columns: list[pa.ChunkedArray], entity_rows: Sequence[dict[str, Any]] | None
) -> OnlineFeatures:
    dtypes = {name: DType(text) for name, text in data["types"].items()}
    keys, features = data["entity_columns"], data["features"]
    of_views = columns[len(keys) + len(features) :]
    problems: dict[str, dict[int, str]] = {}
    for row, feature, reason in data["problems"]:
        problems.setdefault(feature, {})[row] = reason
    blocks = [
        Block(((name,),), *_values(dtypes[name], column), problems.get(name, {}))
        for name, column in zip(features, columns[len(keys) :], strict=False)
    ]
    if entity_rows is None:
        entity_rows = _rows(data, dict(zip(keys, columns, strict=False)))
    return OnlineFeatures(
        at_us=data["at_us"],
        plan_hash=data["plan"],
        topics=data["topics"],
        entity_rows=entity_rows,
        dtypes=dtypes,
        values=FeatureValues({name: maker(dtype) for name, dtype in dtypes.items()}, blocks),
        views={name: _ReceivedView(*of_views[3 * at : 3 * at + 3]) for at, name in enumerate(data["views"])},
        origin=data["origin"],
    )


class _ReceivedView(ViewAnswer):
    """What a view knew, as it came in Arrow columns."""

    def __init__(self, status: pa.ChunkedArray, newest_event: pa.ChunkedArray, evidence: pa.ChunkedArray) -> None:
        self.status = [Status(text) for text in status.to_pylist()]
        self.newest_event_us = newest_event.cast(pa.int64()).to_pylist()
        self.applied = [dict(pairs) for pairs in evidence.to_pylist()]


def _plain_columns(rows: EntityRows) -> dict[str, DType] | None:
    """The request's columns with their types; None if they cannot all be columns of Arrow."""
    if not rows.has_same_names or not rows.columns:
        return None
    found = {name: plain_type(values) for name, values in rows.columns.items()}
    plain = {name: dtype for name, dtype in found.items() if dtype is not None}
    return plain if len(plain) == len(found) else None


def _rows(data: dict[str, Any], columns: dict[str, pa.ChunkedArray]) -> EntityRows:
    if not data["entity_columns"]:
        return rows_from_answer(data)
    values: dict[str, list[Any]] = {}
    for name, column in columns.items():
        dtype = next(dtype for dtype in _KEY_TYPES if ARROW_TYPES[dtype] == column.type)
        values[name] = _python(dtype, _values(dtype, column))
    return EntityRows(values)


def _array(dtype: DType, values: Values) -> pa.Array:
    kind = ARROW_TYPES[dtype]
    data, null = values.data, ~values.valid
    if data.dtype == object or dtype.scale is not None:
        return pa.array(_python(dtype, values), kind)
    if dtype is DType.BOOL:
        return pa.array(data.astype(np.bool_), mask=null)
    if dtype in (DType.TIMESTAMP, DType.DATE):
        return of_integers(pa.array(np.where(values.valid, data, 0), mask=null), dtype)
    return pa.array(data, kind, mask=null)


def _python(dtype: DType, values: Values) -> list[Any]:
    """Computed values as Python values, None where null."""
    known, made = Block((), *values).known(), maker(dtype)
    return known if made is None else [None if value is None else made(value) for value in known]


def _values(dtype: DType, column: pa.ChunkedArray) -> Values:
    if dtype.element is None:
        return column_values(column)
    inside = pa.list_(pa.int32()) if dtype.element is DType.DATE else pa.list_(pa.int64())
    whole = dtype.element in (DType.TIMESTAMP, DType.DATE)
    return computed_values(dtype, (column.cast(inside) if whole else column).to_pylist())


def _view_arrays(view: ViewAnswer) -> list[pa.Array]:
    places = np.zeros(len(view.applied) + 1, np.int32)
    np.cumsum([len(applied) for applied in view.applied], out=places[1:])
    pairs = [pair for applied in view.applied for pair in applied.items()]
    partitions, offsets = ([pair[at] for pair in pairs] for at in (0, 1))
    evidence = pa.MapArray.from_arrays(places, pa.array(partitions, pa.int64()), pa.array(offsets, pa.int64()))
    return [
        pa.array([status.value for status in view.status], pa.string()).dictionary_encode(),
        pa.array(view.newest_event_us, pa.int64()).cast(pa.timestamp("us", "UTC")),
        evidence,
    ]
