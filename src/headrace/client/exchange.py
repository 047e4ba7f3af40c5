"""Requests to a server, and what its answers mean: the same for both clients, without any input or output."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from headrace import __version__
from headrace.client.catalog import Catalog
from headrace.client.failed_requests import FailedRequest, Headers, refused_answer
from headrace.client.http_settings import HttpSettings
from headrace.client.server_address import server_address
from headrace.errors import ConfigError, LookupRequestError, ServerError
from headrace.lookup.not_ready import answer_without_values
from headrace.lookup.request import AskedRows, EntityRows, asked_rows, time_us
from headrace.lookup.response import OnlineFeatures
from headrace.lookup.wire import ARROW_TYPE, JSON_TYPE, answer_from_arrow, answer_from_json
from headrace.lookup.wire_format import NO_SERVER
from headrace.lookup.wire_request import request_to_json
from headrace.plan import AskedFeatures
from headrace.plan.feature_references import FeatureServiceLike, asked_names

__all__ = ["Ask", "Exchange", "LookupCall", "Token"]

Token = str | Callable[[], str]
"""A token, or a function that returns one. It is called for each request: it should remember a valid one."""

_LOOKUP, _CATALOG, _POSITIONS = "/v1/lookup", "/v1/catalog", "/v1/positions"
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode

_CHECKED = 1_000
"""How many checks of service objects are remembered."""


@dataclass(frozen=True)
class Ask:
    """A request.

    Attributes:
        method: `GET` or `POST`.
        path: The path, after the URL's own.
        headers: The headers.
        body: The body.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class LookupCall:
    """A lookup that is asked of a server.

    Attributes:
        ask: The request.
        names: The names of the features, views and services.
        rows: Its rows.
        services: The services that were given as objects.
        at_us: The time to answer for; None is now.
    """

    ask: Ask
    names: tuple[str, ...]
    rows: EntityRows
    services: tuple[FeatureServiceLike, ...]
    at_us: int | None


