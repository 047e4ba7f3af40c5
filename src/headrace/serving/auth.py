"""Signing in: every request gets its caller, and is answered 401 where nobody knows who asks."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from headrace.config import Project
from headrace.errors import AuthUnavailableError, HeadraceError, NotAuthenticatedError
from headrace.serving.access_log import AccessLog
from headrace.serving.identity import Caller
from headrace.serving.oidc import OidcCallers
from headrace.serving.tokens import PREFIX, KnownTokens, Tokens
from headrace.times import iso_time

if TYPE_CHECKING:
    from starlette.responses import Response

__all__ = ["AuthMiddleware", "Authenticator", "authenticator_of"]

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_LONGEST = 16_384
"""The most bytes of a token."""

_SEND = "Send a token: `Authorization: Bearer TOKEN`."


class Authenticator:
    """Knows callers by what they send.

    Args:
        tokens: The project's tokens.
        oidc: Callers of an issuer of OpenID Connect; None where there is none.
        now_us: The time, in µs.
        until_first_token: Whether everybody may ask until the first token is made. From then on callers must sign in.
    """

    def __init__(
        self,
        tokens: KnownTokens,
        oidc: OidcCallers | None,
        now_us: Callable[[], int],
        *,
        until_first_token: bool = False,
    ) -> None:
        self._serves_anyone = until_first_token
        self._anyone = Caller.anyone()
        self._tokens = tokens
        self._oidc = oidc
        self._now_us = now_us

    def serves_anyone(self) -> bool:
        """Whether nobody has to sign in yet.

        Raises:
            AuthUnavailableError: The tokens cannot be read now.
        """
        if self._serves_anyone and self._tokens.are_any():
            logger.warning("A token was made: from now on callers must sign in.")
            self._serves_anyone = False
        return self._serves_anyone

    async def caller(self, scope: Scope) -> Caller:
        """Who sends a request.

        Args:
            scope: The request's scope (ASGI).

        Raises:
            NotAuthenticatedError: There is no token, or one that is not valid.
            AuthUnavailableError: The tokens, or the issuer's keys, cannot be read now.
        """
        if self.serves_anyone():
            return self._anyone
        secret = _bearer(scope)
        if self._oidc is not None and not secret.startswith(PREFIX):
            return await self._oidc.find(secret)
        now_us = self._now_us()
        found = self._tokens.find(secret, now_us)
        if found is None:
            msg = "The token is not valid: nobody made it."
            raise NotAuthenticatedError(msg, hint="`headrace token create` makes one; check that all of it was sent.")
        token, caller = found
        status = token.status(now_us)
        if status != "valid":
            was_revoked = status == "revoked"
            ended = iso_time(token.revoked_us if was_revoked else token.expires_us)
            msg = f"The token is not valid: it {'was revoked' if was_revoked else 'expired'} at {ended}."
            raise NotAuthenticatedError(msg, hint="`headrace token create` makes a new one.")
        return caller


def authenticator_of(project: Project) -> Authenticator:
    """What knows a project's callers.

    Callers must sign in as soon as a token was made or `[serve.oidc]` names an issuer. That holds on loopback too: what
    comes from there may come from a proxy.

    Args:
        project: The project.

    Raises:
        ConfigError: The tokens are damaged.
        AuthUnavailableError: They cannot be read now.
    """
    tokens, oidc = Tokens(project.serve_state), project.serve.oidc
    is_open = oidc is None and not tokens.read()
    known = KnownTokens(tokens, time.monotonic)
    callers = None if oidc is None else OidcCallers(oidc)
    return Authenticator(known, callers, lambda: time.time_ns() // 1000, until_first_token=is_open)


class AuthMiddleware:
    """Finds out who asks before anything else happens, and writes the access log afterwards.

    Routes find the caller in `request.state.caller`. What they put into the dict `request.state.access` is logged:
    `rows`, how many rows they answered, and `asked`, the names of services and features.

    Args:
        app: The application.
        authenticator: Knows the callers; None lets everybody ask.
        answer: Makes the answer of an error.
        access_log: Where requests are logged; None logs nothing.
        open_paths: What everybody may ask for, and what is not logged: health checks.
    """

    def __init__(
        self,
        app: App,
        authenticator: Authenticator | None,
        *,
        answer: Callable[[HeadraceError], Response],
        access_log: AccessLog | None = None,
        open_paths: Collection[str] = ("/health", "/ready"),
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._answer = answer
        self._access_log = access_log
        self._open_paths = frozenset(open_paths)
        self._anyone = Caller.anyone()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["access"] = {}
        if scope["path"] in self._open_paths:
            state["caller"] = self._not_signed_in()
            await self._app(scope, receive, send)
        elif self._access_log is None:
            await self._signed_in(scope, receive, send)
        else:
            await self._logged(self._access_log, scope, receive, send)

    def _not_signed_in(self) -> Caller:
        """The caller of an open path."""
        with suppress(AuthUnavailableError):
            if self._authenticator is None or self._authenticator.serves_anyone():
                return self._anyone
        return Caller("nobody")

    async def _signed_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope["state"]
        if self._authenticator is None:
            state["caller"] = self._anyone
        else:
            try:
                state["caller"] = await self._authenticator.caller(scope)
            except HeadraceError as error:
                state["access"]["refused"] = type(error).__name__
                answer = self._answer(error)
                if isinstance(error, NotAuthenticatedError):
                    answer.headers["www-authenticate"] = "Bearer"
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _logged(self, log: AccessLog, scope: Scope, receive: Receive, send: Send) -> None:
        begun_us, begun = time.time_ns() // 1000, time.perf_counter()
        status: int | None = None

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._signed_in(scope, receive, noting)
        except Exception:
            status = status or 500  # what answers is around this
            raise
        finally:
            state = scope["state"]
            caller: Caller | None = state.get("caller")
            # The path of no route may be anything, also a token.
            is_route = scope.get("endpoint") is not None
            log.write(
                {
                    "time": iso_time(begun_us),
                    "caller": None if caller is None else caller.name,
                    "from": scope["client"][0] if scope.get("client") else None,
                    "method": scope["method"],
                    "path": scope["path"] if is_route else None,
                    "status": status,
                    "duration_ms": round((time.perf_counter() - begun) * 1000, 3),
                    **state["access"],
                }
            )


def _bearer(scope: Scope) -> str:
    """The token that a request has."""
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    if not found:
        msg = "The request has no token."
        raise NotAuthenticatedError(msg, hint=_SEND)
    header: str = found[0].decode("latin-1").strip()
    scheme, _, rest = header.partition(" ")
    secret = rest.strip()
    if len(found) > 1 or scheme.lower() != "bearer" or not secret or len(secret) > _LONGEST or " " in secret:
        msg = "The header Authorization cannot be read."
        raise NotAuthenticatedError(msg, hint=_SEND)
    return secret
