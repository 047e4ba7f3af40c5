"""Materializing batch views: what the row store has afterwards, and what a lookup answers from it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from headrace.batch.join import BatchJoin
from headrace.batch.materialize import Materialized, materialize
from headrace.batch.materialized import MaterializedTimes
from headrace.errors import BatchSourceAwayError, ConfigError, LookupTimeError
from headrace.lookup import FeatureClient, Status
from headrace.plan import BatchView
from headrace.rows import RowStore
from headrace.rows.lmdb_rows import LmdbRows
from headrace.rows.memory_rows import MemoryRows
from headrace.state import MemoryState
from headrace.stores.memory import MemoryStore
from headrace.times import us_of
from tests.batch.examples import COLUMNS, Kind, Row, at, driver_plan, driver_rows, driver_view, table_of, write_rows

KEYS = [(driver, city) for driver in range(6) for city in "ab"]
ROWS = [{"driver": driver, "city": city} for driver, city in KEYS]


class Run:
    """Materializes a view of a folder into a row store."""

    def __init__(self, repo: Path, view: BatchView, rows: RowStore | None = None) -> None:
        self.repo, self.view = repo, view
        self.rows = rows or MemoryRows()
        self.times = MaterializedTimes(MemoryState())

    def __call__(self, end: datetime, **options: Any) -> Materialized:
        return materialize(self.view, self.rows, self.repo, self.times, end_us=us_of(end), **options)

    def lookup(self, t: datetime, view: BatchView | None = None) -> Any:
        plan = driver_plan(view or self.view)
        with FeatureClient(plan=plan, store=MemoryStore(), rows=self.rows) as client:
            return client.get_online_features(["drivers:*"], ROWS, at=t)


def joined_at(repo: Path, view: BatchView, t: datetime, as_of: str = "event") -> dict[str, list[Any]]:
    plan = driver_plan(view)
    spine = pa.table({name: [row[name] for row in ROWS] for name in ("driver", "city")})
    spine = spine.append_column("event_timestamp", pa.array([t] * len(ROWS), pa.timestamp("us", "UTC")))
    return dict(BatchJoin(plan, repo).join(spine, plan.resolve(["drivers:*"]), as_of=as_of).to_pydict())


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ["parquet", "delta", "query"])
def test_lookup_and_training_agree_to_the_bit(tmp_path: Path, seed: int, kind: Kind) -> None:
    rng = random.Random(f"{seed} {kind}")
    write_rows(tmp_path, driver_rows(rng, rng.randrange(2, 100)), kind)
    view = driver_view(kind, ttl_s=rng.choice([None, 2, 5]))
    run = Run(tmp_path, view)
    run(at(20))
    for second in (12, 14, 16, 40):
        answer = run.lookup(at(second)).to_dict()
        assert {name: answer[name] for name in answer if "__" in name} == joined_at(tmp_path, view, at(second))


@pytest.mark.parametrize("seed", range(15))
def test_runs_in_pieces_with_late_rows_end_at_what_one_run_gives(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    view = driver_view()
    run = Run(tmp_path, view)
    for piece in range(4):
        now = 12 + 5 * piece
        late = [row | {"created": at(now - rng.random())} for row in driver_rows(rng, rng.randrange(2, 30))]
        write_rows(tmp_path, late)
        run(at(now), incremental=True)
        if rng.random() < 0.3:
            run(at(rng.randrange(12)), start_us=us_of(at(0)))  # a range of the past changes nothing
    once = Run(tmp_path, view)
    once(at(40))
    assert run.lookup(at(60)).to_dict() == once.lookup(at(60)).to_dict()


def test_incremental_run_reads_on_from_the_last_one(tmp_path: Path) -> None:
    (first,) = driver_rows(random.Random(1), 1)
    common: Row = first | {"driver": 1, "city": "a", "created": None}
    write_rows(tmp_path, [common | {"event_timestamp": at(1), "trips": 1}])
    run = Run(tmp_path, driver_view(has_created=False))
    assert run(at(5), incremental=True).start_us is None
    write_rows(tmp_path, [common | {"event_timestamp": at(7), "trips": 2}, common | {"driver": 2}])
    done = run(at(9), incremental=True, overlap_us=0)
    assert (done.start_us, done.end_us, done.entities, done.changed) == (us_of(at(5)), us_of(at(9)), 1, 1)
    assert run.times.until(run.view) == us_of(at(9))
    assert run(at(9)).entities == 2  # all of it: the row of driver 2 is older than the last run, and was added since


def test_incremental_run_finds_a_row_that_was_created_before_the_last_run_and_seen_after_it(tmp_path: Path) -> None:
    (first,) = driver_rows(random.Random(1), 1)
    common: Row = first | {"driver": 1, "city": "a"}
    write_rows(tmp_path, [common | {"event_timestamp": at(1), "created": at(1)}])
    run = Run(tmp_path, driver_view())
    run(at(5), incremental=True)
    write_rows(tmp_path, [common | {"event_timestamp": at(2), "created": at(3), "trips": 77}])
    assert run(at(9), incremental=True).changed == 1
    assert run.lookup(at(9)).to_dict()["drivers__trips"][KEYS.index((1, "a"))] == 77


def test_an_end_in_the_future_does_not_hide_what_comes_until_then(tmp_path: Path) -> None:
    (first,) = driver_rows(random.Random(1), 1)
    now = datetime.now(UTC)
    common: Row = first | {"driver": 1, "city": "a", "created": None}
    write_rows(tmp_path, [common | {"event_timestamp": now - timedelta(hours=2)}])
    run = Run(tmp_path, driver_view(has_created=False))
    run(now + timedelta(days=30), incremental=True)
    write_rows(tmp_path, [common | {"event_timestamp": now - timedelta(hours=1), "trips": 77}])
    assert run(now, incremental=True).changed == 1


def test_incremental_run_reads_all_of_it_where_the_rows_are_gone(tmp_path: Path) -> None:
    (first,) = driver_rows(random.Random(1), 1)
    write_rows(tmp_path, [first | {"driver": 1, "city": "a", "event_timestamp": at(1), "created": at(1)}])
    run = Run(tmp_path, driver_view())
    run(at(300_000), incremental=True)
    run.rows.clear(run.view.rows_hash)
    done = run(at(300_000), incremental=True)
    assert (done.start_us, done.changed) == (None, 1)


def test_a_correction_stays_whichever_write_is_last(tmp_path: Path) -> None:
    from headrace.batch.write import push_rows

    (first,) = driver_rows(random.Random(1), 1)
    before = first | {"driver": 1, "city": "a", "event_timestamp": at(1), "created": at(1), "trips": 1}
    write_rows(tmp_path, [before, before | {"created": at(2), "trips": 2}])
    run = Run(tmp_path, driver_view())
    run(at(9))
    push_rows(run.rows, run.view, table_of([before]))
    assert run.lookup(at(9)).to_dict()["drivers__trips"] == joined_at(tmp_path, run.view, at(9))["drivers__trips"]


def test_failed_run_is_not_noted(tmp_path: Path) -> None:
    run = Run(tmp_path, driver_view())
    with pytest.raises(BatchSourceAwayError):
        run(at(5), incremental=True)
    assert run.times.until(run.view) is None


def test_statuses_say_what_a_view_knew(tmp_path: Path) -> None:
    (first,) = driver_rows(random.Random(1), 1)
    write_rows(
        tmp_path,
        [
            first | {"driver": 0, "city": "a", "event_timestamp": at(10)},
            first | {"driver": 1, "city": "a", "event_timestamp": at(7)},
            first | {"driver": 2, "city": "a", "event_timestamp": at(6)},
        ],
    )
    run = Run(tmp_path, driver_view(ttl_s=3))
    run(at(20))
    answer = run.lookup(at(10))
    view = answer.views["drivers"]
    present, expired, unknown = Status.PRESENT, Status.EXPIRED, Status.UNKNOWN_KEY
    assert view.status[:6:2] == [present, present, expired]
    assert set(view.status[1:6:2] + view.status[6:]) == {unknown}
    assert view.newest_event_us[:6:2] == [us_of(at(10)), us_of(at(7)), us_of(at(6))]
    assert [sorted(one) for one in view.applied[:6:2]] == [[-1]] * 3
    assert view.applied[1] == {}
    assert answer.topics == {}
    assert answer.to_dict()["drivers__level"][:6:2] == [first["level"], first["level"], None]


def test_a_lookup_before_the_newest_row_is_refused(tmp_path: Path) -> None:
    (first,) = driver_rows(random.Random(1), 1)
    write_rows(tmp_path, [first | {"driver": 0, "city": "a", "event_timestamp": at(10)}])
    run = Run(tmp_path, driver_view())
    run(at(20))
    with pytest.raises(LookupTimeError, match="only the newest row"):
        run.lookup(at(9))


def test_a_row_dated_after_now_is_a_problem_of_its_cells_alone(tmp_path: Path) -> None:
    plan, rows = driver_plan(driver_view()), MemoryRows()
    (first,) = driver_rows(random.Random(1), 1)
    future = datetime.now(tz=at(0).tzinfo).replace(year=2200)
    table = table_of(
        [
            first | {"driver": 0, "city": "a", "event_timestamp": future, "created": None, "trips": 1},
            first | {"driver": 1, "city": "a", "event_timestamp": at(0), "created": None, "trips": 2},
        ]
    )
    from headrace.batch.write import push_rows

    push_rows(rows, plan.batch_views["drivers"], table)
    with FeatureClient(plan=plan, store=MemoryStore(), rows=rows) as client:
        answer = client.get_online_features(["drivers:trips"], ROWS)
    assert answer.to_dict()["drivers__trips"][:3] == [None, None, 2]
    assert answer.statuses()["drivers__trips"][:3] == [Status.ERROR, Status.UNKNOWN_KEY, Status.PRESENT]
    ((row, feature, reason),) = answer.problems
    assert (row, feature) == (0, "drivers__trips")
    assert "after the lookup" in reason


def test_another_ttl_reads_the_same_rows(tmp_path: Path) -> None:
    write_rows(tmp_path, driver_rows(random.Random(9), 50))
    run = Run(tmp_path, driver_view(ttl_s=1))
    run(at(20))
    longer = driver_view(ttl_s=100)
    assert longer.hash != run.view.hash
    answer = run.lookup(at(30), longer).to_dict()
    assert {name: answer[name] for name in answer if "__" in name} == joined_at(tmp_path, longer, at(30))


def test_another_column_has_rows_of_its_own(tmp_path: Path) -> None:
    write_rows(tmp_path, driver_rows(random.Random(9), 50))
    run = Run(tmp_path, driver_view())
    run(at(20))
    fewer = run.view.model_copy(update={"columns": run.view.columns[:2]})
    assert set(run.lookup(at(30), fewer).views["drivers"].status) == {Status.UNKNOWN_KEY}


def test_rows_that_cannot_be_looked_up_are_counted(tmp_path: Path) -> None:
    rows = driver_rows(random.Random(2), 10)
    write_rows(tmp_path, [*rows, rows[0] | {"driver": None}, rows[0] | {"event_timestamp": None}])
    assert Run(tmp_path, driver_view())(at(20)).left_out == 2


def test_range_that_ends_before_it_begins_is_refused(tmp_path: Path) -> None:
    write_rows(tmp_path, driver_rows(random.Random(2), 10))
    with pytest.raises(ConfigError, match="begins at"):
        Run(tmp_path, driver_view())(at(1), start_us=us_of(at(2)))


def test_interrupted_run_is_completed_by_the_next(tmp_path: Path) -> None:
    rows = driver_rows(random.Random(3), 400, keys=200)
    write_rows(tmp_path, rows)
    view = driver_view()

    class Failing(MemoryRows):
        left = 3

        def _write_chunk(self, *args: Any) -> int:
            self.left -= 1
            if not self.left:
                msg = "away"
                raise OSError(msg)
            return super()._write_chunk(*args)

    run = Run(tmp_path, view, Failing(chunk_rows=20))
    with pytest.raises(OSError, match="away"):
        run(at(20))
    assert len(list(run.rows.entities(view.rows_hash))) == 40
    assert run.times.until(view) is None
    run(at(20))
    once = Run(tmp_path, view)
    once(at(20))
    assert run.lookup(at(60)).to_dict() == once.lookup(at(60)).to_dict()


def test_several_runs_and_pushes_at_once_leave_the_newest_rows(tmp_path: Path) -> None:
    from headrace.batch.write import push_rows

    rows = driver_rows(random.Random(4), 200)
    write_rows(tmp_path, rows)
    view, failed = driver_view(), []

    def run_one(work: Callable[[RowStore], object]) -> None:
        try:
            with LmdbRows(tmp_path / "rows", writable=True, chunk_rows=3) as store:
                work(store)
        except BaseException as error:
            failed.append(error)
            raise

    def pushes(store: RowStore) -> None:
        rng = random.Random(5)
        for _ in range(20):
            push_rows(store, view, table_of(rng.sample(rows, 10)))

    works: list[Callable[[RowStore], object]] = [lambda store: Run(tmp_path, view, store)(at(30))] * 2 + [pushes]
    threads = [threading.Thread(target=run_one, args=(work,)) for work in works]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert failed == []
    with LmdbRows(tmp_path / "rows", writable=False) as store:
        found = Run(tmp_path, view, store).lookup(at(60))
    newest = [
        max((us_of(row["event_timestamp"]) for row in rows if (row["driver"], row["city"]) == key), default=None)
        for key in KEYS
    ]
    assert found.views["drivers"].newest_event_us == newest
    assert set(COLUMNS) == {name.removeprefix("drivers__") for name in found.values}