class Exchange:
    """What a client sends to a server, and what it makes of the answers.

    Args:
        url: The server's URL.
        token: The token, if the server asks for one.
        settings: How to talk HTTP.

    Raises:
        ConfigError: The URL or the token cannot be used.
    """

    def __init__(self, url: str, token: Token | None, settings: HttpSettings) -> None:
        self.address = server_address(url)
        self.settings = settings
        self._token = token
        self._headers = {"User-Agent": f"headrace/{__version__}", **settings.headers}
        if isinstance(token, str):
            self._headers["Authorization"] = _bearer(token)
        self._checked: set[object] = set()

    def lookup(self, features: AskedFeatures, entity_rows: AskedRows, at: datetime | None) -> LookupCall:
        """A lookup's request.

        Raises:
            LookupRequestError: The rows have a shape or values that cannot be sent.
        """
        names, services = asked_names(features)
        rows = asked_rows(entity_rows)
        at_us = None if at is None else time_us(at)
        asked = features if isinstance(features, str) else list(names)
        try:
            body = _to_json(request_to_json(asked, rows, at_us)).encode()
        except (UnicodeEncodeError, TypeError) as error:
            msg = f"The request cannot be sent: {error}."
            raise LookupRequestError(msg, hint="Names and texts must be Unicode text.") from error
        accept = JSON_TYPE if len(rows) < self.settings.arrow_from else ARROW_TYPE
        headers = {**self._with_token(), "Accept": accept, "Content-Type": JSON_TYPE}
        return LookupCall(Ask("POST", _LOOKUP, headers, body), names, rows, tuple(services), at_us)

    def catalog(self) -> Ask:
        """The request of what can be asked for."""
        return self._get(_CATALOG)

    def positions(self) -> Ask:
        """The request of now, and of how far each source partition has been applied."""
        return self._get(_POSITIONS)

    def answer(self, call: LookupCall, status: int, headers: Headers, body: bytes) -> OnlineFeatures:
        """The answer to a lookup.

        Args:
            call: The lookup.
            status: The status code.
            headers: The headers.
            body: The body.

        Raises:
            FailedRequest: It is no answer.
        """
        kind = self._kind(call.ask, status, headers, body)
        try:
            if kind == ARROW_TYPE:
                return answer_from_arrow(body, call.rows)
            return answer_from_json(self._json(body), call.rows)
        except ServerError as error:
            raise FailedRequest(error) from error

    def not_ready(self, call: LookupCall, catalog: Catalog) -> OnlineFeatures:
        """The answer while the store is empty or being filled: every feature is null, and its status says why.

        Args:
            call: The lookup.
            catalog: What the server has.

        Raises:
            LookupRequestError: A name is unknown.
        """
        features = catalog.features(call.names)
        at_us = time.time_ns() // 1000 if call.at_us is None else call.at_us
        views = list(dict.fromkeys(view for view, _ in features))
        return answer_without_values(call.rows, catalog.dtypes(features), views, at_us, catalog.plan_hash, {})

    def json(self, ask: Ask, status: int, headers: Headers, body: bytes) -> Any:
        """The JSON of an answer.

        Args:
            ask: The request.
            status: The status code.
            headers: The headers.
            body: The body.

        Raises:
            FailedRequest: It is no answer.
        """
        self._kind(ask, status, headers, body)
        return self._json(body)

    def is_checked(self, services: Iterable[FeatureServiceLike], plan_hash: str) -> bool:
        """Whether service objects are known to have the features that they have under a plan.

        Args:
            services: The objects.
            plan_hash: The plan of an answer.
        """
        return (plan_hash, _contents(services)) in self._checked

    def check(self, services: Iterable[FeatureServiceLike], plan_hash: str, catalog: Catalog) -> None:
        """Refuse service objects that differ from those that were applied, and remember which do not.

        Args:
            services: The objects.
            plan_hash: The plan of an answer.
            catalog: What the server has.

        Raises:
            LookupRequestError: One has other features than when it was applied.
        """
        catalog.check_applied(services)
        if len(self._checked) >= _CHECKED:
            self._checked.clear()
        self._checked.add((plan_hash, _contents(services)))

    def _get(self, path: str) -> Ask:
        return Ask("GET", path, {**self._with_token(), "Accept": JSON_TYPE})

    def _with_token(self) -> dict[str, str]:
        if not callable(self._token):
            return self._headers
        return {**self._headers, "Authorization": _bearer(self._token())}

    def _kind(self, ask: Ask, status: int, headers: Headers, body: bytes) -> str:
        """The media type of an answer."""
        if status != 200:
            raise refused_answer(self.address, status, headers, body, ask.path)
        kind = str(headers.get("content-type") or "").partition(";")[0].strip().lower()
        if kind not in (JSON_TYPE, ARROW_TYPE):
            msg = f"What answers at {self.address.url} is no headrace server: it sends {kind or 'no media type'!r}."
            raise FailedRequest(ServerError(msg, hint=NO_SERVER))
        return kind

    def _json(self, body: bytes) -> Any:
        try:
            return json.loads(body)
        except ValueError as error:
            msg = f"The answer of {self.address.url} is no JSON: {error}."
            raise FailedRequest(ServerError(msg, hint=NO_SERVER)) from error


def _bearer(token: object) -> str:
    if not isinstance(token, str) or not _VISIBLE.fullmatch(token):
        msg = "The token has characters that no token has: it is empty, or it has spaces or line ends."
        raise ConfigError(msg, hint="Give it as `headrace token create` printed it, without the line end.")
    return f"Bearer {token}"


def _contents(services: Iterable[FeatureServiceLike]) -> tuple[object, ...]:
    return tuple(
        (
            service.name,
            tuple(
                (one.name, tuple(feature.name for feature in one.features)) for one in service.feature_view_projections
            ),
        )
        for service in services
    )
