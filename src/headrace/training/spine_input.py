"""A spine as the user gives it (frame, relation, rows, file) becomes an Arrow table."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import duckdb
import pyarrow as pa

from headrace.errors import SpineError
from headrace.events.event_batch import ARROW_TYPES
from headrace.plan import Column, DType, FeatureRef, Plan
from headrace.training.spine_files import read_spine_file

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Spine", "needed_columns", "spine_for", "spine_table"]

Spine: TypeAlias = Union[
    pa.Table,
    "pd.DataFrame",
    duckdb.DuckDBPyRelation,
    Sequence[Mapping[str, Any]],
    Mapping[str, Sequence[Any]],
    str,
    "os.PathLike[str]",
]
"""An Arrow table (or an object that gives one as a stream, as polars does), a pandas data frame, a DuckDB relation,
rows or columns of Python's own values, or the path of a Parquet, CSV or JSON lines file."""

_MOMENT = Column(name="", dtype=DType.TIMESTAMP)


def needed_columns(plan: Plan, refs: Sequence[FeatureRef]) -> list[Column]:
    """The columns of a spine that some features need, beside its times: join keys, and fields of the request.

    Args:
        plan: The plan.
        refs: The features.
    """
    keys = {entity.name: entity for view in plan.stored_views(refs) for entity in view.entities}
    return list((plan.request_fields(refs) | keys).values())


def spine_table(spine: Spine, needed: Sequence[Column] = (), time_column: str = "event_timestamp") -> pa.Table:
    """A spine as an Arrow table whose columns can be filtered and written.

    Args:
        spine: The spine.
        needed: The other columns that are needed: texts in a CSV file are then read as texts.
        time_column: Its column of times.

    Returns:
        The table, rows in order.

    Raises:
        SpineError: It is none of these, a column cannot be converted, or the file cannot be read.
    """
    wanted = {time_column: _MOMENT} | {column.name: column for column in needed}
    table = _table(spine, wanted)
    if not table.num_rows and not table.num_columns:
        return pa.table({name: pa.array([], ARROW_TYPES[column.dtype]) for name, column in wanted.items()})
    columns = [_settled(name, column) for name, column in zip(table.column_names, table.columns, strict=True)]
    return pa.table(columns, names=table.column_names).replace_schema_metadata(table.schema.metadata)


def spine_for(
    plan: Plan,
    refs: Sequence[FeatureRef],
    spine: Spine,
    time_column: str,
    names: Mapping[str, str] | None = None,
) -> pa.Table:
    """A spine to join features to.

    Args:
        plan: The plan.
        refs: The features.
        spine: The spine.
        time_column: Its column of times.
        names: By `view__feature`, what the feature's column is called in the result, where it is another name.

    Raises:
        SpineError: As `spine_table`, or a column has the name of a feature.
    """
    table = spine_table(spine, needed_columns(plan, refs), time_column)
    columns = [(names or {}).get(ref.column, ref.column) for ref in refs]
    clash = [name for name in columns if name in table.column_names]
    if clash:
        msg = f"The spine already has columns named like features: {', '.join(clash)}."
        raise SpineError(msg, hint="Rename or drop them.")
    return table


def _table(spine: Any, wanted: Mapping[str, Column]) -> pa.Table:
    if isinstance(spine, pa.Table):
        return spine
    if isinstance(spine, duckdb.DuckDBPyRelation):
        try:
            return spine.to_arrow_table()
        except duckdb.Error as error:
            msg = f"The spine's relation cannot be read: {str(error).splitlines()[0]}"
            raise SpineError(msg) from error
    if isinstance(spine, str | os.PathLike):
        return read_spine_file(Path(spine), wanted)
    if hasattr(spine, "iloc"):
        return _of_pandas(spine, wanted)
    if hasattr(spine, "collect") and hasattr(spine, "collect_schema"):
        spine = spine.collect()  # a lazy frame of polars
    if hasattr(spine, "__arrow_c_stream__") or hasattr(spine, "__arrow_c_array__"):
        return _of_stream(spine)
    if isinstance(spine, Mapping):
        return _of_columns({str(name): list(values) for name, values in spine.items()}, wanted)
    if isinstance(spine, Sequence) and not isinstance(spine, bytes) and all(isinstance(row, Mapping) for row in spine):
        names = dict.fromkeys(str(name) for row in spine for name in row)
        return _of_columns({name: [row.get(name) for row in spine] for name in names}, wanted)
    msg = f"A spine cannot be a {type(spine).__name__}."
    hint = "Pass an Arrow table, a data frame, a DuckDB relation, a list of rows, or a Parquet or CSV path."
    raise SpineError(msg, hint=hint)


