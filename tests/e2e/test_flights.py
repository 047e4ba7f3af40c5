"""The main job end to end: producers, the embedded broker, worker processes, lookups and history, against pandas."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.errors import StoreUnavailableError
from headrace.kafka import EmbeddedBroker
from headrace.log import EventLog
from headrace.plan import Plan, read_plan
from headrace.state import LocalState
from headrace.stores import open_store
from tests.e2e.flights import Deployment, Oracle, assert_same
from tests.waits import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.kafka]

UNTIL = "2013-01-12"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PAIRS = [
    ("EWR", "UA"),
    ("JFK", "B6"),
    ("LGA", "DL"),
    ("JFK", "AA"),
    ("LGA", "MQ"),
    ("EWR", "9E"),
    ("LGA", "UA"),
    ("JFK", "HA"),
]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Deployment, Path]]:
    """A broker that holds eleven days of events, 5% of them late, and the plan; no worker has run."""
    folder = tmp_path_factory.mktemp("flights")
    first = Deployment(folder / "straight", {})
    first.run("apply")
    with EmbeddedBroker(folder / "broker.json") as broker:
        first.settings["broker"] = broker.address
        for topic in ("departures", "weather"):
            sent = first.json("produce", topic, "--until", UNTIL, "--late", "0.05", "--seed", "7")
            assert sent["sent"] > 700
            assert sent["late"] > 20
        yield first, folder


@pytest.fixture(scope="module")
def straight(deployed: tuple[Deployment, Path]) -> Deployment:
    """The deployment after one worker has read everything without trouble."""
    deployment, _ = deployed
    done = deployment.json("stream", "--until-end")
    assert done["dead_letters"] == 0
    return deployment


def log_of(deployment: Deployment, plan: Plan, topic: str) -> pd.DataFrame:
    """The log as a data frame, ordered by position."""
    log = EventLog(deployment.state / "log", plan.source_for_topic(topic))
    frame: pd.DataFrame = pa.Table.from_batches(log.scan()).to_pandas()
    names = {"_ts_us": "ts", "_known_at_us": "known", "_partition": "partition", "_offset": "offset"}
    return frame.rename(columns=names).sort_values(["partition", "offset"], ignore_index=True)


@pytest.fixture(scope="module")
def oracle(straight: Deployment) -> Oracle:
    """What pandas says. Its events are the package's own; only when and where each was sent is taken from the log."""
    from streams.flights import departures_table, weather_table

    plan = read_plan(LocalState(straight.state).file("plan.json"))
    frames = []
    for topic, table in (("departures", departures_table()), ("weather", weather_table())):
        events = table.to_pandas()
        events["ts"] = (events["event_timestamp"] - EPOCH) // timedelta(microseconds=1)
        events = events[events["event_timestamp"] < UNTIL]
        log = log_of(straight, plan, topic)
        assert len(log) == len(events)
        by = [
            name
            for name in ("origin", "carrier", "flight", "dest", "scheduled_at", "event_timestamp")
            if name in events
        ]
        sent = log[[*by, "known", "partition", "offset"]]
        joined = events.merge(sent, on=by, validate="one_to_one")
        assert len(joined) == len(events)
        delay = joined["known"] - joined["ts"]
        assert delay.between(0, 600_000_000).all()
        assert 0.03 < (delay > 0).mean() < 0.07
        frames.append(joined)
    return Oracle(*frames)


def test_lookup_equals_pandas_for_every_feature(straight: Deployment, oracle: Oracle) -> None:
    for origin, carrier in PAIRS:
        found = straight.json(
            "lookup", "--service", "delay_model", "--key", f"origin={origin}", "--key", f"carrier={carrier}"
        )
        newest = max(oracle.departures["known"].max(), oracle.weather["known"].max())
        assert found["at_us"] == newest
        assert_same(found["features"], oracle.features(origin, carrier, found["at_us"]), (origin, carrier))


def test_lookup_later_on_counts_what_the_windows_still_hold(straight: Deployment, oracle: Oracle) -> None:
    newest = int(max(oracle.departures["known"].max(), oracle.weather["known"].max()))
    for minutes in (1, 14, 31, 61, 700, 1441, 11000):
        t = newest + minutes * 60_000_000 + 7
        at = (EPOCH + timedelta(microseconds=t)).isoformat()
        found = straight.json(
            "lookup", "--service", "delay_model", "--key", "origin=JFK", "--key", "carrier=B6", "--at", at
        )
        assert found["at_us"] == t
        assert_same(found["features"], oracle.features("JFK", "B6", t), minutes)


