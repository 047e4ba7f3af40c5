"""Fixtures that tests of several packages share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

_TOPICS = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    """Let one warning pass: kafka-python leaves a socket whose connection was refused to the garbage collector.

    That happens in any test after one whose broker died, so it cannot be a mark of that test. Such a socket has no
    remote address.
    """
    refused = r"unclosed <socket\.socket .* laddr=\('(0\.0\.0\.0|127\.0\.0\.1)', \d+\)>"
    config.addinivalue_line("filterwarnings", f"ignore:{refused}:ResourceWarning")


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
