"""Lookups over HTTP: the methods and the answers of the client in process."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, TypeVar

from headrace.client.catalog import Catalog
from headrace.client.connections import Connections, Received
from headrace.client.exchange import Ask, Exchange, Token
from headrace.client.failed_requests import FailedRequest, Retries
from headrace.client.http_settings import HttpSettings
from headrace.errors import StoreNotReadyError
from headrace.events.source_partition import SourcePartition
from headrace.lookup.request import AskedRows
from headrace.lookup.response import OnlineFeatures
from headrace.lookup.wire import positions_from_json
from headrace.plan import AskedFeatures
from headrace.stores import Position

__all__ = ["HttpClient"]

T = TypeVar("T")


class HttpClient:
    """Asks a server for features. Any number of threads may use it, and a forked process too; it can be pickled.

    Args:
        url: The server's URL.
        token: The token, if the server asks for one.
        settings: How to talk HTTP.
        not_ready: What a lookup does while the server's store is empty or being filled, as in process.

    Raises:
        ConfigError: The URL, the token or a TLS file cannot be used.
    """

    def __init__(
        self,
        url: str,
        token: Token | None = None,
        settings: HttpSettings | None = None,
        not_ready: Literal["error", "status"] = "error",
    ) -> None:
        settings = settings or HttpSettings()
        self._made_of = (url, token, settings, not_ready)
        self._raises = not_ready == "error"
        self._exchange = Exchange(url, token, settings)
        self._connections = Connections(self._exchange.address, settings)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._made_of

    def get_online_features(
        self, features: AskedFeatures, entity_rows: AskedRows, at: datetime | None = None
    ) -> OnlineFeatures:
        """Look features up; see `FeatureClient.get_online_features`."""
        call = self._exchange.lookup(features, entity_rows, at)
        try:
            answer = self._ask(call.ask, lambda found: self._exchange.answer(call, *found))
        except StoreNotReadyError:
            if self._raises:
                raise
            return self._exchange.not_ready(call, self.catalog())
        if call.services and not self._exchange.is_checked(call.services, answer.plan_hash):
            self._exchange.check(call.services, answer.plan_hash, self.catalog())
        return answer

    def now(self) -> datetime:
        """Now, by the clock that the store was filled under."""
        return self._positions()[0]

    def positions(self) -> dict[SourcePartition, Position]:
        """How far each source partition has been applied."""
        return self._positions()[1]

    def catalog(self) -> Catalog:
        """What can be asked for."""
        ask = self._exchange.catalog()
        return self._ask(ask, lambda found: Catalog(self._exchange.json(ask, *found)))

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()

    def _positions(self) -> tuple[datetime, dict[SourcePartition, Position]]:
        ask = self._exchange.positions()
        return self._ask(ask, lambda found: positions_from_json(self._exchange.json(ask, *found)))

    def _ask(self, ask: Ask, read: Callable[[Received], T]) -> T:
        """Send a request, again where that may help, and read its answer."""
        retries = Retries(self._exchange.settings)
        while True:
            try:
                return read(self._connections.send(ask, retries.deadline))
            except FailedRequest as failed:
                pause_s = retries.pause_after(failed)
            time.sleep(pause_s)
