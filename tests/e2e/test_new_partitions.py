"""A running worker notices new partitions of its topic within seconds, and reads them from their beginning."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]

from tests.e2e.rides import Rides
from tests.waits import wait_until

if TYPE_CHECKING:
    from tests.servers.kafka import ApacheKafka

pytestmark = [pytest.mark.slow, pytest.mark.apache_kafka]


def test_events_of_new_partitions_count(
    apache_kafka: ApacheKafka, topic_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_METADATA_REFRESH", "1")
    rides = Rides(tmp_path / "rides", topic_name, apache_kafka.address, partitions=1)
    rides.json("stream", "--until-end")  # makes the topic
    rides.send(apache_kafka.address, 1, 2)
    with rides.start("stream") as worker:
        try:
            apache_kafka.admin.create_partitions([NewPartitions(topic_name, 2)])[topic_name].result(30)
            rides.send(apache_kafka.address, 3, 4, partition=1)  # before the worker knows of it
            wait_until(lambda: rides.looked_up()[0] == 4, "all four rides to count")
            assert rides.looked_up()[:2] == [4, 10]
        finally:
            worker.send_signal(signal.SIGTERM)
            worker.communicate(timeout=60)
