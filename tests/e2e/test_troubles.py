"""What a user sees when something is wrong: a message that names it and the hint, an exit code, and nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kafka import KafkaProducer

from headrace.declare import compile_repo
from headrace.kafka import EmbeddedBroker
from headrace.plan import Plan, write_plan
from headrace.state import LocalState
from tests.e2e.flights import ROOT, Deployment
from tests.waits import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.kafka]

FAILED, CALLED_WRONGLY, DIFFERENT, AWAY = 1, 2, 3, 4
LOOKUP = ("lookup", "--service", "delay_model", "--key", "origin=EWR", "--key", "carrier=UA")


@pytest.fixture(scope="module")
def plan() -> Plan:
    return compile_repo(ROOT / "feature_repo")


@pytest.fixture
def deployment(tmp_path: Path, plan: Plan) -> Iterator[Deployment]:
    """A broker without topics, the plan, and nothing else."""
    write_plan(plan, LocalState(tmp_path / "state").file("plan.json"))
    with EmbeddedBroker(tmp_path / "broker.json") as broker:
        yield Deployment(tmp_path / "state", {"broker": broker.address})


def departure(minute: int, **changes: object) -> bytes:
    fields = {
        "origin": "EWR",
        "carrier": "UA",
        "flight": 1,
        "tailnum": None,
        "dest": "IAH",
        "scheduled_at": f"2013-01-01T10:{minute:02}:00Z",
        "event_timestamp": f"2013-01-01T10:{minute:02}:00Z",
        "dep_delay": 0.0,
        "distance": 1400,
        "cancelled": False,
    }
    return json.dumps({name: value for name, value in {**fields, **changes}.items() if value != "absent"}).encode()


def send(deployment: Deployment, *values: bytes | None) -> None:
    producer = KafkaProducer(bootstrap_servers=deployment.settings["broker"])
    for minute, value in enumerate(values):
        producer.send("departures", value, key=b"EWR", timestamp_ms=1_357_034_400_000 + minute * 60_000)
    producer.flush()
    producer.close()


def test_nothing_at_all_is_no_error_but_an_empty_answer(deployment: Deployment, tmp_path: Path) -> None:
    assert deployment.json("stream", "--until-end")["events"] == 0
    found = deployment.json(*LOOKUP)
    assert found["features"]["origin_departures__departures_24h"] == 0
    assert found["features"]["origin_departures__mean_dep_delay_24h"] is None
    assert {view["status"] for view in found["views"].values()} == {"unknown_key"}
    moment = pa.array([1_357_034_400_000_000]).cast(pa.timestamp("us", "UTC"))
    spine = pa.table({"origin": ["EWR"], "carrier": ["UA"], "event_timestamp": moment})
    for rows, table in ((1, spine), (0, spine.slice(0, 0))):
        pq.write_table(table, tmp_path / "spine.parquet")
        found = deployment.json("history", "--service", "delay_model", "--spine", str(tmp_path / "spine.parquet"))
        assert len(found["rows"]) == rows
    assert deployment.json("deadletters") == {"count": 0, "dead_letters": []}
    assert all(row["lag"] == 0 for row in deployment.json("status")["partitions"])


def test_bad_events_become_dead_letters_and_the_others_count(deployment: Deployment) -> None:
    deployment.json("stream", "--until-end")  # makes the topics
    send(
        deployment,
        departure(0),
        b'{"origin": "EWR", "carrier"',
        departure(2, distance="far"),
        departure(3, carrier="absent"),
        departure(4, origin="SFO"),
        departure(5, event_timestamp="2031-01-01T00:00:00Z", scheduled_at="2031-01-01T00:00:00Z"),
        None,
        departure(7, event_timestamp="2013-01-01T10:07:00"),
        departure(8),
    )
    done = deployment.json("stream", "--until-end")
    assert (done["events"], done["dead_letters"]) == (2, 7)
    assert deployment.json(*LOOKUP)["features"]["origin_departures__departures_24h"] == 2
    found = deployment.json("deadletters")
    assert found["count"] == 7
    by_offset = {letter["offset"]: letter for letter in found["dead_letters"]}
    fields = {offset: letter["field"] for offset, letter in by_offset.items()}
    assert fields == {
        1: None,
        2: "distance",
        3: "carrier",
        4: "origin",
        5: "event_timestamp",
        6: None,
        7: "event_timestamp",
    }
    assert by_offset[1]["value"] == '{"origin": "EWR", "carrier"'
    assert "max_future" in by_offset[5]["reason"]
    assert all(
        letter["topic"] == "departures" and letter["model"] == "events:Departure" for letter in by_offset.values()
    )


def test_broker_away_at_start_is_said_at_once_with_what_to_start(tmp_path: Path, plan: Plan) -> None:
    write_plan(plan, LocalState(tmp_path).file("plan.json"))
    for settings, said in (({"broker": "127.0.0.1:9"}, "127.0.0.1:9"), ({}, "headrace dev")):
        away = Deployment(tmp_path, settings)
        for command in (("stream",), ("produce", "weather"), ("deadletters",)):
            out = away.run(*command, code=AWAY)
            assert said in out
            assert "Traceback" not in out


def test_broker_that_comes_back_finds_the_worker_where_it_was(deployment: Deployment, tmp_path: Path) -> None:
    deployment.settings["session_timeout"] = "1"
    deployment.json("produce", "weather", "--limit", "500")
    broker = json.loads((tmp_path / "broker.json").read_text())
    with deployment.start("stream") as worker:
        try:
            wait_until(lambda: _applied(deployment, "weather") == 500)
            os.kill(broker["pid"], signal.SIGSTOP)
            # A client waits longer for the broker than a session lasts: the group forgets the worker.
            assert deployment.json("status", code=AWAY)["unknown"] == ["broker"]
            os.kill(broker["pid"], signal.SIGCONT)
            deployment.json("produce", "weather", "--limit", "900", "--resume")
            wait_until(lambda: _applied(deployment, "weather") == 900)
            assert worker.poll() is None
        finally:
            worker.terminate()
            _, err = worker.communicate(timeout=30)
    assert worker.returncode == 0, err
    assert "Traceback" not in err
    assert all(row["logged"] == row["applied"] for row in deployment.json("status")["partitions"])


def test_broker_that_forgot_its_topics_stops_the_worker_rather_than_lose_events(
    deployment: Deployment, tmp_path: Path
) -> None:
    deployment.json("produce", "weather", "--limit", "300")
    assert deployment.json("stream", "--until-end")["events"] == 300
    with EmbeddedBroker(tmp_path / "other.json") as other:
        moved = Deployment(deployment.state, {"broker": other.address})
        moved.json("produce", "weather", "--limit", "300")
        out = moved.run("stream", "--until-end", code=FAILED)
        assert "is not the one that the log was made from" in out
        assert "headrace stream --accept-new-topic" in out


def test_second_worker_on_one_lmdb_store_is_refused(deployment: Deployment) -> None:
    with deployment.start("stream") as first:
        try:
            wait_until(lambda: (deployment.state / "online" / "worker.lock").exists())
            out = deployment.run("stream", code=FAILED)
            assert f"process {first.pid}" in out
            assert "redis://" in out
        finally:
            first.terminate()
            first.communicate(timeout=30)


def test_damaged_store_is_rebuilt_from_the_log_with_the_same_features(deployment: Deployment) -> None:
    deployment.json("produce", "departures", "--limit", "3000", "--late", "0.05")
    deployment.json("produce", "weather", "--limit", "300")
    deployment.json("stream", "--until-end")
    before = deployment.json(*LOOKUP)
    data = deployment.state / "online" / "data.mdb"
    data.write_bytes(b"\xff" * data.stat().st_size)
    out = deployment.run(*LOOKUP, code=FAILED)
    assert "is damaged" in out
    assert "--rebuild" in out
    deployment.json("stream", "--until-end")
    after = deployment.json(*LOOKUP)
    assert after["features"] == before["features"]
    assert after["evidence"] == before["evidence"]
    assert list(deployment.state.glob("online.damaged-*"))


def test_stores_that_are_gone_are_filled_again_though_the_group_has_committed(deployment: Deployment) -> None:
    deployment.json("produce", "departures", "--limit", "2000")
    deployment.json("stream", "--until-end")
    before = deployment.json(*LOOKUP)
    shutil.rmtree(deployment.state / "online")
    assert deployment.json("stream", "--until-end")["events"] == 0  # from the log alone
    assert deployment.json(*LOOKUP)["features"] == before["features"]
    shutil.rmtree(deployment.state / "online")
    shutil.rmtree(deployment.state / "log")
    assert deployment.json("stream", "--until-end")["events"] == 2000  # from the topic
    assert deployment.json(*LOOKUP)["features"] == before["features"]


@pytest.mark.parametrize("what", ["online", "log"])
def test_path_that_cannot_be_written_is_named(deployment: Deployment, what: str) -> None:
    (deployment.state / what).write_text("a file where a folder should be")
    with deployment.start("stream", "--until-end") as worker:
        try:
            _, err = worker.communicate(timeout=240)
        finally:
            worker.kill()
    assert worker.returncode in (FAILED, AWAY)
    assert str(deployment.state / what) in err.replace("\n", "")
    assert "Traceback" not in err


def test_wrong_requests_are_explained(deployment: Deployment, tmp_path: Path) -> None:
    deployment.json("stream", "--until-end")
    said = {
        ("lookup", "--service", "nope", "--key", "origin=EWR"): (FAILED, "delay_model"),
        ("lookup", "--service", "delay_model", "--key", "origin=EWR"): (FAILED, "carrier"),
        ("lookup", "--service", "delay_model", "--key", "airport=EWR"): (FAILED, "--key origin="),
        (*LOOKUP, "--at", "soon"): (FAILED, "soon"),
        ("history", "--spine", str(tmp_path / "none.parquet")): (FAILED, "none.parquet"),
        ("produce", "flights"): (FAILED, "departures"),
        ("deadletters", "nowhere"): (FAILED, "nowhere"),
        ("dataset", "build", "nope"): (FAILED, "delay_model"),
        ("dataset", "verify", str(tmp_path)): (FAILED, "manifest.json"),
        ("lookup",): (CALLED_WRONGLY, "--key"),
    }
    for command, (code, part) in said.items():
        out = deployment.run(*command, code=code)
        assert part in out, (command, out)
        assert "Traceback" not in out


def _applied(deployment: Deployment, topic: str) -> int:
    return sum(row["applied"] for row in deployment.json("status")["partitions"] if row["topic"] == topic)
