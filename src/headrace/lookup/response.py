"""What a lookup answers: values, and what it knew when it answered."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from headrace.events.columns import BoolArray, IntArray, Values
from headrace.lookup.request import EntityRows
from headrace.plan import DType
from headrace.times import datetime_of, iso_time
from headrace.windows import NEVER

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["OnlineFeatures", "Status", "ViewAnswer"]


class Status(StrEnum):
    """What a view knew of an entity.

    `present`: events count at the time asked for. `expired`: events were seen, none counts any more. `unknown_key`: no event was ever seen.
    """

    PRESENT = "present"
    EXPIRED = "expired"
    UNKNOWN_KEY = "unknown_key"


class ViewAnswer:
    """What one view said, per row of the request; each part is made when it is first asked for.

    Args:
        newest_event_us: The time of the newest event applied for each row's entity, in µs; `NEVER` where there is none, shape (rows,).
        is_present: Whether any event counts at the time asked for, shape (rows,).
        row: The row that each record found belongs to, ascending, shape (records,).
        partition: Each record's source partition.
        applied: Each record's applied offset, shape (records,).
    """

    def __init__(
        self,
        newest_event_us: IntArray,
        is_present: BoolArray,
        row: IntArray,
        partition: Sequence[int],
        applied: IntArray,
    ) -> None:
        self._newest = newest_event_us
        self._is_present = is_present
        self._row = row
        self._partition = partition
        self._applied = applied

    @cached_property
    def status(self) -> list[Status]:
        """The status of each row's entity."""
        seen = (self._newest != NEVER).tolist()
        return [
            Status.PRESENT if is_present else Status.EXPIRED if is_seen else Status.UNKNOWN_KEY
            for is_present, is_seen in zip(self._is_present.tolist(), seen, strict=True)
        ]

    @cached_property
    def newest_event_us(self) -> list[int | None]:
        """The time of the newest event applied for each row's entity, in µs; None where there is none."""
        return [ts if ts != NEVER else None for ts in self._newest.tolist()]

    @cached_property
    def applied(self) -> list[dict[int, int]]:
        """The evidence: per row, by source partition, the offset that the entity's record had applied."""
        found: list[dict[int, int]] = [{} for _ in range(len(self._newest))]
        for row, partition, offset in zip(self._row.tolist(), self._partition, self._applied.tolist(), strict=True):
            found[row][partition] = offset
        return found


@dataclass(frozen=True)
class OnlineFeatures:
    """The answer to a lookup.

    Attributes:
        at_us: The time it answers for, in µs.
        plan_hash: The plan that was used.
        topics: Per view, the topic that its evidence speaks of.
        entity_rows: The request's rows.
        dtypes: The type of each feature, by `view__feature`.
        values: The values of each feature, by `view__feature`, one per row.
        views: Status, freshness and evidence, by view.
    """

    at_us: int
    plan_hash: str
    topics: dict[str, str]
    entity_rows: Sequence[dict[str, Any]]
    dtypes: dict[str, DType]
    values: dict[str, Values]
    views: dict[str, ViewAnswer]

    @property
    def at(self) -> datetime:
        """The time it answers for."""
        return datetime_of(self.at_us)

    def to_dict(self) -> dict[str, list[Any]]:
        """Columns of Python values: the request's keys, then the features by `view__feature`."""
        rows = self.entity_rows if isinstance(self.entity_rows, EntityRows) else EntityRows(rows=self.entity_rows)
        columns: dict[str, list[Any]] = {name: list(values) for name, values in rows.columns.items()}
        for name in self.values:
            columns[name] = self._python(name)
        return columns

    def to_arrow(self) -> pa.Table:
        """The same columns as an Arrow table, features typed as the plan says."""
        import pyarrow as pa

        from headrace.events.batch import ARROW_TYPES

        columns = {name: pa.array(values) for name, values in self.to_dict().items() if name not in self.values}
        for name in self.values:
            columns[name] = pa.array(self._python(name), type=ARROW_TYPES[self.dtypes[name]])
        return pa.table(columns)

    def to_df(self) -> pd.DataFrame:
        """The same columns as a pandas data frame (needs pandas)."""
        frame: pd.DataFrame = self.to_arrow().to_pandas()
        return frame

    def records(self) -> list[dict[str, Any]]:
        """One JSON-ready object per row: its keys, features, what each view knew, and the evidence by which the log recomputes it exactly."""
        features = {name: [json_value(value) for value in self._python(name)] for name in self.values}
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
                },
                "plan": self.plan_hash,
            }
            for number, row in enumerate(self.entity_rows)
        ]

    def _python(self, name: str) -> list[Any]:
        data, valid = self.values[name]
        known: list[Any] = data.tolist()
        is_known: list[bool] = valid.tolist()
        if False in is_known:
            known = [value if ok else None for value, ok in zip(known, is_known, strict=True)]
        made, is_list = _how(self.dtypes[name])
        if made is None:
            return known
        if not is_list:
            return [None if value is None else made(value) for value in known]
        return [None if values is None else [made(value) for value in values] for values in known]


_MADE: dict[DType, Callable[[Any], Any]] = {DType.BOOL: bool, DType.TIMESTAMP: datetime_of}
"""What makes a Python value of what aggregates compute, where that is not one already."""


@cache
def _how(dtype: DType) -> tuple[Callable[[Any], Any] | None, bool]:
    """What makes Python values of a type, if anything has to, and whether the type is of lists of them."""
    return _MADE.get(dtype.element or dtype), dtype.element is not None


def json_value(value: Any) -> Any:
    """A value as JSON can hold it: times as ISO 8601, and NaN and infinities as strings, for JSON has no numbers for them."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list):
        return [json_value(one) for one in value]
    return value