def _of_pandas(frame: Any, wanted: Mapping[str, Column]) -> pa.Table:
    names = [str(name) for name in frame.columns]
    missing = [name for name in wanted if name not in names]
    index = [name for name in frame.index.names if name is not None]
    is_plain = type(frame.index).__name__ in ("RangeIndex", "Index") and not index
    if missing and not is_plain and (names or len(frame)):
        found = f"its index is {', '.join(map(repr, index))}" if index else f"it has a {type(frame.index).__name__}"
        hint = "frame.reset_index()" if index else f"frame.reset_index(names={missing[0]!r})"
        msg = f"The spine has no column {missing[0]!r}, and {found}: an index is not a column of a spine."
        raise SpineError(msg, hint=f"Make it one: {hint}.")
    if not names and len(frame):
        msg = f"The spine has {len(frame):,} rows and no column."
        raise SpineError(msg, hint=f"Give it {' and '.join(map(repr, missing))}.")
    if not names:
        return pa.table({})
    try:
        return pa.Table.from_pandas(frame, preserve_index=False)
    except Exception as error:  # noqa: BLE001 pandas and Arrow have many
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            msg = f"The spine has more than one column called {min(twice)!r}."
            raise SpineError(msg, hint="Rename or drop all but one.") from error
        raise _not_converted((str(name), frame[[name]]) for name in frame.columns) from error


def _of_stream(frame: Any) -> pa.Table:
    try:
        return pa.table(frame)
    except Exception as error:  # noqa: BLE001 what a library of frames raises is its own
        if not hasattr(frame, "select") or not hasattr(frame, "columns"):
            msg = f"The spine cannot be read as an Arrow table: {error}"
            raise SpineError(msg) from error
        raise _not_converted((str(name), frame.select(name)) for name in frame.columns) from error


def _of_columns(columns: Mapping[str, list[Any]], wanted: Mapping[str, Column]) -> pa.Table:
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        msg = f"The spine's columns differ in length: {lengths}."
        raise SpineError(msg, hint="Give each one value per row.")
    arrays: dict[str, pa.Array] = {}
    for name, values in columns.items():
        try:
            empty = ARROW_TYPES[wanted[name].dtype] if name in wanted and not values else None
            arrays[name] = pa.array(values, empty)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise _refused(name, error) from error
    return pa.table(arrays)


def _not_converted(columns: Iterable[tuple[str, Any]]) -> SpineError:
    """The error of the first column that Arrow cannot convert."""
    for name, frame in columns:
        try:
            pa.Table.from_pandas(frame, preserve_index=False) if hasattr(frame, "iloc") else pa.table(frame)
        except Exception as error:  # noqa: BLE001 as above
            return _refused(name, error)
    return SpineError("The spine cannot be converted to an Arrow table.", hint="Give it as one: pyarrow.table(…).")


def _refused(name: str, error: Exception) -> SpineError:
    said = str(error.args[0] if error.args else error).splitlines()[0]
    hint = f"Give its values one plain type, such as frame[{name!r}].astype(str), or leave the column out."
    return SpineError(f"The spine's column {name!r} cannot be taken: {said}", hint=hint)


def _settled(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column without Arrow's newest layouts (views, runs), which cannot be filtered or written to Parquet."""
    plain = _plain(column.type)
    if plain == column.type:
        return column
    try:
        if pa.types.is_run_end_encoded(column.type) or pa.types.is_list_view(
            column.type
        ):  # (a cast of these goes wrong)
            chunks = [chunk.to_pylist() for chunk in column.chunks]
            return pa.chunked_array([pa.array(chunk, plain) for chunk in chunks], plain)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        return column.cast(plain)
    except (pa.ArrowException, TypeError, ValueError):
        try:
            return pa.chunked_array([pa.array(column.to_pylist(), plain)], plain)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise _refused(name, error) from error


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_run_end_encoded(kind):
        return _plain(kind.value_type)
    if pa.types.is_dictionary(kind):
        inner = _plain(kind.value_type)
        return kind if inner == kind.value_type else inner
    if pa.types.is_struct(kind):
        return pa.struct([kind.field(n).with_type(_plain(kind.field(n).type)) for n in range(kind.num_fields)])
    lists = {pa.types.is_list: pa.list_, pa.types.is_large_list: pa.large_list, pa.types.is_list_view: pa.list_}
    for is_kind, made in (lists | {pa.types.is_large_list_view: pa.large_list}).items():
        if is_kind(kind):
            inner = _plain(kind.value_type)
            same = inner == kind.value_type and is_kind in (pa.types.is_list, pa.types.is_large_list)
            return kind if same else made(inner)
    return kind
