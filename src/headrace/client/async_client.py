"""Lookups over HTTP for asyncio (needs httpx2, extra `async`)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import httpx2

from headrace.client.catalog import Catalog
from headrace.client.exchange import Ask, Exchange, Token
from headrace.client.failed_requests import FailedRequest, Retries, connection_failure, timed_out
from headrace.client.http_settings import HttpSettings
from headrace.errors import ServerError, StoreNotReadyError
from headrace.events.source_partition import SourcePartition
from headrace.lookup.request import AskedRows
from headrace.lookup.response import OnlineFeatures
from headrace.lookup.wire import positions_from_json
from headrace.lookup.wire_format import NO_SERVER
from headrace.plan import AskedFeatures
from headrace.stores import Position

__all__ = ["AsyncFeatureClient"]

T = TypeVar("T")


class AsyncFeatureClient:
    """Looks features up at a server, in asyncio. It has the methods of `FeatureClient`, to be awaited.

    Any number of tasks of one event loop may use it at once.

    Args:
        url: The server's URL, "http://host:port".
        token: The token, or a function that returns one. The function is called for each request, and must not wait.
        http: Time limits, retries, TLS.
        not_ready: What a lookup does while the store is empty or being filled: `error` raises, `status` answers nulls
            with the status `not_ready`.

    Raises:
        ConfigError: The URL, the token or a TLS file cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token | None = None,
        http: HttpSettings | None = None,
        not_ready: Literal["error", "status"] = "error",
    ) -> None:
        settings = http or HttpSettings()
        self._raises = not_ready == "error"
        self._exchange = Exchange(url, token, settings)
        self._client = httpx2.AsyncClient(
            verify=settings.tls() if self._exchange.address.is_secure else True,
            limits=httpx2.Limits(
                max_connections=None, max_keepalive_connections=settings.max_idle, keepalive_expiry=settings.idle_s
            ),
            timeout=httpx2.Timeout(settings.read_timeout_s, connect=settings.connect_timeout_s),
            follow_redirects=False,
            trust_env=False,  # no proxy, and no password from a file of the user's
        )

    async def get_online_features(
        self, features: AskedFeatures, entity_rows: AskedRows, at: datetime | None = None
    ) -> OnlineFeatures:
        """Look features up; arguments, answer and errors are those of `FeatureClient.get_online_features`."""
        call = self._exchange.lookup(features, entity_rows, at)
        try:
            answer = await self._ask(call.ask, lambda found: self._exchange.answer(call, *found))
        except StoreNotReadyError:
            if self._raises:
                raise
            return self._exchange.not_ready(call, await self._catalog())
        if call.services and not self._exchange.is_checked(call.services, answer.plan_hash):
            self._exchange.check(call.services, answer.plan_hash, await self._catalog())
        return answer

    async def now(self) -> datetime:
        """Now, by the clock that the store was filled under."""
        return (await self._positions())[0]

    async def positions(self) -> dict[SourcePartition, Position]:
        """How far each source partition has been applied."""
        return (await self._positions())[1]

    async def catalog(self) -> dict[str, Any]:
        """What can be asked for: project, plan (its hash), services, and views with their keys, features and types."""
        return dict((await self._catalog()).data)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _catalog(self) -> Catalog:
        ask = self._exchange.catalog()
        return await self._ask(ask, lambda found: Catalog(self._exchange.json(ask, *found)))

    async def _positions(self) -> tuple[datetime, dict[SourcePartition, Position]]:
        ask = self._exchange.positions()
        return await self._ask(ask, lambda found: positions_from_json(self._exchange.json(ask, *found)))

    async def _ask(self, ask: Ask, read: Callable[[tuple[int, httpx2.Headers, bytes]], T]) -> T:
        """Send a request, again where that may help, and read its answer."""
        retries = Retries(self._exchange.settings)
        while True:
            try:
                return read(await self._send(ask, retries.deadline))
            except FailedRequest as failed:
                pause_s = retries.pause_after(failed)
            await asyncio.sleep(pause_s)

    async def _send(self, ask: Ask, deadline: float) -> tuple[int, httpx2.Headers, bytes]:
        """Send a request, and wait for its answer; once more where the server had closed a kept connection."""
        try:
            return await self._sent(ask, deadline)
        except _ClosedByServer:
            return await self._sent(ask, deadline)

    async def _sent(self, ask: Ask, deadline: float) -> tuple[int, httpx2.Headers, bytes]:
        address = self._exchange.address
        try:
            # httpx2 limits each wait for the server, not all of them together.
            async with asyncio.timeout(deadline - time.monotonic()):
                response = await self._client.request(
                    ask.method, address.url + ask.path, headers=ask.headers, content=ask.body
                )
        except (TimeoutError, httpx2.TimeoutException) as error:
            what = (
                "took no connection in time" if isinstance(error, httpx2.ConnectTimeout) else "did not answer in time"
            )
            raise timed_out(address, what) from error
        except httpx2.RemoteProtocolError as error:
            if "disconnected" in str(error).lower():
                raise _ClosedByServer(connection_failure(address, error)) from error
            if "closed connection" in str(error).lower():
                raise connection_failure(address, error) from error
            msg = f"What answers at {address.url} does not speak HTTP ({error})."
            raise FailedRequest(ServerError(msg, hint=NO_SERVER)) from error
        except (httpx2.ReadError, httpx2.WriteError) as error:
            raise _ClosedByServer(connection_failure(address, _reason(error))) from error
        except (httpx2.TransportError, OSError) as error:
            raise connection_failure(address, _reason(error)) from error
        return response.status_code, response.headers, response.content


class _ClosedByServer(FailedRequest):
    """The server had closed the connection when the request was sent."""

    def __init__(self, failed: FailedRequest) -> None:
        super().__init__(failed.error, may_pass=failed.may_pass)


def _reason(error: BaseException) -> BaseException:
    """The operating system's error that an error of httpx2 came from; the error itself if there is none."""
    reason, found = error, error.__cause__ or error.__context__
    while found is not None:
        if isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        if isinstance(found, OSError):
            reason = found
        found = found.__cause__ or found.__context__
    return reason
