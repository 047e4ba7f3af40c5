"""Rows that Feast's clients push: columns of JSON as an Arrow table, for the online store or for a view's source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from headrace.errors import RowsError
from headrace.events.event_batch import ARROW_TYPES
from headrace.plan import BatchView, Column, DType
from headrace.plan.batch_view import BatchSource
from headrace.serving.feast_values import NotOfTypeError, read_values

__all__ = ["pushed_table", "source_table"]

_SENT_AS = {"event_timestamp": "timestamp_field", "created": "created_field"}
"""The names that Feast's own client sends times under, whatever the source calls them."""

Columns = Mapping[str, list[Any]]


def pushed_table(view: BatchView, df: Columns) -> pa.Table:
    """The columns of a view that a request has, under the names of the view.

    Columns that the view does not have are left out, as in Feast: several views may share a push source.

    Args:
        view: The view.
        df: Columns by name: the view's names, or those of its source.

    Returns:
        The join keys, the features, the event time and, if the request has it, the creation time.

    Raises:
        RowsError: A column is missing, columns differ in length, or a value contradicts the view.
    """
    _check_lengths(df)
    what, times = f"the view {view.name!r}", _times(view.source)
    columns = [*(entity.model_copy(update={"nullable": False}) for entity in view.entities), *view.columns, *times]
    arrays: dict[str, pa.Array] = {}
    for column in columns:
        given = _given(column, view.source, df)
        if given is not None:
            arrays[column.name] = _array(what, column, given, df[given], is_time=column in times)
        elif column.name != view.source.created_field:
            needed = [one.name for one in columns if one.name != view.source.created_field]
            raise _lacks(what, column.name, needed)
    return pa.table(arrays)


def source_table(source: BatchSource, schema: pa.Schema, df: Columns) -> pa.Table:
    """The rows of a request as the source of a view has them.

    As in Feast the columns must be the source's own, all of them and no others: a row with a column left out would
    change what training data has.

    Args:
        source: The source.
        schema: Its columns.
        df: Columns by name.

    Raises:
        RowsError: A column is missing, is not the source's, or has a value of another type.
    """
    _check_lengths(df)
    what = f"the source {source.name!r}"
    names = {name: _given(Column(name=name, dtype=DType.STRING), source, df) for name in schema.names}
    arrays = []
    for field in schema:
        given = names[field.name]
        if given is None:
            raise _lacks(what, field.name, schema.names)
        is_time = field.name in (source.timestamp_field, source.created_field)
        column = Column(name=field.name, dtype=_dtype(what, field), nullable=field.name != source.timestamp_field)
        array = _array(what, column, given, df[given], is_time=is_time)
        try:
            arrays.append(array.cast(field.type))
        except pa.ArrowException as error:
            raise _refused(what, given, column, str(error)) from error
    extra = sorted(set(df) - set(names.values()))
    if extra:
        msg = f"{what[0].upper()}{what[1:]} has no column {', '.join(map(repr, extra))}."
        raise RowsError(msg, hint=f"Its columns are: {', '.join(schema.names)}. Send these and no others.")
    return pa.table(arrays, schema=schema)


def _times(source: BatchSource) -> list[Column]:
    found = [Column(name=source.timestamp_field, dtype=DType.TIMESTAMP, nullable=False)]
    if source.created_field is not None:
        found.append(Column(name=source.created_field, dtype=DType.TIMESTAMP))
    return found


def _given(column: Column, source: BatchSource, df: Columns) -> str | None:
    """The name under which a request has a column; None if it has not."""
    sent_as = [name for name, of in _SENT_AS.items() if getattr(source, of) == column.name]
    names = (column.name, source.column_of(column.name), source.field_mapping.get(column.name), *sent_as)
    return next((name for name in names if name is not None and name in df), None)


def _array(what: str, column: Column, name: str, values: list[Any], *, is_time: bool) -> pa.Array:
    try:
        read = read_values(values, column, seconds=not is_time)
        return pa.array(read, ARROW_TYPES[column.dtype])
    except NotOfTypeError as error:
        msg = f"Row {error.row} of `df` contradicts {what}: {name!r}: {error.reason}."
        raise RowsError(msg, hint=f"{column.name} is {_said(column)}.") from None
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        raise _refused(what, name, column, str(error)) from error


def _dtype(what: str, field: pa.Field) -> DType:
    """The type by which JSON values of a source's column are read."""
    kind = field.type.value_type if pa.types.is_list(field.type) else field.type
    tests = {
        DType.INT64: pa.types.is_integer,
        DType.FLOAT64: pa.types.is_floating,
        DType.BOOL: pa.types.is_boolean,
        DType.TIMESTAMP: pa.types.is_timestamp,
        DType.DATE: pa.types.is_date,
    }
    found = next((dtype for dtype, is_it in tests.items() if is_it(kind)), None)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        found = DType.STRING
    elif pa.types.is_decimal(kind) and 0 <= kind.scale <= 9:
        found = DType(f"decimal_{kind.scale}")
    if found is None or (kind is not field.type and found.scale is not None):
        msg = f"The column {field.name!r} of {what} has the type {field.type}, which a push cannot write."
        raise RowsError(msg, hint="Write to the source directly, and materialize.")
    return found if kind is field.type else found.list_of


def _check_lengths(df: Columns) -> None:
    lengths = {name: len(values) for name, values in df.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        msg = f"The columns of `df` differ in length: {shown}."
        raise RowsError(msg, hint="Give each of them one value per row.")


def _lacks(what: str, name: str, needed: list[str]) -> RowsError:
    msg = f"`df` has no column {name!r}, which {what} needs."
    return RowsError(msg, hint=f"Give a list with one value per row for each of: {', '.join(needed)}.")


def _refused(what: str, name: str, column: Column, why: str) -> RowsError:
    return RowsError(f"The column {name!r} of `df` contradicts {what}: {why}.", hint=f"{name} is {_said(column)}.")


def _said(column: Column) -> str:
    return f"{column.dtype}, or null" if column.nullable else f"{column.dtype}, and never null"
