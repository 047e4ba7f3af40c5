from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from headrace.config import Project
from headrace.errors import ConfigError, EventError
from headrace.produce import EventEncoder, load_history
from headrace.produce.event_history import EncodedHistory
from tests.produce.examples import START, START_MS, Reading, reading, readings, source_of

EVENTS = readings(10)


@pytest.fixture
def encoder() -> EventEncoder:
    return EventEncoder(source_of("readings"), Reading)


def at_column(values: list[object], kind: pa.DataType) -> pa.Table:
    return pa.table({"sensor": ["s1"] * len(values), "at": pa.array(values, kind)})


@pytest.mark.parametrize("as_table", [False, True])
def test_history_knows_event_times_and_encodes_any_rows(encoder: EventEncoder, as_table: bool) -> None:
    history = EncodedHistory(pa.Table.from_pylist(EVENTS) if as_table else EVENTS, encoder, "at")
    assert history.ts_us.tolist() == [(START_MS + 30_000 * i) * 1000 for i in range(10)]
    assert history.encode(np.array([7, 2, 2])) == [encoder.encode(EVENTS[i]) for i in (7, 2, 2)]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_any_unit_and_zone_are_microseconds_utc(encoder: EventEncoder, unit: str) -> None:
    column = pa.array([START], pa.timestamp("us", "UTC")).cast(pa.timestamp(unit, "America/New_York"))
    history = EncodedHistory(pa.table({"sensor": ["s1"], "at": column}), encoder, "at")
    assert history.ts_us.tolist() == [START_MS * 1000]
    assert history.encode(np.array([0])) == [encoder.encode(reading())]


def test_missing_values_of_other_columns_stay_missing(encoder: EventEncoder) -> None:
    table = pa.table({"sensor": ["s1"], "at": pa.array([START]), "value": pa.array([None], pa.float64())})
    assert EncodedHistory(table, encoder, "at").encode(np.array([0])) == [encoder.encode(reading(value=None))]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (pa.table({"sensor": ["s1"], "when": [START]}), "no column 'at'(?s:.*)sensor, when"),
        (at_column(["2013-01-01"], pa.string()), r"is of type string(?s:.*)UTC"),
        (at_column([0], pa.timestamp("us")), r"is of type timestamp\[us\]"),
        (at_column([START, None], pa.timestamp("us", "UTC")), "missing in 1 rows"),
        (at_column([1], pa.timestamp("ns", "UTC")), "does not fit microseconds"),
    ],
)
def test_event_times_that_are_none_are_refused(encoder: EventEncoder, table: pa.Table, said: str) -> None:
    with pytest.raises(EventError, match=said):
        EncodedHistory(table, encoder, "at")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "headrace.toml").write_text("[headrace]\n")
    (tmp_path / "streams").mkdir()
    return Project.load(tmp_path)


def write(project: Project, name: str, text: str) -> None:
    (project.root / "streams" / name).write_text(text)


def test_history_comes_from_the_projects_streams(project: Project) -> None:
    write(project, "common.py", "def rows():\n    return [{'sensor': 's1'}]\n")
    write(project, "readings.py", "from streams.common import rows\ndef history():\n    return rows()\n")
    assert load_history(project, "readings") == [{"sensor": "s1"}]


def test_topic_that_is_no_module_name_has_one(project: Project) -> None:
    write(project, "sensor_readings_v2.py", "def history():\n    return []\n")
    assert load_history(project, "sensor-readings.v2") == []


def test_two_projects_in_one_process_keep_their_own(project: Project, tmp_path_factory: pytest.TempPathFactory) -> None:
    write(project, "readings.py", "def history():\n    return ['one']\n")
    other = tmp_path_factory.mktemp("other")
    (other / "headrace.toml").write_text("[headrace]\n")
    (other / "streams").mkdir()
    (other / "streams" / "readings.py").write_text("def history():\n    return ['two']\n")
    assert [load_history(each, "readings") for each in (project, Project.load(other), project)] == [
        ["one"],
        ["two"],
        ["one"],
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, r"There is no .*streams/readings\.py(?s:.*)histories for: departures"),
        ("x = 1\n", r"readings\.py has no function history"),
        ("def history(:\n", r"readings\.py cannot be imported: SyntaxError"),
        ("import no_such_package\n", r"readings\.py cannot be imported: ModuleNotFoundError"),
    ],
)
def test_history_that_cannot_be_had_is_explained(project: Project, text: str | None, said: str) -> None:
    write(project, "departures.py", "def history():\n    return []\n")
    if text is not None:
        write(project, "readings.py", text)
    with pytest.raises(ConfigError, match=said):
        load_history(project, "readings")
