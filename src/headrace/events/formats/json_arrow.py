"""Reading the events of a plain model as columns: Arrow parses a whole fetch at once, outside the interpreter's lock.

Arrow's parser differs from pydantic's. It is used only where both give the same result; in any doubt the answer is
None, and pydantic reads the fetch. Before parsing, each record must look like an object, so that no record can end or
complete another. After parsing, the values must be such that both parsers read them alike, and must meet the model's
constraints.
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
"""pydantic refuses numbers of more than 4,300 digits anywhere in a record; Arrow does not."""

_DEEPEST = 100
"""pydantic refuses about 200 levels of nesting; Arrow does not."""

_EXACT = float(2**53)
"""Below this number every integer can be stored as a float. Above it, the parsers treat digits differently."""

_FIRST_MS, _LAST_MS = 20_000_000_000, 253_402_300_799_999
"""pydantic reads numbers up to the first as seconds. The second is the end of the calendar."""

_TIME = r"^[1-9]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$"
"""The only form of a time that is parsed here: `model_dump_json` and headrace's producer write it."""

_MOST_MEMBERS = 100_000
_MOST_BYTES = 1 << 30  # Arrow limits the size of a block


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
            One row per record; None where pydantic has to read them.
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
        """The records as lines, for the parser; None where it could read them differently from pydantic.

        Each line begins and ends with a brace, and JSON has no line feeds in texts. So no text continues on the next
        line, and nothing else that is open at the end of a line can continue with a brace: a line has whole objects, at
        least one. With as many rows as lines, each line has one.
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
            # The only control characters are line ends. (A NUL would end the input for the parser.)
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
        """Note how the first record writes its times; the others probably do the same. False where it is no object."""
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
        """A column with the values that pydantic would give; None where that is not sure."""
        if not found.null_count:
            return self._checked(field, found, found)
        # Where no null is written, a null is a field that was left out.
        fills = not field.takes_null and field.default is not None and b"null" not in joined
        if not (field.takes_null or fills or (field.nullable and _is_named_by_all(field.name, joined, len(found)))):
            return None
        values = found.drop_null()
        checked = self._checked(field, found, values) if len(values) else found.cast(ARROW_TYPES[field.dtype])
        return checked.fill_null(field.default) if fills and checked is not None else checked

    def _checked(self, field: PlainField, found: pa.Array, values: pa.Array) -> pa.Array | None:
        """A column, where its values meet the constraints; else None."""
        match field.dtype:
            case DType.TIMESTAMP:
                return _times(found, values)
            case DType.INT64:
                is_valid = field.extremes is None or _within(field.extremes, values.to_numpy())
            case DType.FLOAT64:
                floats = values.to_numpy()
                # pydantic reads `-0` as an integer, so its zero has no sign.
                is_valid = bool((np.abs(floats) < _EXACT).all()) and not (np.signbit(floats) & (floats == 0)).any()
                is_valid = is_valid and (field.extremes is None or _within(field.extremes, floats))
            case DType.STRING:
                is_valid = self._texts_valid(field, values)
            case _:
                is_valid = True
        return found if is_valid else None

    def _texts_valid(self, field: PlainField, values: pa.Array) -> bool:
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
    """Whether both parsers accept the fields that a model skips: their limits of numbers and nesting differ."""
    if lengths.max() > _LONGEST or b"Inf" in joined:
        return False
    opens = (chars == _OPENS) | (chars == _OPENS_LIST)
    return bool(
        np.count_nonzero(opens) < len(lengths) + _DEEPEST
        or np.add.reduceat(opens, ends - lengths, dtype=np.int64).max() < _DEEPEST
    )


def _is_named_by_all(name: str, joined: bytes, records: int) -> bool:
    """Whether each record has a field, so that null was written.

    Where nothing is nested or escaped, only fields have a colon after them.
    """
    return (
        b"\\" not in joined and joined.count(b"{") == records and joined.count(b'"' + name.encode() + b'":') == records
    )


def _within(constraint: SchemaValidator, values: Array) -> bool:
    """True where values are within bounds; ValidationError where not.

    It is enough to check the least and the greatest.
    """
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
