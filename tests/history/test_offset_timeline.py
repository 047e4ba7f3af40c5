"""Evidence: an event counts where its offset is covered, beside the brute force of the proofs."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.aggregates import AGGREGATES
from headrace.errors import SpineError
from headrace.history import PointInTimeJoin
from headrace.history.limits import Limits
from headrace.log.log_columns import FIRST_IMPORT
from headrace.plan import DType, Feature, View
from proofs import brute
from proofs.check import same
from tests.examples import few_and_many
from tests.history.conftest import LogOf
from tests.history.oracle import Event, Row
from tests.history.rides import SOURCE, assert_as_brute_force, counted, join, plan_of, ride, spine_of, view_of

FUNCTIONS = [
    ("count", "*", DType.INT64, ()),
    ("count", "seats", DType.INT64, ()),
    ("sum", "seats", DType.INT64, ()),
    ("mean", "seats", DType.FLOAT64, ()),
    ("min", "seats", DType.INT64, ()),
    ("max", "seats", DType.INT64, ()),
    ("last", "seats", DType.INT64, ()),
    ("first", "seats", DType.INT64, ()),
    ("max", "driver", DType.STRING, ()),
    ("count_distinct", "driver", DType.INT64, ()),
    ("last_n", "driver", DType.STRING_LIST, (3,)),
    ("var_pop", "seats", DType.FLOAT64, ()),
]
WINDOWS: list[tuple[int | None, int | None]] = [(30, 10), (9, 1), (40, 40), (None, None)]
LIMITS = [
    Limits(),
    Limits(displaced=0, dense=0, pairs=3),
    Limits(displaced=2, dense=0),
    Limits(displaced=10_000, dense=1_000, pairs=1),
    Limits(least_shard=1, shard_events=5, parts=2),
]


def sales_view() -> View:
    """A view of features that are read from states, and of features whose events are gathered."""
    features = tuple(
        Feature(
            name=f"{function}_{'all' if column == '*' else column}_{number}",
            function=function,
            column=column,
            window_us=window,
            slide_us=slide,
            dtype=dtype,
            params=AGGREGATES[function].parameters(params),
            where="shared" if number == 1 and function != "mean" else None,
            offset_us=10 if number == 0 and function in ("sum", "last_n") else 0,
        )
        for number, (window, slide) in enumerate(WINDOWS)
        for function, column, dtype, params in FUNCTIONS
    )
    return View(name="rides", source="rides", entities=SOURCE.columns[:1], features=features)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Event], list[Row]]:
    """Events of several partitions and an import: late, sent twice, at equal times; some erased, some offsets lost."""
    events: list[Event] = []
    for partition in (0, 1, 5, FIRST_IMPORT):
        clock, offset = draw(st.integers(-40, 40)), draw(st.integers(0, 3))
        for _ in range(draw(st.integers(0, 14))):
            clock += draw(st.sampled_from([0, 0, 1, 3, 9]))
            offset += draw(st.sampled_from([1, 1, 1, 2, 30]))  # a gap: these offsets are lost
            late = draw(st.sampled_from([0, 0, 0, 2, 25, 90, -7]))
            # An import's offsets follow its file, in whatever order its rows are.
            ts = draw(st.integers(-60, 100)) if partition == FIRST_IMPORT else clock - late
            given_values = {
                "city": draw(st.sampled_from(["a", "a", "b"])),
                "seats": draw(st.none() | st.integers(-5, 5)),
                "driver": draw(st.none() | st.sampled_from(["x", "y", "z"])),
                "shared": draw(st.none() | st.booleans()),
            }
            events.append(ride(ts, offset, partition=partition, known_at=clock, **given_values))
            if draw(st.integers(0, 5)) == 0:  # the same event again, at an offset of its own
                offset += 1
                events.append(ride(ts, offset, partition=partition, known_at=clock, **given_values))
    kept = [event for event in events if draw(st.integers(0, 9))]  # the others were erased
    offsets = [event.offset for event in events] or [0]
    applied = st.dictionaries(
        st.sampled_from([0, 1, 5, FIRST_IMPORT, 77]), st.integers(-1, 3) | st.sampled_from(offsets), max_size=5
    )
    row = st.builds(Row, st.integers(-60, 160), st.fixed_dictionaries({"city": st.sampled_from("abc")}), applied)
    return kept, draw(st.lists(row, min_size=1, max_size=20))


@few_and_many(3, 80)
def test_evidence_is_what_brute_force_finds(log_of: LogOf, examples: int) -> None:
    view = sales_view()

    @settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(history=histories(), limits=st.sampled_from(LIMITS))
    def check(history: tuple[list[Event], list[Row]], limits: Limits) -> None:
        events, rows = history
        found = join(view, log_of(SOURCE, events), rows, "evidence", limits).to_pylist()
        for row, values in zip(rows, found, strict=True):
            for feature in view.features:
                want = expected(feature, events, row)
                value = values[f"rides__{feature.name}"]
                assert same(feature.function, value, want), f"{feature} at {row} is {value!r}, and must be {want}"

    check()


def expected(feature: Feature, events: Sequence[Event], row: Row) -> brute.Want:
    meaning = brute.Meaning(
        feature.name,
        feature.function,
        feature.column,
        feature.window_us,
        feature.slide_us,
        feature.params,
        feature.where,
        feature.offset_us,
    )
    known = [
        brute.Event(event.ts, row.t, event.partition, event.offset, event.values)  # known by the row's time, if covered
        for event in sorted(events, key=lambda event: (event.ts, event.partition, event.offset))
        if event.values["city"] == row.keys["city"]
        and event.partition in row.applied
        and event.offset <= row.applied[event.partition]
    ]
    return brute.expected(meaning, known, row.t, as_of_event=False)


def test_evidence_reaches_to_the_offset_it_names(log_of: LogOf) -> None:
    random = Random(5)
    events = []
    for offset in range(60):
        ts, partition = random.randrange(-40, 120), random.randrange(3)
        events.append(ride(ts, offset, partition=partition, price=random.random(), driver=str(offset)))
    view = view_of((30, 10), (1, 1), None, entities=("city",))
    rows = []
    for t in range(-40, 130, 3):
        applied = {random.randrange(3): random.randrange(60) for _ in range(random.randrange(4))}
        rows.append(Row(t, {"city": "a"}, applied))
    assert_as_brute_force(view, log_of(SOURCE, events), events, rows, "evidence")


def test_row_without_evidence_of_a_partition_sees_none_of_its_events(log_of: LogOf) -> None:
    events = [ride(5, 0, partition=0), ride(5, 0, partition=1), ride(6, 1, partition=1)]
    view = View(name="rides", source="rides", entities=SOURCE.columns[:1], features=(counted("n", 10, 10),))
    rows = [Row(7, {"city": "a"}, applied) for applied in ({}, {0: 9}, {1: 0}, {0: 0, 1: 1}, {2: 9}, {0: -1})]
    assert join(view, log_of(SOURCE, events), rows, "evidence").column(0).to_pylist() == [0, 1, 1, 3, 0, 0]


def test_event_dated_after_the_row_counts_to_the_end_of_the_tile(log_of: LogOf) -> None:
    #   slide 10: a lookup at 42 has the whole tile from 40 to 50 as its record has it
    events = [ride(49, 0), ride(50, 1)]
    features = (counted("n", 10, 10), counted("ever", 10, 10).model_copy(update={"window_us": None, "slide_us": None}))
    view = View(name="rides", source="rides", entities=SOURCE.columns[:1], features=features)
    found = join(view, log_of(SOURCE, events), [Row(42, {"city": "a"}, {0: 1})], "evidence")
    assert [column.to_pylist() for column in found.columns] == [[1], [2]]


def test_evidence_for_other_rows_is_refused(log_of: LogOf) -> None:
    plan = plan_of(view_of(None, entities=("city",)))
    engine = PointInTimeJoin(plan, {"rides": log_of(SOURCE, [ride(5)])})
    with pytest.raises(SpineError, match="The spine has 1 rows, and there is evidence for 2"):
        engine.join(spine_of([Row(6, {"city": "a"})]), plan.resolve("rides:*"), as_of="evidence", evidence=[{}, {}])


def test_many_lookups_of_few_entities_agree_with_event_by_event(log_of: LogOf) -> None:
    random = Random(8)
    events = []
    for offset in range(2_000):
        late = random.choice([0] * 50 + [3, 400])
        events.append(
            ride(offset - late, offset // 2, partition=offset % 2, seats=random.randrange(9), city=random.choice("ab"))
        )
    features = tuple(
        Feature(
            name=f"{function}_{window}",
            function=function,
            column="seats",
            window_us=window,
            slide_us=slide,
            dtype=dtype,
        )
        for window, slide in ((700, 10), (None, None))
        for function, dtype in (("sum", DType.INT64), ("last", DType.INT64), ("first", DType.INT64))
    )  # fmt: skip
    view = View(name="rides", source="rides", entities=SOURCE.columns[:1], features=features)
    rows = [Row(t, {"city": random.choice("abc")}, {0: t // 2 - 3, 1: t // 2 + 1}) for t in range(0, 2_100, 5)]
    log = log_of(SOURCE, events)
    one_by_one = join(view, log, rows, "evidence", Limits(displaced=-1, dense=1_000_000))
    assert join(view, log, rows, "evidence").equals(one_by_one)
    assert join(view, log, rows, "evidence", Limits(displaced=5, dense=0, pairs=500)).equals(one_by_one)