@pytest.mark.parametrize("as_of", ["known", "event"])
def test_history_equals_pandas_for_every_feature(
    straight: Deployment, oracle: Oracle, as_of: str, tmp_path: Path
) -> None:
    times = pd.date_range("2013-01-01T09:59:59.999999Z", "2013-01-12T02:00Z", periods=60, unit="us")
    rows = [(*PAIRS[number % len(PAIRS)], moment) for number, moment in enumerate(times)]
    rows.append(("EWR", "??", times[30]))
    spine = pd.DataFrame(rows[::-1], columns=["origin", "carrier", "event_timestamp"])
    pq.write_table(pa.Table.from_pandas(spine, preserve_index=False), tmp_path / "spine.parquet")
    arguments = ("--service", "delay_model", "--spine", str(tmp_path / "spine.parquet"), "--as-of", as_of)
    found = straight.json("history", *arguments)["rows"]
    assert len(found) == len(spine)
    for ours, (origin, carrier, moment) in zip(found, rows[::-1], strict=True):
        assert (ours["origin"], ours["carrier"]) == (origin, carrier)
        t = int((moment - EPOCH) // timedelta(microseconds=1))
        features = {name: value for name, value in ours.items() if "__" in name}
        assert_same(features, oracle.features(origin, carrier, t, as_of=as_of), (origin, carrier, moment))


def test_status_shows_no_lag_and_a_complete_log(straight: Deployment) -> None:
    found = straight.json("status")["partitions"]
    assert {row["topic"] for row in found} == {"departures", "weather"}
    assert all(row["lag"] == 0 and row["logged"] == row["applied"] == row["end"] for row in found)
    assert sum(row["applied"] for row in found if row["topic"] == "departures") > 9_000


def test_worker_started_again_changes_nothing(straight: Deployment) -> None:
    plan = read_plan(LocalState(straight.state).file("plan.json"))
    before = log_of(straight, plan, "departures")
    assert straight.json("stream", "--until-end")["events"] == 0
    pd.testing.assert_frame_equal(log_of(straight, plan, "departures"), before)


def features_of(deployment: Deployment) -> list[Any]:
    return [
        deployment.json(
            "lookup", "--service", "delay_model", "--key", f"origin={origin}", "--key", f"carrier={carrier}"
        )["features"]
        for origin, carrier in PAIRS[:4]
    ]


def test_killed_workers_end_with_the_same_features_and_the_same_log(
    deployed: tuple[Deployment, Path], straight: Deployment
) -> None:
    _, folder = deployed
    killed = Deployment(folder / "killed", {**straight.settings, "group": "killed"})
    killed.state.mkdir()
    (killed.state / "plan.json").write_bytes((straight.state / "plan.json").read_bytes())
    killed_while_working = 0
    for _ in range(3):
        applied = _applied(killed)
        with killed.start("stream", "--until-end", "--json") as worker:
            wait_until(partial(_goes_on_or_ended, killed, worker, applied), "the worker to apply more")
            killed_while_working += worker.poll() is None
            worker.send_signal(signal.SIGKILL)
    assert killed_while_working
    killed.json("stream", "--until-end")
    plan = read_plan(LocalState(straight.state).file("plan.json"))
    for topic in ("departures", "weather"):
        pd.testing.assert_frame_equal(log_of(killed, plan, topic), log_of(straight, plan, topic))
    assert features_of(killed) == [
        {
            name: pytest.approx(value, rel=1e-9) if isinstance(value, float) else value
            for name, value in features.items()
        }
        for features in features_of(straight)
    ]


def _goes_on_or_ended(deployment: Deployment, worker: subprocess.Popen[str], applied: int) -> bool:
    return worker.poll() is not None or _applied(deployment) > applied


def _applied(deployment: Deployment) -> int:
    """How many records the online store has applied."""
    try:
        with open_store(f"lmdb:{deployment.state / 'online'}", writable=False) as store:
            return sum(position.offset + 1 for position in store.positions().values())
    except StoreUnavailableError:
        return 0
