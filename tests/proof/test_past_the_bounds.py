"""Past their bounds, too, sketches and samples are the same online and from the log, for late events in any order."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest

from headrace.aggregates import AGGREGATES
from headrace.aggregates.registry import aggregate_of
from headrace.plan import Column, DType, Feature, Plan, Source, View
from headrace.testing import Testbed
from proofs.brute import Want
from proofs.cases import COLUMNS, Fact, moment
from proofs.check import same
from tests.aggregates.helpers import PARAMS

SUMMED = {
    "sum",
    "mean",
    "skew",
    "decayed_sum",
    "decayed_count",
    "decayed_mean",
    "var_pop",
    "var_samp",
    "stddev_pop",
    "stddev_samp",
}
"""Functions that add doubles up; all others agree exactly, doubles too."""
DAY = 86_400_000_000
START = 1_709_596_800_000_000
EVENTS = 2_500
SOURCE = Source(
    name="s",
    topic="s",
    model="proofs.cases:Fact",
    key="key",
    timestamp_field="at",
    columns=tuple(Column(name=name, dtype=dtype, nullable=name != "at") for name, dtype in COLUMNS.items()),
    max_future_us=100 * DAY,
)


def features() -> tuple[Feature, ...]:
    """Every aggregate of a column with many values, over three days, a sliding day and a lifetime."""
    found = []
    for function, kind in AGGREGATES.items():
        column = next(name for name in ("name", "y", "n") if COLUMNS[name] in kind.accepts)
        for label, window, slide in (("days", 3 * DAY, DAY), ("day", DAY, DAY // 24), ("ever", None, None)):
            if window is None and kind.needs_window:
                continue
            feature = Feature(
                name=f"{function}_{label}",
                function=function,
                column=column,
                window_us=window,
                slide_us=slide,
                dtype=DType.INT64,
                params=kind.parameters(PARAMS.get(function, ())),
            )
            found.append(feature.model_copy(update={"dtype": aggregate_of(feature, SOURCE).result_dtype}))
    return tuple(found)


FEATURES = features()
VIEW = View(
    name="v",
    source="s",
    entities=(Column(name="key", dtype=DType.STRING, nullable=False),),
    features=FEATURES,
    input=SOURCE.input_of(FEATURES, ()),
)
PLAN = Plan(project="bounds", sources={"s": SOURCE}, views={"v": VIEW})


def row(dice: random.Random) -> dict[str, Any]:
    ts = START + dice.randrange(4 * DAY)
    nothing: dict[str, Any] = dict.fromkeys(COLUMNS)
    return nothing | {
        "key": "a",
        "at": moment(ts),
        "n": dice.randrange(9),
        "y": dice.gauss(),
        "name": f"{dice.randrange(5000)}",
    }


def agree(function: str, online: Any, log: Any) -> bool:
    return bool(online == log) or (function in SUMMED and same(function, online, Want(log, slack=1e-9)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_sketches_and_samples_are_the_same_online_and_from_the_log(seed: int) -> None:
    dice = random.Random(seed)
    names = [f"v:{feature.name}" for feature in FEATURES]
    with Testbed(PLAN, 3, models={"s": Fact}, store="memory") as bed:
        left = EVENTS
        while left:
            count = min(left, dice.choice([1, 7, 60, 400]))
            left -= count
            known = moment(START + 4 * DAY + (EVENTS - left) * 1000)
            bed.send("s", [row(dice) for _ in range(count)], known_at=[known] * count, partition=dice.randrange(3))
            if dice.random() < 0.1:
                bed.restart()
            if dice.random() < 0.1:
                bed.replay(dice.randrange(8))
        times = [START + 4 * DAY + EVENTS * 1000 + late for late in (0, DAY // 2, DAY, 5 * DAY)]
        online = [bed.online(names, [{"key": "a"}], at=moment(t)).to_pylist()[0] for t in times]
        asked = {"key": ["a"] * len(times), "event_timestamp": pa.array(times, pa.timestamp("us", "UTC"))}
        log = bed.history(names, pa.table(asked), as_of="known").to_pylist()
    assert online[0]["v__count_distinct_ever"] > 1000  # otherwise no bound is passed
    assert online[0]["v__count_ever"] == EVENTS
    differing = [
        (feature.name, t)
        for t, one, other in zip(times, online, log, strict=True)
        for feature in FEATURES
        if not agree(feature.function, one[f"v__{feature.name}"], other[f"v__{feature.name}"])
    ]
    assert differing == []
