"""A topic that is created again, or has lost what comes next, under commands as users run them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import TopicPartition

from headrace.config import Project
from headrace.kafka import EmbeddedBroker, ensure_topics
from headrace.plan import read_plan
from headrace.state import LocalState
from tests.e2e.rides import Rides
from tests.waits import wait_until

if TYPE_CHECKING:
    from tests.servers.kafka import ApacheKafka

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kafka,
    pytest.mark.timeout(900),
]  # a command takes half a minute on a loaded machine


def remove_before(kafka: ApacheKafka, topic: str, offset: int) -> None:
    for future in kafka.admin.delete_records([TopicPartition(topic, 0, offset)]).values():
        future.result(30)


def make_anew(kafka: ApacheKafka, topic: str) -> None:
    kafka.delete_topic(topic)
    wait_until(lambda: topic not in kafka.admin.list_topics(timeout=10).topics, "the topic is not deleted")
    kafka.create_topic(topic)


def test_restart_of_the_embedded_broker_costs_nothing(tmp_path: Path) -> None:
    rides = Rides(tmp_path / "rides", "rides", "embedded")
    sources = read_plan(LocalState(rides.state).file("plan.json")).sources.values()
    path = Project.load(rides.root).broker_state_path
    for first in (1, 11):
        with EmbeddedBroker(path) as broker:
            ensure_topics(broker.connection, sources, 2)
            rides.send(broker.address, first, first + 1)
            rides.send(broker.address, first + 2, partition=1)
            said = rides.run("stream", "--until-end")
            assert said.count("was created again") == (first > 1)
            rides.send(broker.address, first + 3)
            rides.run("stream", "--until-end")
            status = rides.json("status")
            assert [(row["partition"], row["lag"], row["logged"]) for row in status["partitions"]] == [
                (0, 0, 3),
                (1, 0, 1),
            ]
    assert rides.looked_up() == [8, 1 + 2 + 3 + 4 + 11 + 12 + 13 + 14, 14]
    status = rides.json("status", code=4)  # no broker runs
    assert {row["lag"] for row in status["partitions"]} == {None}
    assert [row["logged"] for row in status["sealed"]] == [3, 1]
    shutil.rmtree(rides.state / "online")
    with EmbeddedBroker(path):
        rides.run("stream", "--until-end")  # fills the store anew from the log
    assert rides.looked_up() == [8, 60, 14]


def test_what_retention_removed_stops_the_worker_until_it_is_told_to_go_on(
    tmp_path: Path, apache_kafka: ApacheKafka, topic_name: str
) -> None:
    rides = Rides(tmp_path / "rides", topic_name, apache_kafka.address)
    apache_kafka.create_topic(topic_name)
    rides.send(apache_kafka.address, 1, 2, 3)
    remove_before(apache_kafka, topic_name, 1)
    rides.run("stream", "--until-end")  # a topic that had lost its beginning before anybody read it has no gap
    rides.send(apache_kafka.address, 4, 5, 6)
    remove_before(apache_kafka, topic_name, 5)
    said = rides.run("stream", "--until-end", code=1)
    assert f"{topic_name}[0] offsets 3 to 4 (2) are gone" in said
    assert "--accept-gap" in said
    (row,) = rides.json("status")["partitions"]
    assert (row["lag"], row["gone"], row["logged"]) == (3, [3, 4], 3)
    rides.run("stream", "--until-end", "--accept-gap")
    assert rides.looked_up() == [3, 2 + 3 + 6, 6]
    status = rides.json("status")
    assert [(gap["topic"], gap["partition"], gap["first"], gap["last"], gap["count"]) for gap in status["gaps"]] == [
        (topic_name, 0, 3, 4, 2)
    ]
    assert [(row["lag"], row["gone"]) for row in status["partitions"]] == [(0, None)]
    assert "offsets 3 to 4 (2) are missing from the log" in rides.run("status")
    rides.send(apache_kafka.address, 7)
    rides.run("stream", "--until-end", "--rebuild")
    assert rides.looked_up() == [4, 18, 7]


def test_what_retention_removes_under_a_running_worker_stops_it_once_all_before_is_logged(
    tmp_path: Path, apache_kafka: ApacheKafka, topic_name: str
) -> None:
    rides = Rides(tmp_path / "rides", topic_name, apache_kafka.address)
    apache_kafka.create_topic(topic_name)
    rides.send(apache_kafka.address, 1, 2)
    worker = rides.start("stream")
    try:
        wait_until(lambda: (rides.state / "log" / topic_name / "_delta_log").exists(), "the worker logs nothing")
        worker.send_signal(19)  # it is stopped in its tracks, while events come and go
        rides.send(apache_kafka.address, 3, 4, 5)
        remove_before(apache_kafka, topic_name, 4)
        worker.send_signal(18)
        _, said = worker.communicate(timeout=120)
    finally:
        worker.kill()
    assert worker.returncode == 1
    assert f"{topic_name}[0] offsets 2 to 3 (2) are gone" in said
    rides.run("stream", "--until-end", "--accept-gap")
    assert rides.looked_up() == [3, 1 + 2 + 5, 5]


def test_topic_made_anew_under_a_running_worker_is_not_read_into_the_old_ones_places(
    tmp_path: Path, apache_kafka: ApacheKafka, topic_name: str
) -> None:
    rides = Rides(tmp_path / "rides", topic_name, apache_kafka.address)
    apache_kafka.create_topic(topic_name)
    rides.send(apache_kafka.address, 1, 2, 3)
    worker = rides.start("stream")
    try:
        wait_until(lambda: (rides.state / "log" / topic_name / "_delta_log").exists(), "the worker logs nothing")
        worker.send_signal(19)
        make_anew(apache_kafka, topic_name)
        rides.send(apache_kafka.address, *range(10, 30))
        worker.send_signal(18)
        _, said = worker.communicate(timeout=120)
    finally:
        worker.kill()
    assert worker.returncode == 1
    assert "is not the one that the log was made from" in said
    assert rides.looked_up() == [3, 6, 3]
    (row,) = rides.json("status")["partitions"]
    assert (row["lag"], row["end"], row["logged"]) == (None, None, 3)
    said = rides.run("stream", "--until-end", code=1)
    assert "--accept-new-topic" in said
    shutil.rmtree(rides.state / "online")
    for again in ((), ("--rebuild",)):  # neither an emptied store nor a rebuild passes by the check
        assert "--accept-new-topic" in rides.run("stream", "--until-end", *again, code=1)
    rides.run("stream", "--until-end", "--accept-new-topic")
    assert rides.looked_up() == [23, 6 + sum(range(10, 30)), 29]
    rides.send(apache_kafka.address, 40)
    rides.run("stream", "--until-end")
    assert rides.looked_up() == [24, 46 + sum(range(10, 30)), 40]
    (row,) = rides.json("status")["partitions"]
    assert (row["partition"], row["source_partition"], row["lag"], row["logged"]) == (0, 1, 0, 21)
