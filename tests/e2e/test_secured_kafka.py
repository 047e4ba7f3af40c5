"""The whole path over a Kafka that asks for TLS and a sign-in, and what commands say where a setting is wrong."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import Producer

from headrace.config import Project
from headrace.produce import EventProducer
from tests.e2e.rides import Rides
from tests.servers.secured_kafka import CLIENT_ID, PASSWORD, SecuredKafka

pytestmark = [pytest.mark.slow, pytest.mark.apache_kafka]

FAILED, AWAY = 1, 4


def project_at(kafka: SecuredKafka, listener: str, root: Path, topic: str) -> Rides:
    """A project that connects to a listener; its password is in a file."""
    rides = Rides(root, topic, kafka.address_of(listener))
    settings = kafka.settings_of(listener)
    if settings.pop("password", None) is not None:
        (root / "password").write_text(f"{PASSWORD}\n")
        settings["password_file"] = "password"  # noqa: S105 a file's name
    lines = [f"{name} = {json.dumps(str(value))}" for name, value in settings.items()]
    with (root / "headrace.toml").open("a") as file:
        file.write("\n".join(["[kafka]", *lines, ""]))
    return rides


@pytest.mark.parametrize("listener", ["SASL", "SASLTLS", "TLS"])
def test_events_go_from_producer_to_features_over_a_secured_listener(
    secured_kafka: SecuredKafka, listener: str, tmp_path: Path, topic_name: str
) -> None:
    rides = project_at(secured_kafka, listener, tmp_path, topic_name)
    now = datetime.now(UTC)
    with EventProducer.for_project(topic_name, Project.load(tmp_path)) as producer:
        producer.send({"driver": "d1", "at": now, "fare": 7})
        producer.send_many([{"driver": "d1", "at": now, "fare": 8}])
    other = Producer(secured_kafka.connection_to(listener).librdkafka())
    other.produce(topic_name, b"no ride", b"d1")
    assert other.flush(30) == 0
    said = rides.run("stream", "--until-end")
    assert rides.looked_up() == [2, 15, 8]
    (letter,) = rides.json("deadletters")["dead_letters"]
    assert letter["topic"] == topic_name
    status = rides.run("status") + rides.run("status", "--json")
    assert '"lag": 0' in status
    assert PASSWORD not in said + status
    # Every client gave its name: those that produce, read, join the group and ask.
    assert {"PRODUCE", "FETCH", "JOIN_GROUP", "OFFSET_COMMIT", "CREATE_TOPICS"} <= secured_kafka.requests_of(CLIENT_ID)


@pytest.mark.parametrize("command", [["stream"], ["status"], ["deadletters"]])
def test_commands_name_a_wrong_password_and_do_not_wait(
    secured_kafka: SecuredKafka, command: list[str], tmp_path: Path, topic_name: str
) -> None:
    rides = project_at(secured_kafka, "SASLTLS", tmp_path, topic_name)
    (tmp_path / "password").write_text("wrong")
    said = rides.run(*command, code=AWAY if command == ["status"] else FAILED)
    assert "the sign-in as user 'alice' by SCRAM-SHA-512 failed" in said
