"""A view's definition changes under a worker that runs, while events arrive and lookups are served."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from headrace.config import Project
from headrace.declare import compile_repo
from headrace.kafka import EmbeddedBroker
from headrace.log import EventLog
from headrace.lookup import FeatureClient
from headrace.plan import Plan, read_plan, write_plan
from headrace.state import LocalState
from tests.e2e.flights import ROOT, Deployment, window
from tests.waits import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.kafka]

VIEW = "origin_departures"
FEATURE = f"{VIEW}__departures_1h"
HOUR = 3_600_000_000
LOOKUP = ("lookup", "--feature", f"{VIEW}:departures_1h", "--key", "origin=EWR")


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    write_plan(compile_repo(ROOT / "feature_repo"), LocalState(tmp_path / "state").file("plan.json"))
    with EmbeddedBroker(tmp_path / "broker.json") as broker:
        yield Deployment(tmp_path / "state", {"broker": broker.address, "audit_sample": "1"})


def change(deployment: Deployment, hours: int) -> Plan:
    """What `headrace apply` does of a definition whose window was edited."""
    file = LocalState(deployment.state).file("plan.json")
    body = read_plan(file).model_dump(mode="json")
    (feature,) = (one for one in body["views"][VIEW]["features"] if one["name"] == "departures_1h")
    feature["window_us"] = hours * HOUR
    write_plan(Plan.model_validate(body), file)
    return read_plan(file)


def departures(deployment: Deployment, plan: Plan) -> pd.DataFrame:
    """All departures from Newark that the log holds."""
    log = EventLog(deployment.state / "log", plan.sources["departures"])
    rows: pd.DataFrame = pd.concat([batch.to_pandas() for batch in log.scan()])
    return rows[rows["origin"] == "EWR"].rename(columns={"_ts_us": "ts", "_known_at_us": "known"})


class Server(threading.Thread):
    """A model server that started under the first plan: it looks Newark up until it is told to stop."""

    def __init__(self, client: FeatureClient) -> None:
        super().__init__(daemon=True)
        self.client = client
        self.served: list[tuple[str, int, Any, dict[int, int]]] = []
        self.failure: Exception | None = None
        self.stopped = threading.Event()

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.join()

    def run(self) -> None:
        try:
            while not self.stopped.wait(0.005):
                answer = self.client.get_online_features([f"{VIEW}:departures_1h"], [{"origin": "EWR"}])
                live = self.client.plan.views[VIEW].hash
                (applied,) = answer.views[VIEW].applied
                self.served.append((live, answer.at_us, answer.to_dict()[FEATURE][0], applied))
        except Exception as error:  # noqa: BLE001 the test raises it
            self.failure = error


def test_changed_view_goes_live_under_load_and_rolls_back(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read_plan(LocalState(deployment.state).file("plan.json"))
    deployment.json("produce", "departures", "--limit", "15000", "--late", "0.05")
    with deployment.start("stream") as worker:
        try:
            wait_until_caught_up(deployment)
            for name, value in deployment.variables.items():
                monkeypatch.setenv(name, value)
            with FeatureClient(Project.load(ROOT)) as client, Server(client) as server:
                second = change(deployment, 3)
                with deployment.start(
                    "produce", "departures", "--resume", "--late", "0.05", "--limit", "30000"
                ) as producer:
                    done = deployment.json("backfill", VIEW)
                    producer.communicate(timeout=120)
                assert done == {**done, "live": True, "version": second.views[VIEW].hash}
                wait_until_caught_up(deployment)
                assert deployment.json(*LOOKUP)["features"][FEATURE] == expected(deployment, second, 3)
                assert deployment.json("rollback", VIEW)["version"] == first.views[VIEW].hash
                assert deployment.json(*LOOKUP)["features"][FEATURE] == expected(deployment, second, 1)
                served = len(server.served)
                wait_until(lambda: len(server.served) > served + 1, "a lookup of the old version")
            assert server.failure is None
        finally:
            worker.terminate()
            worker.communicate(timeout=30)
    live = [hash_ for hash_, *_ in server.served]
    assert live[0] == live[-1] == first.views[VIEW].hash
    assert second.views[VIEW].hash in live
    check_served(server, departures(deployment, second), {first.views[VIEW].hash: 1, second.views[VIEW].hash: 3})
    audit = deployment.json("audit")
    assert (audit["ok"], audit["other_plan"]) == (True, 0)
    assert audit["compared"] >= len(server.served)


def test_without_a_worker_the_command_builds_it_itself(deployment: Deployment) -> None:
    first = read_plan(LocalState(deployment.state).file("plan.json"))
    deployment.json("produce", "departures", "--limit", "5000", "--late", "0.05")
    deployment.json("stream", "--until-end")
    second = change(deployment, 2)
    with deployment.start(*LOOKUP, "--json") as before:
        out, err = before.communicate(timeout=60)
    assert json.loads(out)["features"][FEATURE] == expected(deployment, second, 1)  # still served as it was
    assert f"headrace backfill {VIEW}" in err
    deployment.json("produce", "departures", "--resume", "--late", "0.05", "--limit", "10000")
    assert deployment.json("stream", "--until-end")["events"] == 5_000  # a worker starts all the same
    assert deployment.json("backfill", VIEW)["live"]
    assert deployment.json(*LOOKUP)["features"][FEATURE] == expected(deployment, second, 2)
    status = {row["view"]: row for row in deployment.json("status")["views"]}[VIEW]
    assert (status["live"], status["before"]) == (second.views[VIEW].hash, first.views[VIEW].hash)
    assert (status["building"], status["asked_for"]) == (None, None)


def test_rebuilding_serves_the_plan_as_it_is_now(deployment: Deployment) -> None:
    deployment.json("produce", "departures", "--limit", "3000")
    deployment.json("stream", "--until-end")
    second = change(deployment, 2)
    deployment.json("stream", "--until-end", "--rebuild")
    assert deployment.json(*LOOKUP)["features"][FEATURE] == expected(deployment, second, 2)


def expected(deployment: Deployment, plan: Plan, hours: int) -> int:
    held = departures(deployment, plan)
    newest = EventLog(deployment.state / "log", plan.sources["departures"])
    now = max(int(max(batch.column("_record_ts_us").to_pylist())) for batch in newest.scan())
    return len(window(held[held["known"] <= now], now, hours * HOUR, 60_000_000))


def check_served(server: Server, held: pd.DataFrame, hours: dict[str, int]) -> None:
    """Each answer is what the events that it knew make of the version that was live.

    Which these were its evidence says: a partition that is read to its end while the producer still fills it holds the
    others back no more, and so the newest record's time may be ahead of it.
    """
    assert len(server.served) > 20
    for live, at_us, value, applied in server.served[:: max(1, len(server.served) // 200)]:
        known = held[held["_offset"] <= held["_partition"].map(applied).fillna(-1)]
        assert value == len(window(known, at_us, hours[live] * HOUR, 60_000_000)), (live, at_us)


def wait_until_caught_up(deployment: Deployment) -> None:
    def is_caught_up() -> bool:
        rows = [row for row in deployment.json("status")["partitions"] if row["topic"] == "departures"]
        return bool(rows) and all(
            row["end"] and row["lag"] == 0 and row["logged"] == row["end"] for row in rows if row["end"]
        )

    wait_until(is_caught_up, "the worker to catch up")
