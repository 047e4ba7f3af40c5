"""One cell's trouble is null with a reason at that cell, online and in history alike, and touches no other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from feast import Entity, ValueType
from pydantic import AwareDatetime, BaseModel

from headrace import aggregation, event_source, stream_view
from headrace.aggregates import AGGREGATES, Order, State, Values, cells_of
from headrace.aggregates.count import Count
from headrace.aggregates.last import Last
from headrace.aggregates.last_n import LastN
from headrace.aggregates.sum import Sum
from headrace.plan import DType
from headrace.testing import Testbed
from headrace.times import OFF_CALENDAR, us_of
from tests.aggregates.helpers import PARAMS, kinds_of

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
OVERFLOW = str(Sum.null_reason)


class Reading(BaseModel):
    sensor: str
    at: AwareDatetime
    int64s: int | None = None
    float64s: float | None = None
    bools: bool | None = None
    strings: str | None = None
    timestamps: AwareDatetime | None = None
    dates: date | None = None
    far: int | None = None


EXTREMES: dict[str, list[Any]] = {
    "int64s": [2**63 - 1, 2**63 - 1, -(2**63), -(2**63), -1, 0],
    "float64s": [math.inf, -math.inf, math.nan, 1.7e308, 1.7e308, 5e-324, -0.0],
    "bools": [True, False, True],
    "strings": ["", "\x00", "é" * 100, "a", ""],
    "timestamps": [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        NOON,
    ],
    "dates": [date(1, 1, 1), date(9999, 12, 31), date(1970, 1, 1), date(1969, 12, 31), date(9999, 12, 31)],
    # Milliseconds where to_timestamp takes seconds, and the ends of what an int holds.
    "far": [1_767_614_400_000, -62_135_596_801, 2**63 - 1, -(2**63), 253_402_300_800, 1_767_614_400],
}
PLAIN: dict[str, Any] = {
    "int64s": 7,
    "float64s": 1.5,
    "bools": True,
    "strings": "x",
    "timestamps": NOON,
    "dates": NOON.date(),
    "far": 1_767_614_400,
}

sensor = Entity(name="sensor", value_type=ValueType.STRING)
readings = event_source(name="readings", topic="readings", model=Reading, key="sensor", timestamp_field="at")


def features() -> list[Any]:
    found = []
    for function, dtype in kinds_of():
        columns = ["far_at", "timestamps"] if dtype is DType.TIMESTAMP else [f"{dtype}s"]
        for column in columns:
            given = ", ".join(map(str, PARAMS.get(function, ())))
            text = f"{function}({given})" if given else function
            name = f"{function}_{column}"
            found.append(aggregation(text, column, window=24 * HOUR, slide=HOUR, name=name))
            if not AGGREGATES[function].needs_window:
                found.append(aggregation(text, column, name=f"{name}_ever"))
    return found


@pytest.fixture(scope="module")
def bed() -> Iterator[Testbed]:
    view = stream_view(
        name="v", source=readings, entities=[sensor], derived={"far_at": "to_timestamp(far)"}, aggregations=features()
    )
    with Testbed([view, sensor]) as made:
        events: list[dict[str, Any]] = []
        for column, values in EXTREMES.items():
            for number, value in enumerate(values):
                # Each alone, and all together.
                events.append({"sensor": f"{column}-{number}", column: value})
                events.append({"sensor": f"{column}-all", column: value})
                events.append({"sensor": f"{column}-twice", column: values[0]})
                events.append({"sensor": "good", **PLAIN})
        for number, event in enumerate(events):
            event["at"] = NOON + timedelta(minutes=number % 50)
        made.send("readings", events)
        assert not made.dead_letters()
        yield made


def entities() -> list[str]:
    return [
        "good",
        "unseen",
        *(f"{column}-{end}" for column, values in EXTREMES.items() for end in [*range(len(values)), "all", "twice"]),
    ]


def shown(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: _rounded(value) for name, value in row.items() if name.startswith("v__")} for row in rows]


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    if isinstance(value, float):
        return repr(float(f"{value:.9g}") + 0.0)  # NaN is NaN, and the zeros are one number
    return value


def test_every_aggregate_of_extreme_values_is_one_value_online_and_in_history(bed: Testbed) -> None:
    at = NOON + HOUR
    keys = [{"sensor": name} for name in entities()]
    online = bed.online(["v:*"], keys, at=at).to_pylist()
    online_problems = bed.problems
    history = bed.history(["v:*"], [{**key, "event_timestamp": at} for key in keys]).to_pylist()
    assert bed.problems == online_problems
    for key, served, trained in zip(keys, shown(online), shown(history), strict=True):
        differing = {name: (served[name], trained[name]) for name in served if served[name] != trained[name]}
        assert not differing, (key, differing)
    # Only sums of integers past 64 bits could not be given, and of these both the window's and the lifetime's.
    found = {(keys[row]["sensor"], feature) for row, feature, _ in online_problems}
    assert found == {("int64s-twice", "v__sum_int64s"), ("int64s-twice", "v__sum_int64s_ever")}
    assert {reason for _, _, reason in online_problems} == {OVERFLOW}


def test_the_good_entity_beside_bad_ones_is_unharmed(bed: Testbed) -> None:
    at = NOON + HOUR
    alone = bed.online(["v:*"], [{"sensor": "good"}], at=at).to_pylist()
    beside = bed.online(["v:*"], [{"sensor": name} for name in entities()], at=at).to_pylist()
    assert shown(alone) == shown(beside[:1])
    assert beside[0]["v__last_far_at"] == datetime(2026, 1, 5, 12, tzinfo=UTC)


def test_a_time_that_no_calendar_has_is_null_where_it_is_made(bed: Testbed) -> None:
    bad = [{"sensor": f"far-{number}"} for number in range(5)]
    for row in bed.online(["v:last_far_at", "v:count_far_at", "v:last_n_far_at"], bad, at=NOON + HOUR).to_pylist():
        assert (row["v__last_far_at"], row["v__count_far_at"], row["v__last_n_far_at"]) == (None, 0, [])
    assert not bed.problems


class Fussy(Count):
    """Counts, but raises for a group of three."""

    def result(self, state: State) -> Values:
        if 3 in state[0].tolist():
            msg = "three is too many"
            raise ArithmeticError(msg)
        return super().result(state)


def test_an_aggregate_that_raises_for_one_group_has_the_values_of_the_others() -> None:
    found = cells_of(Fussy(DType.INT64), (np.array([1, 3, 2]),))
    assert found.data[found.valid].tolist() == [1, 2]
    assert found.problems == {1: "count cannot be computed: ArithmeticError: three is too many"}


@pytest.mark.parametrize("kind", [Last, LastN])
def test_records_that_hold_times_off_the_calendar_read_as_null_with_the_reason(kind: type[Last | LastN]) -> None:
    """Such records were written before derived times were checked; their events are in the log for good."""
    params = () if kind is Last else (2,)
    aggregate = kind(DType.TIMESTAMP, params)
    far = us_of(NOON) * 1000
    order = Order(np.arange(2), np.arange(2))
    state = aggregate.add(Values(np.array([far, us_of(NOON)]), np.ones(2, bool)), order)
    found = cells_of(aggregate, state)
    assert found.valid.tolist() == [False, True]
    assert found.problems == {0: OFF_CALENDAR}
