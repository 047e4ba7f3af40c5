"""A lookup's answer on the wire, and back, equal to the bit: as JSON here, as an Arrow stream in `wire_arrow.py`.

    {
      "format": 1,
      "at": "2026-01-01T00:00:00Z", "at_us": 1767225600000000,
      "plan": "…", "origin": "…",
      "entities": {"shop": ["a", "b"]}, "entity_types": {"shop": "string"},
      "features": {"shops__orders_1h": [3, null]}, "types": {"shops__orders_1h": "int64"},
      "views": {
        "shops": {
          "topic": "orders",
          "status": ["present", "unknown_key"],
          "newest_event_us": [1767225599000000, null],
          "evidence": [{"0": 17}, {}]
        }
      },
      "problems": [{"row": 1, "feature": "shops__orders_1h", "reason": "…"}]
    }

Columns have one value per row of the request, in its order. `wire_values.py` says how values are written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from headrace.aggregates import Problem
from headrace.events.columns import Values
from headrace.events.source_partition import SourcePartition
from headrace.lookup.response import AnswerValues, OnlineFeatures, Status, ViewAnswer
from headrace.lookup.wire_arrow import answer_from_arrow, answer_to_arrow
from headrace.lookup.wire_format import ARROW_TYPE, FORMAT, JSON_TYPE, check_format, entity_rows_of, reading, values_of
from headrace.lookup.wire_request import rows_from_answer, rows_to_json
from headrace.lookup.wire_values import EXACT, computed_values, from_json, natural_type, to_json
from headrace.plan import DType
from headrace.stores import Position
from headrace.times import iso_time, us_of

__all__ = [
    "ARROW_TYPE",
    "JSON_TYPE",
    "answer_from_arrow",
    "answer_from_json",
    "answer_to_arrow",
    "answer_to_json",
    "positions_from_json",
    "positions_to_json",
]

_DTYPES = {dtype.value: dtype for dtype in DType}
_STATUSES = {status.value: status for status in Status}


def answer_to_json(answer: OnlineFeatures) -> dict[str, Any]:
    """An answer for JSON: dicts with text keys, lists, text, finite numbers, booleans and None.

    Args:
        answer: The answer.

    Raises:
        LookupRequestError: A value of the request has no JSON.
    """
    return {
        "format": FORMAT,
        "at": iso_time(answer.at_us),
        "at_us": _whole(answer.at_us),
        "plan": answer.plan_hash,
        "origin": answer.origin,
        **rows_to_json(entity_rows_of(answer)),
        "features": _features(answer),
        "types": {name: dtype.value for name, dtype in answer.dtypes.items()},
        "views": {name: _view(view, answer.topics.get(name)) for name, view in answer.views.items()},
        "problems": [problem._asdict() for problem in answer.problems],
    }


def answer_from_json(data: Any, entity_rows: Sequence[dict[str, Any]] | None = None) -> OnlineFeatures:
    """The answer that `answer_to_json` wrote.

    Args:
        data: The JSON.
        entity_rows: The rows of the request; None takes those of the JSON.

    Raises:
        ServerError: The JSON is no answer, or has another format.
    """
    check_format(data)
    with reading():
        dtypes = {name: _DTYPES[text] for name, text in data["types"].items()}
        problems = [Problem(one["row"], one["feature"], one["reason"]) for one in data["problems"]]
        views: dict[str, ViewAnswer] = {name: _ReceivedView(view) for name, view in data["views"].items()}
        return OnlineFeatures(
            at_us=int(data["at_us"]),
            plan_hash=data["plan"],
            topics={name: view["topic"] for name, view in data["views"].items() if view["topic"] is not None},
            entity_rows=rows_from_answer(data) if entity_rows is None else entity_rows,
            dtypes=dtypes,
            values=_ReceivedValues(_same_names(data["features"], dtypes), dtypes, problems),
            views=views,
            origin=data["origin"],
        )


def positions_to_json(now: datetime, positions: Mapping[SourcePartition, Position]) -> dict[str, Any]:
    """Now, and how far each source partition has been applied, for JSON.

    Args:
        now: Now, by the store's clock.
        positions: By source partition.
    """
    return {
        "format": FORMAT,
        "now": iso_time(us_of(now)),
        "positions": [
            {
                "topic": source.topic,
                "partition": source.partition,
                "offset": _whole(at.offset),
                "record_ts_us": _whole(at.record_ts_us),
                "event_ts_us": _whole(at.event_ts_us),
            }
            for source, at in positions.items()
        ],
    }


def positions_from_json(data: Any) -> tuple[datetime, dict[SourcePartition, Position]]:
    """What `positions_to_json` wrote.

    Args:
        data: The JSON.

    Raises:
        ServerError: The JSON is something else, or has another format.
    """
    check_format(data)
    with reading():
        positions = {
            SourcePartition(one["topic"], one["partition"]): Position(
                int(one["offset"]), int(one["record_ts_us"]), int(one["event_ts_us"])
            )
            for one in data["positions"]
        }
        return datetime.fromisoformat(data["now"]), positions


def _same_names(features: dict[str, list[Any]], dtypes: Mapping[str, DType]) -> dict[str, list[Any]]:
    if features.keys() != dtypes.keys():
        msg = "features and types have different names"
        raise ValueError(msg)
    return features


def _features(answer: OnlineFeatures) -> dict[str, list[Any]]:
    values, dtypes = values_of(answer), answer.dtypes
    found: dict[str, list[Any]] = dict.fromkeys(values, [])
    for block in values.blocks:
        known, columns, natural = block.known(), len(block.names), natural_type(block.data)
        for place, names in enumerate(block.names):
            column = known[place::columns]
            for name in names:
                found[name] = column if dtypes[name] is natural else to_json(dtypes[name], column)
    return found


def _view(view: ViewAnswer, topic: str | None) -> dict[str, Any]:
    return {
        "topic": topic,
        "status": [status.value for status in view.status],
        "newest_event_us": [None if us is None else _whole(us) for us in view.newest_event_us],
        "evidence": [{str(partition): _whole(at) for partition, at in applied.items()} for applied in view.applied],
    }


def _whole(value: int) -> int | str:
    """A whole number; as text where JavaScript's numbers cannot hold it."""
    return value if -EXACT <= value <= EXACT else str(value)


class _ReceivedValues(AnswerValues):
    """The values of an answer that came as JSON; each column is read when it is needed."""

    def __init__(self, columns: Mapping[str, list[Any]], dtypes: Mapping[str, DType], problems: list[Problem]) -> None:
        self._columns = columns
        self._dtypes = dtypes
        self._problems = problems

    def __getitem__(self, name: str) -> Values:
        return computed_values(self._dtypes[name], from_json(self._dtypes[name], self._columns[name]))

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def problems(self) -> list[Problem]:
        return list(self._problems)

    def lists(self) -> dict[str, list[Any]]:
        return {name: from_json(self._dtypes[name], column) for name, column in self._columns.items()}


class _ReceivedView(ViewAnswer):
    """What a view knew, as it came as JSON."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = data

    @cached_property
    def status(self) -> list[Status]:
        """The status of each row's entity."""
        return [_STATUSES[text] for text in self._data["status"]]

    @cached_property
    def newest_event_us(self) -> list[int | None]:
        """The time of the newest event applied for each row's entity, in µs; None where there is none."""
        return [None if us is None else int(us) for us in self._data["newest_event_us"]]

    @cached_property
    def applied(self) -> list[dict[int, int]]:
        """The evidence: per row, by source partition, the offset that the entity's record had applied."""
        return [{int(partition): int(at) for partition, at in applied.items()} for applied in self._data["evidence"]]
