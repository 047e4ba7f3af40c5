"""The answer of a lookup: values, statuses, freshness and evidence."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from headrace.aggregates import NO_PROBLEMS, Problem
from headrace.events.columns import Array, BoolArray, IntArray, Values, decimal_of
from headrace.events.source_partition import SourcePartition
from headrace.extras import needing
from headrace.lookup.request import EntityRows
from headrace.plan import DType
from headrace.times import date_of, datetime_of, iso_time
from headrace.windows import NEVER

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = [
    "WRITE_SEQUENCE",
    "AnswerValues",
    "Block",
    "FeatureValues",
    "OnlineFeatures",
    "Status",
    "ViewAnswer",
    "json_value",
    "maker",
]

WRITE_SEQUENCE = -1
"""In the evidence of a batch view, what stands where a stream view has a source partition; see `RowStore`."""


class Status(StrEnum):
    """What a view knew about an entity.

    `present`: events count at the time asked for; of a batch view, its newest row is not older than its TTL. `expired`:
    events or a row were seen, but none counts any more. `unknown_key`: no event or row was ever seen. `not_ready`: the
    store is empty or being filled, so nothing is known and every feature is null.

    A single feature's status may also be `error`: its value cannot be given (for example a sum of integers past 64
    bits), so it is null, and the answer's `problems` say why.
    """

    PRESENT = "present"
    EXPIRED = "expired"
    UNKNOWN_KEY = "unknown_key"
    NOT_READY = "not_ready"
    ERROR = "error"


class Block(NamedTuple):
    """Features that were computed together.

    Attributes:
        names: The features of each column, by `view__feature`; several features may have the same values.
        data: The values, column by column of one row after the other, shape (rows * columns,); undefined where null.
        valid: False where a value is null, shape (rows * columns,).
        problems: By place in `data`, why a value cannot be given.
    """

    names: tuple[tuple[str, ...], ...]
    data: Array
    valid: BoolArray
    problems: Mapping[int, str] = NO_PROBLEMS

    def known(self) -> list[Any]:
        """The values as a list, None where they are null."""
        known: list[Any] = self.data.tolist()
        if b"\0" in self.valid.tobytes():
            for null in np.flatnonzero(~self.valid).tolist():
                known[null] = None
        return known


Maker = Callable[[Any], Any]
"""Makes a Python value of one that an aggregate computed."""


class AnswerValues(Mapping[str, Values]):
    """The values of each feature, by `view__feature`, one per row."""

    @abstractmethod
    def problems(self) -> list[Problem]:
        """The cells whose values cannot be given, by row and then in the order asked for."""

    @abstractmethod
    def lists(self) -> dict[str, list[Any]]:
        """The values as Python values, None where they are null."""


class FeatureValues(AnswerValues):
    """The values of each feature, by `view__feature`, one per row; each is sliced out when it is read.

    Args:
        makers: What makes Python values of each feature's, in the order asked for; None if they need no conversion.
        blocks: The features.
    """

    def __init__(self, makers: Mapping[str, Maker | None], blocks: Sequence[Block]) -> None:
        self._makers = makers
        self._blocks = blocks

    @classmethod
    def of(cls, values: Mapping[str, Values], dtypes: Mapping[str, DType]) -> FeatureValues:
        """The values of features that were computed one by one, with their types."""
        return cls(
            {name: maker(dtypes[name]) for name in values}, [Block(((name,),), *one) for name, one in values.items()]
        )

    @property
    def blocks(self) -> Sequence[Block]:
        """The features."""
        return self._blocks

    def __getitem__(self, name: str) -> Values:
        for names, data, valid, _ in self._blocks:
            for place, of_column in enumerate(names):
                if name in of_column:
                    return Values(data[place :: len(names)], valid[place :: len(names)])
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    def problems(self) -> list[Problem]:
        """The cells whose values cannot be given, by row and then in the order asked for."""
        found = [
            Problem(place // len(block.names), name, reason)
            for block in self._blocks
            for place, reason in block.problems.items()
            for name in block.names[place % len(block.names)]
        ]
        number = {name: place for place, name in enumerate(self._makers)}
        return sorted(found, key=lambda problem: (problem.row, number[problem.feature]))

    def lists(self) -> dict[str, list[Any]]:
        """The values as Python values, None where they are null."""
        found: dict[str, list[Any]] = dict.fromkeys(self._makers, [])
        for block in self._blocks:
            known, columns = block.known(), len(block.names)
            for place, of_column in enumerate(block.names):
                for name in of_column:
                    column = known[place::columns]
                    make = self._makers[name]
                    found[name] = column if make is None else [None if one is None else make(one) for one in column]
        return found


class ViewAnswer:
    """What one view knew, per row of the request; each part is made when it is first read.

    Args:
        newest_event_us: The time of the newest event applied for each row's entity, in µs; `NEVER` if there is none.
        counted: Whether windows count any event of each record at the time asked for, shape (records, windows), and
            which of the windows are the widest.
        row: The row that each record found belongs to, ascending, shape (records,).
        sources: Each record's source partition.
        applied: Each record's applied offset.
    """

    def __init__(
        self,
        newest_event_us: Sequence[int],
        counted: Sequence[tuple[BoolArray, Sequence[int]]],
        row: IntArray,
        sources: Sequence[SourcePartition],
        applied: Sequence[int],
    ) -> None:
        self._newest = newest_event_us
        self._counted = counted
        self._row = row
        self._sources = sources
        self._applied = applied

    @cached_property
    def status(self) -> list[Status]:
        """The status of each row's entity."""
        found = [Status.UNKNOWN_KEY if ts == NEVER else Status.EXPIRED for ts in self._newest]
        for is_counted, widest in self._counted:
            for row in self._row[is_counted[:, widest].any(axis=1)].tolist():
                found[row] = Status.PRESENT
        return found

    @cached_property
    def newest_event_us(self) -> list[int | None]:
        """The time of the newest event applied for each row's entity, in µs; None where there is none."""
        return [ts if ts != NEVER else None for ts in self._newest]

    @cached_property
    def applied(self) -> list[dict[int, int]]:
        """The evidence: per row, by source partition, the offset that the entity's record had applied.

        Of a batch view: under `WRITE_SEQUENCE`, the number of the write that brought the row.
        """
        found: list[dict[int, int]] = [{} for _ in range(len(self._newest))]
        for row, source, offset in zip(self._row.tolist(), self._sources, self._applied, strict=True):
            found[row][source.partition] = offset
        return found


