"""Reading the events of a plain model as columns: Arrow parses a whole fetch at once, outside the interpreter's lock.

Arrow's parser is not pydantic's. Here it is asked only what both answer alike, and every doubt is answered by None: then pydantic reads the
fetch. Before parsing, each record must look like an object: so nothing in one record can end or mend another. After it, the values must be such
that both read them alike, and hold what the model asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
from numpy.typing import NDArray
from pydantic import ValidationError
from pydantic_core import SchemaValidator, from_json

from headrace.events.columns import Array, IntArray
from headrace.events.event_batch import ARROW_TYPES
from headrace.events.formats.plain_models import PlainField, PlainModel
from headrace.plan import DType

__all__ = ["PlainReader"]

_LINE_FEED, _OPENS, _OPENS_LIST, _CLOSES, _FIRST_PRINTED = b"\n{[} "

_LONGEST = 4_000
"""pydantic refuses numbers of more than 4,300 digits wherever they are; Arrow does not."""

_DEEPEST = 100
"""pydantic refuses what is nested some 200 deep; Arrow does not."""

_EXACT = float(2**53)
"""Integers below it are floats; from there on, each parser has its own way with digits."""

_FIRST_MS, _LAST_MS = 20_000_000_000, 253_402_300_799_999
"""pydantic takes numbers up to the first for seconds. The second is the end of the calendar."""

_TIME = r"^[1-9]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$"
"""The one written form of a time that is parsed here: what `model_dump_json` and headrace's producer write."""

_MOST_MEMBERS = 100_000
_MOST_BYTES = 1 << 30  # a block of Arrow's has an end


class PlainReader:
    """Reads the events of one plain model.

    Args:
        model: The model.
    """

    def __init__(self, model: PlainModel) -> None:
        self._fields = model.fields
        self._forbids_more = model.forbids_more
        self._times: dict[str, pa.DataType] = {
            field.name: pa.int64() for field in model.fields if field.dtype is DType.TIMESTAMP
        }
        self._members: dict[str, set[str | None]] = {field.name: set() for field in model.fields}

    def table(self, values: Sequence[bytes | None]) -> pa.Table | None:
        """The columns of a fetch's events.

        Args:
            values: The records' values, at least one.

        Returns:
            One row per record; None where pydantic has to look at them.
        """
        try:
            joined = self._joined(values)
            if joined is None or not self._sees_forms(values[0]):
                return None
            found = self._parsed(joined)
            if len(found) != len(values):
                return None
            columns = [self._column(field, _whole(found.column(field.name)), joined) for field in self._fields]
        except (pa.ArrowException, UnicodeError, ValidationError):
            return None
        if any(column is None for column in columns):
            return None
        return pa.table(columns, names=[field.name for field in self._fields])

    def _joined(self, values: Sequence[bytes | None]) -> bytes | None:
        """One record a line, as the parser takes them; None where it could read more or less out of them than pydantic does.

        Each line begins with a brace, ends with one, and JSON has no line feeds in texts. So no text reaches into the next line, and nothing else
        that is still open where a line ends can go on with a brace: a line holds whole objects, at least one. As many rows as lines are one each.
        """
        try:
            joined = b"\n".join(values)  # type: ignore[arg-type]
        except TypeError:  # a record without a value
            return None
        lengths = np.fromiter(map(len, values), np.int64, len(values))  # type: ignore[arg-type]
        chars = np.frombuffer(joined, np.uint8)
        ends = np.cumsum(lengths + 1) - 1
        is_lines = (
            int(lengths.min()) >= 2
            # All control characters there are end lines. (The parser takes a NUL for the end of everything.)
            and np.count_nonzero(chars < _FIRST_PRINTED) == len(values) - 1
            and (chars[ends[:-1]] == _LINE_FEED).all()
            and (chars[ends - lengths] == _OPENS).all()
            and (chars[ends - 1] == _CLOSES).all()
        )
        if (
            not is_lines
            or len(joined) > _MOST_BYTES
            or not (self._forbids_more or _skips_alike(joined, chars, lengths, ends))
        ):
            return None
        if not joined.isascii():
            joined.decode()
        return joined

    def _sees_forms(self, value: bytes | None) -> bool:
        """Look how a record writes its times: the others of the fetch will do so too. False where it is no object."""
        if not self._times:
            return True
        try:
            first: Any = from_json(value or b"")
        except ValueError:
            return False
        for name in self._times:
            time = first.get(name)
            if time is not None:
                self._times[name] = pa.string() if isinstance(time, str) else pa.int64()
        return True

    def _parsed(self, joined: bytes) -> pa.Table:
        schema = pa.schema(
            [(field.name, self._times.get(field.name, ARROW_TYPES[field.dtype])) for field in self._fields]
        )
        return pj.read_json(
            pa.BufferReader(joined),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(joined) + 1),
            parse_options=pj.ParseOptions(
                explicit_schema=schema, unexpected_field_behavior="error" if self._forbids_more else "ignore"
            ),
        )

    def _column(self, field: PlainField, found: pa.Array, joined: bytes) -> pa.Array | None:
        """A column whose values pydantic would have made too; None where that is not sure."""
        if not found.null_count:
            return self._checked(field, found, found)
        # Without a null in what was written, whatever is null was left out.
        fills = not field.takes_null and field.default is not None and b"null" not in joined
        if not (field.takes_null or fills or (field.nullable and _is_named_by_all(field.name, joined, len(found)))):
            return None
        values = found.drop_null()
        checked = self._checked(field, found, values) if len(values) else found.cast(ARROW_TYPES[field.dtype])
        return checked.fill_null(field.default) if fills and checked is not None else checked

    def _checked(self, field: PlainField, found: pa.Array, values: pa.Array) -> pa.Array | None:
        """A column, where its values that are there hold."""
        match field.dtype:
            case DType.TIMESTAMP:
                return _times(found, values)
            case DType.INT64:
                holds = field.extremes is None or _hold(field.extremes, values.to_numpy())
            case DType.FLOAT64:
                floats = values.to_numpy()
                # `-0` is an integer to pydantic, and its zero has no sign.
                holds = bool((np.abs(floats) < _EXACT).all()) and not (np.signbit(floats) & (floats == 0)).any()
                holds = holds and (field.extremes is None or _hold(field.extremes, floats))
            case DType.STRING:
                holds = self._texts_hold(field, values)
            case _:
                holds = True
        return found if holds else None

    def _texts_hold(self, field: PlainField, values: pa.Array) -> bool:
        if field.lengths is not None:
            least, most = field.lengths
            extremes = pc.min_max(pc.utf8_length(values))
            return (least is None or extremes["min"].as_py() >= least) and (
                most is None or extremes["max"].as_py() <= most
            )
        if field.members is None:
            return True
        known = self._members[field.name]
        new = set(values.unique().to_pylist()) - known
        for text in new:
            made = field.members.validate_python(text)
            if not isinstance(made, str) or str.__ne__(made, text):
                return False
        if len(known) + len(new) > _MOST_MEMBERS:
            known.clear()
        known |= new
        return True


