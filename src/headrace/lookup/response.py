"""What a lookup answers: values, and what it knew when it answered."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from headrace.events.columns import Values
from headrace.plan import DType
from headrace.times import datetime_of, iso_time

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


@dataclass(frozen=True)
class ViewAnswer:
    """What one view said, per row of the request.

    Attributes:
        status: The status of each row's entity.
        newest_event_us: The time of the newest event applied for the entity, in µs; None where there is none.
        applied: The evidence: per source partition, the offset that the entity's record had applied.
    """

    status: list[Status]
    newest_event_us: list[int | None]
    applied: list[dict[int, int]]


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
    entity_rows: list[dict[str, Any]]
    dtypes: dict[str, DType]
    values: dict[str, Values]
    views: dict[str, ViewAnswer]

    @property
    def at(self) -> datetime:
        """The time it answers for."""
        return datetime_of(self.at_us)

    def to_dict(self) -> dict[str, list[Any]]:
        """Columns of Python values: the request's keys, then the features by `view__feature`."""
        names = dict.fromkeys(name for row in self.entity_rows for name in row)
        keys = {name: [row.get(name) for row in self.entity_rows] for name in names}
        return {**keys, **{name: self._python(name) for name in self.values}}

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
        dtype = self.dtypes[name]
        known = [value if ok else None for value, ok in zip(data.tolist(), valid.tolist(), strict=True)]
        made = _MADE.get(dtype.element or dtype)
        if made is None:
            return known
        if dtype.element is None:
            return [None if value is None else made(value) for value in known]
        return [None if values is None else [made(value) for value in values] for values in known]


_MADE: dict[DType, Callable[[Any], Any]] = {DType.BOOL: bool, DType.TIMESTAMP: datetime_of}
"""What makes a Python value of what aggregates compute, where that is not one already."""


def json_value(value: Any) -> Any:
    """A value as JSON can hold it: times as ISO 8601, and NaN and infinities as strings, for JSON has no numbers for them."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list):
        return [json_value(one) for one in value]
    return value