@dataclass(frozen=True)
class OnlineFeatures:
    """The answer to a lookup.

    Attributes:
        at_us: The time it answers for, in µs.
        plan_hash: The plan that was used.
        topics: Per view, the topic that its evidence is about; an on-demand view has none.
        entity_rows: The request's rows.
        dtypes: The type of each feature, by `view__feature`.
        values: The values of each feature, by `view__feature`, one per row.
        views: Status, freshness and evidence, by view: those asked for, and those that on-demand views read.
        origin: JSON: which logs the store's records were made from, and since when
            (`headrace.stores.catalogue.Origin`).
    """

    at_us: int
    plan_hash: str
    topics: dict[str, str]
    entity_rows: Sequence[dict[str, Any]]
    dtypes: dict[str, DType]
    values: Mapping[str, Values]
    views: dict[str, ViewAnswer]
    origin: str = ""

    @property
    def at(self) -> datetime:
        """The time it answers for."""
        return datetime_of(self.at_us)

    @cached_property
    def problems(self) -> list[Problem]:
        """The cells that are null because their value cannot be given, with row, feature and reason."""
        return self.values.problems() if isinstance(self.values, AnswerValues) else []

    def statuses(self) -> dict[str, list[Status]]:
        """The status of each cell, by `view__feature`: its view's, or `error` where the value cannot be given."""
        views = sorted(self.views, key=len, reverse=True)  # a view's name may begin with another's
        view_of = {name: next(view for view in views if name.startswith(f"{view}__")) for name in self.values}
        found = {name: list(self.views[view].status) for name, view in view_of.items()}
        for row, feature, _ in self.problems:
            found[feature][row] = Status.ERROR
        return found

    def to_dict(self, *, include_status: bool = False) -> dict[str, list[Any]]:
        """Columns of Python values: the request's keys, then the features by `view__feature`.

        Args:
            include_status: Whether to add `view__feature__status` after each feature's column: the status of each cell.
        """
        rows = self.entity_rows if isinstance(self.entity_rows, EntityRows) else EntityRows(rows=self.entity_rows)
        columns: dict[str, list[Any]] = {name: list(values) for name, values in rows.columns.items()}
        if not include_status:
            columns.update(self._python())
            return columns
        statuses = self.statuses()
        for name, values in self._python().items():
            columns |= {name: values, f"{name}__status": [str(status) for status in statuses[name]]}
        return columns

    def to_arrow(self) -> pa.Table:
        """The same columns as an Arrow table, features typed as the plan says."""
        import pyarrow as pa

        from headrace.events.event_batch import ARROW_TYPES

        types = {name: ARROW_TYPES[self.dtypes[name]] for name in self.values}
        return pa.table({name: pa.array(values, type=types.get(name)) for name, values in self.to_dict().items()})

    def to_df(self) -> pd.DataFrame:
        """The same columns as a pandas data frame (needs pandas)."""
        with needing("offline"):
            frame: pd.DataFrame = self.to_arrow().to_pandas()
        return frame

    def records(self) -> list[dict[str, Any]]:
        """One JSON-ready object per row: its keys, features, what each view knew, and its evidence.

        By the evidence the log recomputes the row exactly. If some values cannot be given, the row has `problems` too:
        by feature, why it is null.
        """
        features = {name: [json_value(value) for value in values] for name, values in self._python().items()}
        problems: dict[int, dict[str, str]] = {}
        for row, feature, reason in self.problems:
            problems.setdefault(row, {})[feature] = reason
        # An on-demand view has no evidence of its own.
        having = {name for name, answer in self.views.items() if name in self.topics or any(answer.applied)}
        return [
            {
                "at": iso_time(self.at_us),
                "at_us": self.at_us,
                "keys": {name: json_value(value) for name, value in row.items()},
                "features": {name: values[number] for name, values in features.items()},
                "views": {
                    name: {
                        "status": str(answer.status[number]),
                        "newest_event": iso_time(answer.newest_event_us[number]),
                    }
                    for name, answer in self.views.items()
                },
                "evidence": {
                    name: {str(partition): offset for partition, offset in answer.applied[number].items()}
                    for name, answer in self.views.items()
                    if name in having
                },
                "plan": self.plan_hash,
                **({"problems": problems[number]} if number in problems else {}),
            }
            for number, row in enumerate(self.entity_rows)
        ]

    def _python(self) -> dict[str, list[Any]]:
        """The features as Python values."""
        values = self.values
        return (values if isinstance(values, AnswerValues) else FeatureValues.of(values, self.dtypes)).lists()


_MADE: dict[DType, Maker] = {DType.BOOL: bool, DType.TIMESTAMP: datetime_of, DType.DATE: date_of}
"""Makes a Python value of one that an aggregate computed, for the types that need it."""


@cache
def maker(dtype: DType) -> Maker | None:
    """What makes Python values of a type's computed values; None if they need no conversion."""
    if dtype.scale is not None:
        return partial(decimal_of, scale=dtype.scale)
    made = _MADE.get(dtype.element or dtype)
    if made is None or dtype.element is None:
        return made
    return partial(_each, made)


def _each(made: Maker, values: list[Any]) -> list[Any]:
    return [None if value is None else made(value) for value in values]  # rows of batch views may have nulls in lists


def json_value(value: Any) -> Any:
    """A value for JSON: times and dates as ISO 8601.

    NaN and infinities as strings, because JSON has no numbers for them.
    """
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, list):
        return [json_value(one) for one in value]
    return value
