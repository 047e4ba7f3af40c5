"""The point-in-time join of batch views agrees with a brute force."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from headrace.batch.join import BatchJoin
from headrace.errors import BatchSourceAwayError, BatchSourceError, SpineError
from headrace.plan import BatchView, Column, DType
from headrace.times import datetime_of, us_of
from tests.batch.examples import (
    COLUMNS,
    Kind,
    at,
    counting,
    driver_plan,
    driver_rows,
    driver_view,
    table_of,
    write_rows,
)

KEYS = [(driver, city) for driver in range(6) for city in "ab"]


def joined(repo: Path, view: BatchView, spine: list[tuple[int, str, datetime]], as_of: str = "known") -> pa.Table:
    table = pa.table(
        {
            "driver": pa.array([driver for driver, _, _ in spine], pa.int64()),
            "city": pa.array([city for _, city, _ in spine], pa.string()),
            "event_timestamp": pa.array([t for *_, t in spine], pa.timestamp("us", "UTC")),
        }
    )
    plan = driver_plan(view)
    return BatchJoin(plan, repo, threads=2).join(table, plan.resolve(["drivers:*"]), as_of=as_of)


def values_of(table: pa.Table, row: int) -> dict[str, Any]:
    return {name: table.column(f"drivers__{name}")[row].as_py() for name in COLUMNS}


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", ["parquet", "delta", "query"])
def test_random_rows_agree_with_a_brute_force(tmp_path: Path, seed: int, kind: Kind) -> None:
    rng = random.Random(f"{seed} {kind}")
    rows = driver_rows(rng, rng.randrange(2, 120))
    write_rows(tmp_path, rows, kind)
    ttl_s, as_of = rng.choice([None, 1, 3, 5.000001]), rng.choice(["known", "event"])
    half = timedelta(microseconds=1)
    spine = [
        (driver, city, at(second) + shift)
        for driver, city in KEYS
        for second in range(-1, 22)
        for shift in (timedelta(0), half, -half)
    ]
    rng.shuffle(spine)
    spine += spine[:20]  # a row that is there twice gets its features twice
    has_created = rng.random() < 0.8
    view = driver_view(kind, ttl_s=ttl_s, has_created=has_created)
    known = rows if has_created else [{**row, "created": None} for row in rows]
    table = joined(tmp_path, view, spine, as_of)
    assert table.num_rows == len(spine)
    nothing = dict.fromkeys(COLUMNS)
    for number, (driver, city, t) in enumerate(spine):
        may = counting(known, driver, city, t, ttl_s, as_of)
        wanted = [{name: row[name] for name in COLUMNS} for row in may] or [nothing]
        assert values_of(table, number) in wanted, (driver, city, t)


def test_a_row_counts_from_its_time_to_the_end_of_its_ttl(tmp_path: Path) -> None:
    row = driver_rows(random.Random(1), 2)[0] | {"driver": 1, "city": "a", "event_timestamp": at(10), "created": None}
    write_rows(tmp_path, [row | {"trips": 7}])
    us = timedelta(microseconds=1)
    moments = [at(10) - us, at(10), at(13), at(13) + us]
    table = joined(tmp_path, driver_view(ttl_s=3), [(1, "a", t) for t in moments])
    assert table.column("drivers__trips").to_pylist() == [None, 7, 7, None]


def test_an_older_row_never_stands_in_for_one_past_its_ttl(tmp_path: Path) -> None:
    (first,) = driver_rows(random.Random(1), 1)
    rows = [first | {"driver": 1, "city": "a", "event_timestamp": at(second), "created": None} for second in (1, 2)]
    write_rows(tmp_path, rows)
    table = joined(tmp_path, driver_view(ttl_s=1), [(1, "a", at(3)), (1, "a", at(9))])
    assert table.column("drivers__active").to_pylist() == [first["active"], None]


def test_a_row_is_known_from_when_it_was_created(tmp_path: Path) -> None:
    (first,) = driver_rows(random.Random(1), 1)
    common = first | {"driver": 1, "city": "a"}
    write_rows(
        tmp_path,
        [
            common | {"event_timestamp": at(1), "created": at(1), "trips": 1},
            common | {"event_timestamp": at(2), "created": at(6), "trips": 2},
            common | {"event_timestamp": at(3), "created": at(4), "trips": 3},
            common | {"event_timestamp": at(3), "created": at(8), "trips": 4},  # a correction
        ],
    )
    spine = [(1, "a", at(second)) for second in range(1, 10)]
    view = driver_view()
    known = joined(tmp_path, view, spine).column("drivers__trips").to_pylist()
    assert known == [1, 1, 1, 3, 3, 3, 3, 4, 4]
    event = joined(tmp_path, view, spine, "event").column("drivers__trips").to_pylist()
    assert event == [1, 2, 4, 4, 4, 4, 4, 4, 4]


def test_rows_without_a_key_or_a_time_count_for_nobody(tmp_path: Path) -> None:
    (first,) = driver_rows(random.Random(1), 1)
    rows = [
        first | {"driver": None, "city": "a"},
        first | {"driver": 1, "city": None},
        first | {"driver": 1, "city": "a", "event_timestamp": None},
    ]
    write_rows(tmp_path, rows)
    table = joined(tmp_path, driver_view(), [(1, "a", at(100))])
    assert values_of(table, 0) == dict.fromkeys(COLUMNS)


def test_choice_among_rows_that_agree_in_both_times_does_not_depend_on_the_files(tmp_path: Path) -> None:
    rows = [row | {"event_timestamp": at(1), "created": at(1)} for row in driver_rows(random.Random(3), 60, keys=2)]
    spine = [(driver, city, at(5)) for driver in range(2) for city in "ab"]
    found = []
    for number, order in enumerate((rows, rows[::-1], sorted(rows, key=lambda row: row["rate"] or 0))):
        write_rows(tmp_path, order, path=f"drivers{number}")
        found.append(joined(tmp_path, driver_view(path=f"drivers{number}"), spine))
    assert found[0] == found[1] == found[2]


def test_no_rows_give_nulls_and_no_spine_gives_no_rows(tmp_path: Path) -> None:
    write_rows(tmp_path, [])
    table = joined(tmp_path, driver_view(ttl_s=1), [(1, "a", at(1))])
    assert values_of(table, 0) == dict.fromkeys(COLUMNS)
    empty = joined(tmp_path, driver_view(), [])
    assert empty.num_rows == 0
    assert [column.type for column in empty.columns] == [column.type for column in table.columns]


def test_spine_that_cannot_be_joined_is_refused(tmp_path: Path) -> None:
    write_rows(tmp_path, driver_rows(random.Random(1), 4))
    plan = driver_plan(driver_view())
    refs, join = plan.resolve(["drivers:trips"]), BatchJoin(plan, tmp_path)
    good = {"driver": [1], "city": ["a"], "event_timestamp": pa.array([at(1)], pa.timestamp("us", "UTC"))}
    for changed, said in [
        ({"event_timestamp": pa.array([at(1).replace(tzinfo=None)], pa.timestamp("us"))}, "no time zone"),
        ({"driver": pa.array([None], pa.int64())}, "null"),
        ({"driver": ["one"]}, "keyed by int64"),
    ]:
        with pytest.raises(SpineError, match=said):
            join.join(pa.table(good | changed), refs)
    with pytest.raises(SpineError, match="city"):
        join.join(pa.table(good).drop_columns(["city"]), refs)


@pytest.mark.parametrize("kind", ["parquet", "delta"])
def test_source_that_is_away_is_named(tmp_path: Path, kind: Kind) -> None:
    with pytest.raises(BatchSourceAwayError, match="driver_rows"):
        joined(tmp_path, driver_view(kind), [(1, "a", at(1))])


def test_query_that_fails_is_named(tmp_path: Path) -> None:
    view = driver_view("query")
    for sql in ("SELECT 1 FROM nowhere", "SELEC 1", "SELECT 1; SELECT 2", "CREATE TABLE t (a INT)"):
        source = view.source.model_copy(update={"sql": sql})
        with pytest.raises(BatchSourceError, match="driver_rows"):
            joined(tmp_path, view.model_copy(update={"source": source}), [(1, "a", at(1))])


def test_query_may_end_in_a_comment_and_a_semicolon(tmp_path: Path) -> None:
    rows = driver_rows(random.Random(2), 10)
    write_rows(tmp_path, rows)
    view = driver_view("query")
    source = view.source.model_copy(update={"sql": f"{view.source.sql} -- all of them\n;"})
    changed = view.model_copy(update={"source": source})
    spine = [(driver, city, at(30)) for driver, city in KEYS]
    assert joined(tmp_path, changed, spine) == joined(tmp_path, view, spine)


def test_column_that_is_missing_or_of_another_type_is_named(tmp_path: Path) -> None:
    write_rows(tmp_path, driver_rows(random.Random(1), 4))
    view = driver_view()
    for column, said in [
        (Column(name="speed", dtype=DType.INT64), "no column 'speed'"),
        (Column(name="level", dtype=DType.INT64), "'level' as VARCHAR"),
        (Column(name="trips", dtype=DType.STRING), "'trips' as BIGINT"),
        (Column(name="tags", dtype=DType.INT64_LIST), "'tags'"),
    ]:
        changed = view.model_copy(update={"columns": (column,)})
        plan = driver_plan(changed)
        with pytest.raises(BatchSourceError, match=said):
            joined(tmp_path, plan.batch_views["drivers"], [(1, "a", at(1))])
    source = view.source.model_copy(update={"timestamp_field": "level"})
    with pytest.raises(BatchSourceError, match="no timestamp"):
        joined(tmp_path, view.model_copy(update={"source": source}), [(1, "a", at(1))])


def test_float_that_is_not_whole_is_refused_for_an_integer(tmp_path: Path) -> None:
    write_rows(tmp_path, [row | {"rate": 1.5} for row in driver_rows(random.Random(1), 2)])
    view = driver_view().model_copy(update={"columns": (Column(name="rate", dtype=DType.INT64),)})
    with pytest.raises(BatchSourceError, match="not a whole number"):
        joined(tmp_path, view, [(driver, city, at(30)) for driver, city in KEYS])


def test_columns_are_found_by_the_field_mapping(tmp_path: Path) -> None:
    rows = driver_rows(random.Random(4), 30)
    write_rows(tmp_path, rows, path="plain")
    renamed = table_of(rows).rename_columns(["driver_no", "city", "happened", "created", "n", *list(COLUMNS)[1:]])
    (tmp_path / "mapped").mkdir()
    parquet.write_table(renamed, tmp_path / "mapped" / "rows.parquet")
    mapping = {"driver_no": "driver", "happened": "event_timestamp", "n": "trips"}
    view = driver_view(path="mapped")
    mapped = view.model_copy(update={"source": view.source.model_copy(update={"field_mapping": mapping})})
    spine = [(driver, city, at(second)) for driver, city in KEYS for second in range(20)]
    assert joined(tmp_path, mapped, spine) == joined(tmp_path, driver_view(path="plain"), spine)


def test_old_version_of_a_delta_table_can_be_joined(tmp_path: Path) -> None:
    rows = driver_rows(random.Random(5), 40)
    write_rows(tmp_path, rows[:20], "delta")
    view, spine = driver_view("delta"), [(driver, city, at(30)) for driver, city in KEYS]
    before = joined(tmp_path, view, spine)
    write_rows(tmp_path, [row | {"event_timestamp": at(25)} for row in rows[20:]], "delta")
    assert joined(tmp_path, view, spine) != before
    plan = driver_plan(view)
    table = pa.table(
        {"driver": [one for one, _, _ in spine], "city": [one for _, one, _ in spine], "event_timestamp": [at(30)] * 12}
    )
    old = BatchJoin(plan, tmp_path, versions={"drivers": 0})
    assert old.join(table, plan.resolve(["drivers:*"])) == before


def test_times_in_nanoseconds_are_rounded_down(tmp_path: Path) -> None:
    ns = [1_999, -1_999, 1_767_225_600_000_000_999]
    table = table_of([row | {"city": "a"} for row in driver_rows(random.Random(6), 3)])
    for zone in ("UTC", None):
        changed = table.set_column(0, "driver", pa.array([0, 1, 2]))
        for name in ("event_timestamp", "seen"):
            place = changed.column_names.index(name)
            changed = changed.set_column(place, name, pa.array(ns).cast(pa.timestamp("ns", zone)))
        folder = tmp_path / str(zone)
        folder.mkdir()
        parquet.write_table(changed.drop_columns(["created"]), folder / "rows.parquet")
        view = driver_view(path=str(zone), has_created=False, ttl_s=0.000001)
        floors = [us_of_ns // 1_000 for us_of_ns in ns]
        spine = [(number, "a", datetime_of(us + late)) for number, us in enumerate(floors) for late in (-1, 0, 1, 2)]
        found = joined(tmp_path, view, spine)
        counted = [one is not None for one in found.column("drivers__seen").to_pylist()]
        assert counted == [False, True, True, False] * 3
        assert [us_of(one) for one in found.column("drivers__seen").to_pylist()[1::4]] == floors
