"""Two workers of one group that are to read everything once both end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.rides import Rides

pytestmark = [pytest.mark.slow, pytest.mark.kafka]


@pytest.mark.parametrize("partitions", [2, 1])
def test_two_workers_until_the_end_both_end_and_count_each_event_once(
    broker: str, redis_url: str, topic_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, partitions: int
) -> None:
    monkeypatch.setenv("HEADRACE_STORE", redis_url)
    rides = Rides(tmp_path / "rides", topic_name, broker, partitions=partitions)
    rides.json("stream", "--until-end")  # makes the topics
    for partition in range(partitions):
        rides.send(broker, *([1] * 30), partition=partition)
    workers = [rides.start("stream", "--until-end", "--json") for _ in range(2)]
    said = [worker.communicate(timeout=200) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    assert sum(json.loads(out)["events"] for out, _ in said) == 30 * partitions
    assert rides.looked_up() == [30 * partitions, 30 * partitions, 1]
    assert [row["lag"] for row in rides.json("status")["partitions"]] == [0] * partitions
