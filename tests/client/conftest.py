"""A server of the wire, and both clients of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from headrace.client import FeatureClient, HttpSettings
from headrace.lookup import FeatureClient as InProcessClient
from headrace.stores import OnlineStore
from headrace.stores.memory import MemoryStore
from tests.client.wire_server import WireServer
from tests.lookup.conftest import PLAN, fill, order, serving

if TYPE_CHECKING:
    from headrace.client import AsyncFeatureClient

QUICK = HttpSettings(connect_timeout_s=30, read_timeout_s=30, total_timeout_s=60, retries=0)
"""No retry, and time limits that a loaded machine keeps."""


class AwaitedClient:
    """The asynchronous client with the synchronous client's methods, so that tests run for both."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        from headrace.client import AsyncFeatureClient

        self._runner = asyncio.Runner()
        self._runner.__enter__()
        try:
            self.client = self._call(lambda: AsyncFeatureClient(*arguments, **more))
        except BaseException:
            self._runner.close()
            raise

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)
        return lambda *arguments, **more: self._runner.run(method(*arguments, **more))

    def _call(self, make: Callable[[], AsyncFeatureClient]) -> AsyncFeatureClient:
        async def made() -> AsyncFeatureClient:
            return make()

        return self._runner.run(made())

    def close(self) -> None:
        self._runner.run(self.client.close())
        self._runner.close()


Connect = Callable[..., FeatureClient]
"""Connects a client to a server: `connect(url, http=…)`."""


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    if request.param == "async":
        pytest.importorskip("httpx2")
    with ExitStack() as stack:

        def made(url: str, **more: Any) -> Any:
            settings = {"http": QUICK, **more}
            client = FeatureClient(url, **settings) if request.param == "sync" else AwaitedClient(url, **settings)
            stack.callback(client.close)
            return client

        yield made


@pytest.fixture
def store() -> Iterator[OnlineStore]:
    """A shop's orders and refunds."""
    with MemoryStore() as opened:
        opened.change(serving())
        fill(
            opened,
            order(5, gift=False, note="ü", price=-0.0, pieces=2**62),
            order(6, shop="b", price=float("nan"), pieces=None, day=datetime(2026, 1, 1, tzinfo=UTC)),
        )
        fill(opened, order(7, shop="c"), source="refunds", partition=3, first=2**40)
        yield opened


@pytest.fixture
def here(store: OnlineStore) -> InProcessClient:
    """The client in process."""
    return InProcessClient(plan=PLAN, store=store)


@pytest.fixture
def server(here: InProcessClient) -> Iterator[WireServer]:
    with WireServer(here) as serving_it:
        yield serving_it
