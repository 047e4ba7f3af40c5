"""Fixtures that tests of several packages share."""

from __future__ import annotations

import itertools
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from tests.servers.kafka import ApacheKafka
    from tests.servers.redis import RedisServer
    from tests.servers.secured_kafka import SecuredKafka

_TOPICS = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    """Let one warning pass: kafka-python leaves a socket whose connection was refused to the garbage collector.

    That happens in any test after one whose broker died, so it cannot be a mark of that test. Such a socket has no
    remote address.
    """
    refused = r"unclosed <socket\.socket .* laddr=\('(0\.0\.0\.0|127\.0\.0\.1)', \d+\)>"
    config.addinivalue_line("filterwarnings", f"ignore:{refused}:ResourceWarning")


LONGEST_FIRST = (
    "apache_kafka",
    "tests/e2e/test_worker_ends.py",
    "secured_kafka",
    "tests/e2e/test_troubles.py",
    "crash, killed",
    "crash, hanging",
    "tour",
    "tour after the demo",
    "tests/offline/test_delay_model.py",
    "tests/house/test_wheel.py",
    "tests/cli/test_new_projects.py",
    "tests/e2e/test_flights.py",
    "tests/e2e/test_handoff.py",
    "tests/e2e/test_model_changes.py",
    "tests/docs/test_code.py",
    "tests/cli/test_entry.py",
    "tests/ingest/test_beside_workers.py",
    "cases 0",
    "cases 1",
    "cases 2",
    "cases 3",
)
"""The groups of tests that take longest. They begin first, so that no process ends long after the others."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests that share something costly in one process, where several processes run them (`make test`).

    Tests of a module share its fixtures. Tests that use the same Apache Kafka share it. A test may have a group of its
    own by the mark `xdist_group`.
    """
    groups: dict[str, str] = {}
    for item in items:
        own = item.get_closest_marker("xdist_group")
        group = str(own.args[0]) if own else _group_of(item)
        if own is None:
            item.add_marker(pytest.mark.xdist_group(group))
        groups[item.nodeid] = group
    ranks = {group: rank for rank, group in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: ranks.get(groups[item.nodeid], len(ranks)))


def _group_of(item: pytest.Item) -> str:
    fixtures = getattr(item, "fixturenames", ())
    if "secured_kafka" in fixtures:
        return "secured_kafka"
    if "apache_kafka" in fixtures or item.get_closest_marker("apache_kafka"):
        return "apache_kafka"
    return item.nodeid.partition("::")[0]


@pytest.fixture(autouse=True)
def _own_log_level() -> Iterator[None]:
    """What a command that is run in a test sets for its own process does not reach the tests after it."""
    logger = logging.getLogger("headrace")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an embedded broker that all tests share; each takes a topic of its own."""
    from headrace.kafka import EmbeddedBroker

    with EmbeddedBroker(tmp_path_factory.mktemp("broker") / "broker.json") as embedded:
        yield embedded.address


@pytest.fixture
def topic_name() -> str:
    """A topic's name that no other test uses."""
    return f"topic-{next(_TOPICS)}"


@pytest.fixture(scope="session")
def kafka_classpath(pytestconfig: pytest.Config) -> str:
    """The class path of Apache Kafka, for tests that start their own broker (`tests.servers.kafka.ApacheKafka`)."""
    from tests.servers.kafka import KafkaMissingError, resolve_jars

    assert pytestconfig.cache is not None
    try:
        return resolve_jars(pytestconfig.cache.mkdir("apache-kafka"))
    except KafkaMissingError as missing:
        _without(str(missing))


@pytest.fixture(scope="session")
def apache_kafka(kafka_classpath: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """An Apache Kafka that all tests share; each takes topics of its own, and none may stop it. It heeds rights."""
    yield from _kafka(tmp_path_factory.mktemp("apache-kafka"), kafka_classpath)


@pytest.fixture(scope="session")
def spare_kafka(kafka_classpath: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """An Apache Kafka that a test may kill, if it starts it again."""
    yield from _kafka(tmp_path_factory.mktemp("spare-kafka"), kafka_classpath)


def _kafka(folder: Path, classpath: str) -> Iterator[ApacheKafka]:
    from tests.servers.kafka import WITH_RIGHTS, ApacheKafka

    server = ApacheKafka(folder, classpath, WITH_RIGHTS)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def secured_kafka(kafka_classpath: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """An Apache Kafka with TLS and sign-in that all tests share."""
    from tests.servers.secured_kafka import SecuredKafka

    if shutil.which("openssl") is None:
        _without("openssl is not installed; on Debian: apt-get install openssl")
    server = SecuredKafka(tmp_path_factory.mktemp("secured-kafka"), kafka_classpath)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _new_server(tmp_path_factory: pytest.TempPathFactory) -> RedisServer:
    from tests.servers.redis import RedisServer

    if shutil.which("redis-server") is None:
        _without("redis-server is not installed; on Debian: apt-get install redis-server")
    return RedisServer(tmp_path_factory.mktemp("redis"))


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = _new_server(tmp_path_factory)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_url(shared_redis: RedisServer) -> str:
    """The URL of an empty database."""
    with shared_redis.client() as client:
        client.flushall()
    return shared_redis.url


@pytest.fixture
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server for one test, which may stop it; not started yet."""
    server = _new_server(tmp_path_factory)
    yield server
    server.stop()


def _without(missing: str) -> NoReturn:
    """Skip what needs a server that is not there; in CI that is a failure."""
    if os.environ.get("HEADRACE_REQUIRE_SERVERS"):
        pytest.fail(missing)
    pytest.skip(missing)
