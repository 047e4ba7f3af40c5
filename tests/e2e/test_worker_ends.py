"""A worker ends by itself within seconds, with the reason in its last line; and how it is watched from outside."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from headrace.declare import compile_repo
from headrace.kafka import EmbeddedBroker
from headrace.plan import Plan, write_plan
from headrace.state import LocalState
from tests.e2e.flights import ROOT, Deployment
from tests.servers.kafka import WITH_RIGHTS, ApacheKafka
from tests.servers.redis import RedisServer
from tests.waits import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.kafka]

FAILED, AWAY = 1, 4
END_S = 15.0
ALLOW, DENY = AclPermissionType.ALLOW, AclPermissionType.DENY


@pytest.fixture(scope="module")
def plan() -> Plan:
    return compile_repo(ROOT / "feature_repo")


@pytest.fixture(scope="module")
def kafka(kafka_classpath: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """An Apache Kafka whose rights these tests change for all topics and groups."""
    server = ApacheKafka(tmp_path_factory.mktemp("kafka"), kafka_classpath, WITH_RIGHTS)
    server.start()
    yield server
    server.stop()


def rule(
    kafka: ApacheKafka, kind: ResourceType, name: str, operation: AclOperation, permission: AclPermissionType
) -> None:
    binding = AclBinding(kind, name, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*", operation, permission)
    kafka.admin.create_acls([binding])[binding].result(60)


@pytest.fixture
def denies(kafka: ApacheKafka) -> Iterator[Callable[[ResourceType, str, AclOperation], None]]:
    """Denies one thing; everything else is allowed."""
    for kind, name in ((ResourceType.TOPIC, "*"), (ResourceType.GROUP, "*"), (ResourceType.BROKER, "kafka-cluster")):
        rule(kafka, kind, name, AclOperation.ALL, ALLOW)
    yield lambda kind, name, operation: rule(kafka, kind, name, operation, DENY)
    anything = AclBindingFilter(
        ResourceType.ANY,
        None,  # type: ignore[arg-type]
        ResourcePatternType.ANY,
        None,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    kafka.admin.delete_acls([anything])[anything].result(60)


def deploy(folder: Path, plan: Plan, broker: str, **settings: str) -> Deployment:
    write_plan(plan, LocalState(folder / "state").file("plan.json"))
    return Deployment(folder / "state", {"broker": broker, "group": folder.name, **settings})


@pytest.fixture(params=["embedded", "apache"])
def deployment(request: pytest.FixtureRequest, tmp_path: Path, plan: Plan) -> Iterator[Deployment]:
    """The plan, and a broker without its topics."""
    if request.param == "embedded":
        with EmbeddedBroker(tmp_path / "broker.json") as broker:
            yield deploy(tmp_path, plan, broker.address)
        return
    kafka: ApacheKafka = request.getfixturevalue("kafka")
    yield deploy(tmp_path, plan, kafka.address)
    for topic in sorted(kafka.admin.list_topics(timeout=30).topics):
        if not topic.startswith("__"):
            kafka.delete_topic(topic)


def ended(worker: subprocess.Popen[str], within_s: float) -> tuple[int, str, str]:
    try:
        out, err = worker.communicate(timeout=within_s)
    except subprocess.TimeoutExpired:
        worker.kill()
        _, err = worker.communicate()
        pytest.fail(f"The worker hangs; it said:\n{err}")
    return worker.returncode, out, err.rstrip().splitlines()[-1]


def workers(deployment: Deployment) -> list[dict[str, object]]:
    told: list[dict[str, object]] = [
        json.loads(path.read_text()) for path in (deployment.state / "workers").glob("*.json")
    ]
    return told


def is_in(deployment: Deployment, *states: str) -> Callable[[], bool]:
    return lambda: any(told["state"] in states for told in workers(deployment))


def health(deployment: Deployment) -> int:
    return deployment.end("health").code


def stop(worker: subprocess.Popen[str]) -> None:
    worker.kill()
    worker.communicate()


# What the broker refuses


@pytest.mark.parametrize(
    ("kind", "name", "operation", "said"),
    [
        (ResourceType.GROUP, "*", AclOperation.READ, "Grant this client READ and DESCRIBE on the group"),
        # The group or the reader meets it first.
        (ResourceType.TOPIC, "weather", AclOperation.READ, "READ on the plan's topics|READ and DESCRIBE on the topic"),
        (ResourceType.TOPIC, "weather", AclOperation.DESCRIBE, "DESCRIBE of weather"),
    ],
)
def test_refusal_ends_the_worker_with_what_to_grant(
    kafka: ApacheKafka,
    denies: Callable[..., None],
    tmp_path: Path,
    plan: Plan,
    kind: ResourceType,
    name: str,
    operation: AclOperation,
    said: str,
) -> None:
    deployment = deploy(tmp_path, plan, kafka.address)
    deployment.json("produce", "weather", "--limit", "50")
    denies(kind, name, operation)
    code, out, last = ended(deployment.start("stream", "--json"), 90)
    assert code == FAILED
    assert last.startswith("error: The broker at ")
    assert re.search(said, last)
    assert json.loads(out)["kind"] == "BrokerRefusedError"


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        (ResourceType.GROUP, "*", "READ and DESCRIBE on the group"),
        (ResourceType.TOPIC, "weather", "READ on the plan's topics|READ and DESCRIBE on the topic"),
    ],
)
def test_right_that_is_taken_from_a_running_worker_ends_it(
    kafka: ApacheKafka,
    denies: Callable[..., None],
    tmp_path: Path,
    plan: Plan,
    kind: ResourceType,
    name: str,
    said: str,
) -> None:
    deployment = deploy(tmp_path, plan, kafka.address)
    deployment.json("produce", "weather", "--limit", "50")
    worker = deployment.start("stream")
    try:
        wait_until(is_in(deployment, "running"))
        denies(kind, name, AclOperation.READ)
        code, _, last = ended(worker, 60)
    finally:
        stop(worker)
    assert code == FAILED
    assert re.search(said, last)


def test_dead_letter_that_may_not_be_written_ends_the_worker_with_what_to_grant(
    kafka: ApacheKafka, denies: Callable[..., None], tmp_path: Path, plan: Plan
) -> None:
    deployment = deploy(tmp_path, plan, kafka.address)
    deployment.json("produce", "weather", "--limit", "5")
    deployment.json("stream", "--until-end")
    producer = Producer({"bootstrap.servers": kafka.address})
    producer.produce("weather", b"no JSON", timestamp=1_357_034_400_000)
    producer.flush(30)
    denies(ResourceType.TOPIC, "weather.dlq", AclOperation.WRITE)
    code, _, last = ended(deployment.start("stream"), 90)
    assert code == FAILED
    assert "weather.dlq" in last
    assert "Grant WRITE" in last


def test_topic_that_may_not_be_made_is_named(
    kafka: ApacheKafka, denies: Callable[..., None], tmp_path: Path, plan: Plan
) -> None:
    source = plan.sources["weather"].model_copy(update={"topic": "not-made-yet"})
    other = plan.model_copy(update={"sources": {**plan.sources, "weather": source}})
    denies(ResourceType.TOPIC, "not-made-yet", AclOperation.CREATE)
    denies(ResourceType.BROKER, "kafka-cluster", AclOperation.CREATE)
    code, _, last = ended(deploy(tmp_path, other, kafka.address).start("stream"), 90)
    assert code == FAILED
    assert "CREATE of not-made-yet" in last


def test_session_timeout_that_the_broker_does_not_take_is_named_with_its_value(
    kafka: ApacheKafka, tmp_path: Path, plan: Plan
) -> None:
    code, _, last = ended(deploy(tmp_path, plan, kafka.address, session_timeout="2").start("stream"), 90)
    assert code == FAILED
    assert "`session_timeout = 2`" in last
    assert "group.min.session.timeout.ms" in last


# Ends of workers that run


def test_what_was_applied_is_logged_and_committed_when_a_worker_is_asked_to_end(deployment: Deployment) -> None:
    deployment.json("produce", "weather", "--limit", "700")
    with deployment.start("stream") as worker:
        try:
            wait_until(is_in(deployment, "catching up", "running"))
            wait_until(lambda: any(told["round_at"] for told in workers(deployment)))
            worker.send_signal(signal.SIGTERM)
            code, _, last = ended(worker, END_S + 10)
        finally:
            stop(worker)
    assert code == 0
    assert "Applied" in last or "Ended" in last
    rows = [row for row in deployment.json("status")["partitions"] if row["applied"]]
    assert rows
    assert all(row["committed"] == row["logged"] == row["applied"] for row in rows)
    (told,) = workers(deployment)
    assert told["state"] == "ended"


@pytest.mark.redis
def test_redis_emptied_under_workers_ends_each_though_they_have_nothing_to_do(
    tmp_path: Path, plan: Plan, redis_server: RedisServer
) -> None:
    redis_server.start()
    with EmbeddedBroker(tmp_path / "broker.json") as broker:
        deployment = deploy(tmp_path, plan, broker.address, store=redis_server.url)
        deployment.json("produce", "weather", "--limit", "300")
        both = [deployment.start("stream") for _ in range(2)]
        try:
            wait_until(lambda: [told["state"] for told in workers(deployment)] == ["running"] * 2)
            assert health(deployment) == 0
            with redis_server.client() as client:
                client.flushall()
            for worker in both:
                code, _, last = ended(worker, END_S + 10)
                assert code == FAILED
                assert last.startswith("error: ")
                assert "store" in last
        finally:
            for worker in both:
                stop(worker)
        assert health(deployment) == 1
        assert deployment.json("stream", "--until-end")["events"] == 0  # from the log
        assert deployment.json("status")["store"] == "ready"


def test_worker_that_hangs_is_seen_within_seconds_and_again_when_it_goes_on(tmp_path: Path, plan: Plan) -> None:
    with EmbeddedBroker(tmp_path / "broker.json") as broker:
        deployment = deploy(tmp_path, plan, broker.address)
        with deployment.start("stream") as worker:
            try:
                wait_until(is_in(deployment, "running", "catching up"))
                assert health(deployment) == 0
                os.kill(worker.pid, signal.SIGSTOP)
                wait_until(lambda: health(deployment) == FAILED)
                assert deployment.json("status")["worker_runs"] is False
                os.kill(worker.pid, signal.SIGCONT)
                wait_until(lambda: health(deployment) == 0)
                assert worker.poll() is None
            finally:
                stop(worker)


def test_broker_that_goes_away_is_said_once_and_the_state_is_unknown(tmp_path: Path, plan: Plan) -> None:
    with EmbeddedBroker(tmp_path / "broker.json") as broker:
        deployment = deploy(tmp_path, plan, broker.address)
        deployment.json("produce", "weather", "--limit", "300")
        assert deployment.json("stream", "--until-end")["events"] == 300
    told = deployment.json("status", code=AWAY)
    assert told["unknown"] == ["broker"]
    assert told["worker_runs"] is False
    for row in told["partitions"]:
        assert (row["end"], row["lag"], row["committed"]) == (None, None, None)
        assert row["applied"] == row["logged"]


def test_store_that_cannot_be_asked_shows_as_unknown_and_not_as_zero(tmp_path: Path, plan: Plan) -> None:
    with EmbeddedBroker(tmp_path / "broker.json") as broker:
        deployment = deploy(tmp_path, plan, broker.address)
        deployment.json("produce", "weather", "--limit", "300")
        deployment.json("stream", "--until-end")
        away = Deployment(deployment.state, {**deployment.settings, "store": "redis://127.0.0.1:9/0"})
        told = away.json("status", code=AWAY)
    assert told["unknown"] == ["store"]
    assert told["store"] is None
    assert {row["applied"] for row in told["partitions"]} == {None}
    assert {row["lag"] for row in told["partitions"]} == {None}
