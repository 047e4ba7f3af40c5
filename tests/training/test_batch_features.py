"""Training sets and proofs with batch features beside stream features."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from pyarrow import parquet

from headrace import Dataset, TrainingClient
from headrace.batch.materialize import materialize_views
from headrace.config import Project
from headrace.errors import BatchSourceAwayError, BatchSourceError, DatasetError, SpineError
from headrace.lookup import FeatureClient
from headrace.plan import BatchSource, BatchView, Column, DType, FeatureRef, Plan, write_plan
from headrace.records.entity_keys import entity_key
from headrace.rows import Row, RowCodec, open_rows
from headrace.stores.memory import MemoryStore
from headrace.times import datetime_of
from headrace.training import HistoricalFeatures, verify_dataset
from tests.training.conftest import MINUTE, PLAN, SPINE, START_US, spine_of

Kind = Literal["parquet", "delta"]
STREAM = ["city_rides:n_10m", "city_rides:mean_price_10m"]


def cities(kind: Kind = "parquet", ttl_minutes: int | None = 10) -> BatchView:
    return BatchView(
        name="cities",
        entities=(Column(name="city", dtype=DType.STRING),),
        columns=(Column(name="people", dtype=DType.INT64), Column(name="rate", dtype=DType.FLOAT64)),
        source=BatchSource(name="city_rows", kind=kind, timestamp_field="at", created_field="made", path="data"),
        ttl_us=None if ttl_minutes is None else ttl_minutes * MINUTE,
    )


def with_cities(view: BatchView) -> Plan:
    names = (("cities", "rate"), ("city_rides", "n_10m"), ("cities", "people"))
    refs = tuple(FeatureRef(view=name, feature=feature) for name, feature in names)
    return PLAN.model_copy(update={"batch_views": {"cities": view}, "services": {"both": refs, **PLAN.services}})


def write_cities(project: Project, rows: Sequence[tuple[str, float, float, int]], kind: Kind = "parquet") -> None:
    """Rows of (city, minute, minute created, people)."""
    table = pa.table(
        {
            "city": [city for city, *_ in rows],
            "at": pa.array([datetime_of(round(START_US + at * MINUTE)) for _, at, _, _ in rows]),
            "made": pa.array([datetime_of(round(START_US + made * MINUTE)) for _, _, made, _ in rows]),
            "people": pa.array([people for *_, people in rows], pa.int64()),
            "rate": [people / 7 for *_, people in rows],
        }
    )
    folder = project.repo / "data"
    if kind == "delta":
        write_deltalake(str(folder), table, mode="append")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        parquet.write_table(table, folder / f"{len(list(folder.iterdir()))}.parquet")


ROWS = [("a", 0, 0, 1), ("a", 20, 20, 2), ("a", 25, 40, 3), ("b", 5, 5, 4), ("b", 30, 31, 5)]


@pytest.fixture
def both(project: Project) -> TrainingClient:
    """The client of a project with an hour of rides, and rows of its two cities."""
    write_plan(with_cities(cities()), project.plan_file)
    write_cities(project, ROWS)
    return TrainingClient(project)


def test_both_kinds_are_joined_in_the_order_asked_for(both: TrainingClient) -> None:
    minutes = [float(minute) for minute in range(60)]
    random.Random(1).shuffle(minutes)
    spine = spine_of(minutes, ["ab"[number % 2] for number in range(60)])
    found = both.get_historical_features(spine, "both").to_arrow()
    assert found.column_names == [*spine.column_names, "cities__rate", "city_rides__n_10m", "cities__people"]
    assert found.select(spine.column_names) == spine
    streams = both.get_historical_features(spine, STREAM).to_arrow()
    assert found.column("city_rides__n_10m") == streams.column("city_rides__n_10m")
    wanted = []
    for minute, city in zip(minutes, spine.column("city").to_pylist(), strict=True):
        counted = [row for row in ROWS if row[0] == city and max(row[1], row[2]) <= minute]
        newest = max(counted, key=lambda row: row[1], default=None)
        wanted.append(newest[3] if newest is not None and newest[1] >= minute - 10 else None)
    assert found.column("cities__people").to_pylist() == wanted
    assert found.column("cities__rate").to_pylist() == [None if one is None else one / 7 for one in wanted]


def test_event_time_alone_knows_a_row_before_it_was_created(both: TrainingClient) -> None:
    spine = spine_of([30, 30], ["a", "b"])
    known = both.get_historical_features(spine, ["cities:people"]).to_arrow().column("cities__people").to_pylist()
    event = both.get_historical_features(spine, ["cities:people"], as_of="event").to_arrow()
    assert (known, event.column("cities__people").to_pylist()) == ([2, None], [3, 5])


def test_rows_created_after_known_until_are_not_seen(both: TrainingClient) -> None:
    spine, until = spine_of([30], ["a"]), datetime_of(START_US + 30 * MINUTE)
    found = both.get_historical_features(spine, ["cities:people"], as_of="event", known_until=until).to_arrow()
    assert found.column("cities__people").to_pylist() == [2]


def test_batch_features_alone_need_no_log(bare_project: Project) -> None:
    write_plan(Plan(project="p", sources={}, views={}, batch_views={"cities": cities()}), bare_project.plan_file)
    write_cities(bare_project, ROWS)
    found = TrainingClient(bare_project).get_historical_features(spine_of([21, 6], ["a", "b"]), ["cities:people"])
    assert found.to_arrow().column("cities__people").to_pylist() == [2, 4]


def test_rows_without_a_spine_come_from_stream_views(both: TrainingClient) -> None:
    at = datetime_of(START_US + 21 * MINUTE)
    found = both.get_historical_features(features="both", at=at).to_arrow()
    assert found.column("city").to_pylist() == ["a", "b"]
    assert found.column("cities__people").to_pylist() == [2, None]
    with pytest.raises(SpineError, match="no stream feature"):
        both.get_historical_features(features=["cities:people"], at=at)


def test_source_that_is_away_is_named(both: TrainingClient) -> None:
    for file in (both.project.repo / "data").iterdir():
        file.unlink()
    with pytest.raises(BatchSourceAwayError, match="city_rows"):
        both.get_historical_features(spine_of([1], ["a"]), "both")


DATASET = Dataset(name="halves", spine=SPINE, features="both", label="label")


@pytest.mark.parametrize("kind", ["parquet", "delta"])
def test_dataset_names_its_sources_and_says_when_they_change(project: Project, tmp_path: Path, kind: Kind) -> None:
    write_plan(with_cities(cities(kind)), project.plan_file)
    write_cities(project, ROWS, kind)
    client = TrainingClient(project)
    built = client.export(DATASET, tmp_path / "out")
    named = json.loads((built.folder / "manifest.json").read_text())["batch_sources"]["cities"]
    assert (named["source"], named["kind"], named["path"]) == ("city_rows", kind, "data")
    same = verify_dataset(client, DATASET, built.folder)
    assert (same.ok, same.notes) == (True, ())
    write_cities(project, [("a", 1, 1, 99), ("b", 6, 6, 98)], kind)
    report = verify_dataset(client, DATASET, built.folder)
    # A Delta table is read at the version that the manifest names.
    assert report.ok is (kind == "delta")
    assert any("'city_rows' of the batch view 'cities' has changed" in note for note in report.notes)


class _WrittenMeanwhile(TrainingClient):
    """A source gets other rows after they were read and before the dataset is written."""

    def get_historical_features(self, *args: Any, **options: Any) -> HistoricalFeatures:
        found = super().get_historical_features(*args, **options)
        kind: Kind = "parquet" if self.plan.batch_views["cities"].source.kind == "parquet" else "delta"
        write_cities(self.project, [("a", 1, 1, 99)], kind)
        return found


@pytest.mark.parametrize("kind", ["parquet", "delta"])
def test_dataset_of_a_source_that_changes_meanwhile_is_refused(project: Project, tmp_path: Path, kind: Kind) -> None:
    write_plan(with_cities(cities(kind)), project.plan_file)
    write_cities(project, ROWS, kind)
    client = _WrittenMeanwhile(project)
    if kind == "delta":  # all of it is read at one version
        assert verify_dataset(TrainingClient(project), DATASET, client.export(DATASET, tmp_path / "out").folder).ok
        return
    with pytest.raises(DatasetError, match="'cities' changed while the dataset was built"):
        client.export(DATASET, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def served(project: Project, minute: float, *names: str) -> list[dict[str, Any]]:
    """What a lookup was served from the rows that are materialized."""
    plan = TrainingClient(project).plan
    with open_rows(project.store_url, writable=False) as rows:
        client = FeatureClient(plan=plan, store=MemoryStore(), rows=rows)
        answer = client.get_online_features(
            list(names), [{"city": city} for city in "abc"], at=datetime_of(round(START_US + minute * MINUTE))
        )
    return json.loads(json.dumps(answer.records()))  # type: ignore[no-any-return]


def test_rows_that_were_served_are_proven_by_the_source(both: TrainingClient) -> None:
    project = both.project
    materialize_views(project, [cities()], end_us=START_US + 60 * MINUTE)
    records = [*served(project, 30, "cities:people", "cities:rate"), *served(project, 36, "cities:rate")]
    assert [record["features"]["cities__rate"] for record in records] == [3 / 7, 5 / 7, None, None, 5 / 7, None]
    report = both.verify_lookups(records)
    assert report.mismatches == ()
    assert (report.matches, report.values) == (6, 9)


def test_another_value_than_the_sources_is_reported(both: TrainingClient) -> None:
    project, view = both.project, cities()
    wrong = RowCodec(view.columns).encode([7, 1.0])
    with open_rows(project.store_url, writable=True) as rows:
        rows.write(view.rows_hash, [Row(entity_key(["a"]), START_US + 25 * MINUTE, wrong)])
    (found,) = both.verify_lookups(served(project, 30, "cities:people")).mismatches
    assert (found.feature, found.served, found.recomputed) == ("cities__people", 7, 3)
    # A row past its TTL must not have been served.
    records = served(project, 30, "cities:people")[:1]
    records[0]["at_us"] += 6 * MINUTE
    (found,) = both.verify_lookups(records).mismatches
    assert (found.served, found.recomputed) == (7, None)


def test_row_that_the_source_has_no_more_is_said_to_be_gone(both: TrainingClient) -> None:
    project = both.project
    materialize_views(project, [cities()], end_us=START_US + 60 * MINUTE)
    records = served(project, 30, "cities:people")[:1]
    for file in (project.repo / "data").iterdir():
        file.unlink()
    write_cities(project, ROWS[:1])
    (found,) = both.verify_lookups(records).mismatches
    assert "has no such row" in str(found.recomputed)
    for file in (project.repo / "data").iterdir():
        file.unlink()
    (found,) = both.verify_lookups(records).mismatches
    assert "has no file" in str(found.recomputed)


def test_wrong_version_of_a_table_is_named(project: Project) -> None:
    write_plan(with_cities(cities("delta")), project.plan_file)
    write_cities(project, ROWS, "delta")
    with pytest.raises(BatchSourceError, match="city_rows"):
        TrainingClient(project).get_historical_features(
            spine_of([1], ["a"]), ["cities:people"], source_versions={"cities": 7}
        )