def _skips_alike(joined: bytes, chars: NDArray[np.uint8], lengths: IntArray, ends: IntArray) -> bool:
    """Whether both parsers take the same for valid where a model skips fields that it does not have: numbers and nesting have other limits."""
    if lengths.max() > _LONGEST or b"Inf" in joined:
        return False
    opens = (chars == _OPENS) | (chars == _OPENS_LIST)
    return bool(
        np.count_nonzero(opens) < len(lengths) + _DEEPEST
        or np.add.reduceat(opens, ends - lengths, dtype=np.int64).max() < _DEEPEST
    )


def _is_named_by_all(name: str, joined: bytes, records: int) -> bool:
    """Whether each record has a field, so that null is what was written: where nothing is nested or escaped, only fields have a colon behind them."""
    return (
        b"\\" not in joined and joined.count(b"{") == records and joined.count(b'"' + name.encode() + b'":') == records
    )


def _hold(constraint: SchemaValidator, values: Array) -> bool:
    """Whether values are within bounds; ValidationError where not. What holds for the extremes holds for what is between."""
    constraint.validate_python(values.min().item())
    constraint.validate_python(values.max().item())
    return True


def _times(found: pa.Array, values: pa.Array) -> pa.Array | None:
    kind = ARROW_TYPES[DType.TIMESTAMP]
    if pa.types.is_integer(found.type):
        extremes = pc.min_max(values)
        if extremes["min"].as_py() <= _FIRST_MS or extremes["max"].as_py() > _LAST_MS:
            return None
        return pc.multiply(found, pa.scalar(1000, pa.int64())).cast(kind)
    if not pc.all(pc.match_substring_regex(values, _TIME)).as_py():
        return None
    return found.cast(kind)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
