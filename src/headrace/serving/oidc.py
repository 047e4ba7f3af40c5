"""Callers who sign in at an issuer of OpenID Connect: their token is a JWT that the issuer has signed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from headrace.config import OidcSettings
from headrace.errors import NotAuthenticatedError
from headrace.extras import needing
from headrace.serving.identity import Caller, Grant
from headrace.serving.issuer_keys import IssuerKeys

with needing("serve"):
    import jwt

__all__ = ["OidcCallers", "grants_of"]

_REMEMBERED = 10_000
"""How many tokens are remembered, so that a signature is checked once and not with every request."""

_WHY = (
    (jwt.ExpiredSignatureError, "it has expired"),
    (jwt.InvalidAudienceError, "it is meant for another audience"),
    (jwt.InvalidIssuerError, "another issuer made it"),
    (jwt.ImmatureSignatureError, "it is not valid yet: the clocks of issuer and server may differ"),
    (jwt.MissingRequiredClaimError, "it lacks a claim: iss, aud and exp are needed"),
    (jwt.InvalidSignatureError, "its signature is wrong"),
)


class OidcCallers:
    """Knows callers by the tokens of an issuer.

    Args:
        settings: The issuer, and what its callers may do.
        keys: Its keys.
    """

    def __init__(self, settings: OidcSettings, keys: IssuerKeys | None = None) -> None:
        self._settings = settings
        self._keys = keys or IssuerKeys(settings)
        self._known: dict[str, tuple[Caller, float]] = {}
        self._known_by = -1

    async def find(self, token: str) -> Caller:
        """Who a token was made for.

        Args:
            token: The token.

        Returns:
            The caller, with what their claims grant.

        Raises:
            NotAuthenticatedError: The token is not valid.
            AuthUnavailableError: The issuer's keys cannot be fetched.
        """
        await self._keys.refresh()
        if self._known_by != self._keys.fetched or len(self._known) >= _REMEMBERED:
            self._known.clear()  # a key may have been withdrawn
            self._known_by = self._keys.fetched
        known = self._known.get(token)
        if known is not None and time.time() < known[1]:
            return known[0]
        claims = await self._claims(token)
        caller = Caller(_name(claims, self._settings.name_claim), grants_of(self._settings, claims))
        self._known[token] = (caller, float(claims["exp"]) + self._settings.leeway)
        return caller

    async def _claims(self, token: str) -> dict[str, Any]:
        """What the issuer says of the caller."""
        settings = self._settings
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError as error:
            why = "it is neither a token of `headrace token create` nor a JWT"
            raise _not_valid(why) from error
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in settings.algorithms:
            why = f"it is signed by {algorithm!r}; accepted are {', '.join(settings.algorithms)}"
            raise _not_valid(why)
        key = await self._keys.find(key_id if isinstance(key_id, str) else None, algorithm)
        if key is None:
            why = "the issuer has no such key"
            raise _not_valid(why)
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=settings.leeway,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.InvalidTokenError as error:
            raise _not_valid(next((why for kind, why in _WHY if isinstance(error, kind)), "it is damaged")) from error
        return claims


def grants_of(settings: OidcSettings, claims: Mapping[str, Any]) -> tuple[Grant, ...]:
    """What claims grant; nothing else is granted.

    Args:
        settings: The issuer, with `[[serve.oidc.grants]]`.
        claims: What the issuer says of the caller.
    """
    return tuple(
        Grant(frozenset(one.may), frozenset(one.services), frozenset(one.views))
        for one in settings.grants
        if one.value in _values(claims, one.claim)
    )


def _values(claims: Mapping[str, Any], path: str) -> list[str]:
    """The values of a claim: of a list its items, of a text the text and its words."""
    found: Any = claims.get(path)  # a claim's name may be a URL, with dots
    if found is None:
        found = claims
        for name in path.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        return [found, *found.split()]
    if isinstance(found, list):
        return [one for one in found if isinstance(one, str)]
    return [str(found).lower()] if isinstance(found, bool) else []


def _name(claims: Mapping[str, Any], claim: str) -> str:
    named = claims.get(claim, claims.get("sub"))
    return named if isinstance(named, str) else "unnamed"


def _not_valid(why: str) -> NotAuthenticatedError:
    msg = f"The token is not valid: {why}."
    return NotAuthenticatedError(
        msg, hint="Get a new token from the issuer, and send it as `Authorization: Bearer TOKEN`."
    )
