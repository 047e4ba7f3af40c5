"""Fixtures that tests of several packages share."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterator

import pytest

_TOPICS = itertools.count(1)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an embedded broker that all tests share; each takes a topic of its own."""
    from headrace.broker import EmbeddedBroker

    with EmbeddedBroker(tmp_path_factory.mktemp("broker") / "broker.json") as embedded:
        yield embedded.address


@pytest.fixture
def topic_name() -> str:
    """A topic's name that no other test uses."""
    return f"topic-{next(_TOPICS)}"


@pytest.fixture
def sockets_of_kafka_python(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """For tests in which a broker dies: kafka-python leaves the sockets that were refused to the garbage collector.

    They are collected here, while the test's mark to ignore ResourceWarning holds. The captured log holds on to them.
    """
    yield
    caplog.get_records("call").clear()
    gc.collect()
