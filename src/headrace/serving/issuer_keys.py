"""The keys of an OpenID Connect issuer: fetched over HTTP, kept for a while, and again when a new one appears."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import Any, NamedTuple

from headrace.config import OidcSettings
from headrace.config.serve_settings import is_safe_url
from headrace.errors import AuthUnavailableError
from headrace.extras import needing

with needing("serve"):
    import jwt

__all__ = ["IssuerKeys"]

logger = logging.getLogger(__name__)

_TIMEOUT_S = 5.0
_AGAIN_S = 5.0
"""How long to wait between two fetches, so that tokens with invented key ids cannot make the server always ask."""

_MOST_BYTES = 1_000_000

_KINDS = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
"""By the first letters of an algorithm, the kind of key that it needs."""


class _Key(NamedTuple):
    """A public key.

    Attributes:
        key_id: Its id.
        kind: Its kind, such as RSA.
        algorithm: The only algorithm that it is for; None is any of its kind.
        key: The key.
    """

    key_id: str | None
    kind: str
    algorithm: str | None
    key: Any

    def signs(self, algorithm: str) -> bool:
        """Whether it is for signatures of an algorithm."""
        return self.kind == _KINDS[algorithm[:2]] and self.algorithm in (None, algorithm)


class IssuerKeys:
    """An issuer's keys.

    Args:
        settings: The issuer.
        monotonic_s: A clock that never goes back, in seconds.

    Attributes:
        fetched: How often keys have been fetched: what was decided by older keys must be decided again.
    """

    def __init__(self, settings: OidcSettings, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._monotonic_s = monotonic_s
        self._keys: list[_Key] = []
        self._fetched_at = self._tried_at = float("-inf")
        self._fetching = asyncio.Lock()
        self._in_background: asyncio.Task[None] | None = None
        self.fetched = 0

    async def find(self, key_id: str | None, algorithm: str) -> Any:
        """The public key that checks a signature.

        Args:
            key_id: The key's id (`kid`); None if the token names none: then the issuer's only key of the kind.
            algorithm: The signature's algorithm.

        Returns:
            The key, for `jwt.decode`; None if the issuer has no such key.

        Raises:
            AuthUnavailableError: The keys cannot be fetched.
        """
        await self.refresh()
        found = self._found(key_id, algorithm)
        if found is None and self._may_try():
            await self._fetch()
            found = self._found(key_id, algorithm)
        return found

    async def refresh(self) -> None:
        """Fetch the keys again if they are old; requests wait for it only if those known are too old to be used.

        Raises:
            AuthUnavailableError: There are no keys that can be used.
        """
        if self._age_s() < self._settings.keys_for:
            return
        if self._age_s() < 2 * self._settings.keys_for:
            if self._may_try() and (self._in_background is None or self._in_background.done()):
                self._in_background = asyncio.create_task(self._fetch())
            return
        if self._may_try():
            await self._fetch()
        if self._age_s() >= 2 * self._settings.keys_for:
            msg = f"The keys of the issuer {self._settings.issuer} cannot be fetched."
            raise AuthUnavailableError(msg, hint="The server's log says why. Try again.")

    def _age_s(self) -> float:
        return self._monotonic_s() - self._fetched_at

    def _may_try(self) -> bool:
        return self._monotonic_s() - self._tried_at >= _AGAIN_S

    def _found(self, key_id: str | None, algorithm: str) -> Any:
        fitting = [one for one in self._keys if one.signs(algorithm) and key_id in (None, one.key_id)]
        return fitting[0].key if fitting and (key_id is not None or len(fitting) == 1) else None

    async def _fetch(self) -> None:
        begun = self._tried_at
        async with self._fetching:
            if self._tried_at != begun:
                return  # another request has just fetched them
            try:
                self._keys = await asyncio.to_thread(self._fetched_keys)
            except (OSError, HTTPException, ValueError, jwt.PyJWTError) as error:
                logger.warning("The keys of the issuer %s cannot be fetched: %s", self._settings.issuer, error)
                return
            finally:
                self._tried_at = self._monotonic_s()
            self._fetched_at = self._monotonic_s()
            self.fetched += 1

    def _fetched_keys(self) -> list[_Key]:
        keys = _json(self._settings.jwks_url or self._discovered()).get("keys")
        if not isinstance(keys, list):
            msg = "it gives no list of keys"
            raise ValueError(msg)
        found = [key for key in map(_key, keys) if key is not None]
        if not found:
            msg = "it gives no key that can be read"
            raise ValueError(msg)
        return found

    def _discovered(self) -> str:
        """Where the issuer says that its keys are."""
        issuer = self._settings.issuer
        said = _json(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        url = said.get("jwks_uri")
        if said.get("issuer") != issuer:
            msg = f"it calls itself {said.get('issuer')!r}, and [serve.oidc] names {issuer!r}"
            raise ValueError(msg)
        if not isinstance(url, str) or not is_safe_url(url):
            msg = f"its jwks_uri is {url!r}"
            raise ValueError(msg)
        return url


def _key(given: Any) -> _Key | None:
    """A key that signs; None of others. An issuer may have keys of kinds that nobody knows yet."""
    try:
        key = jwt.PyJWK.from_dict(given)
    except (jwt.PyJWTError, TypeError, AttributeError) as error:
        logger.info("A key of the issuer is left out: %s", error)
        return None
    kind, use = key.key_type, key.public_key_use
    if kind is None or kind not in _KINDS.values() or use not in (None, "sig"):
        return None
    return _Key(key.key_id, kind, given.get("alg"), key.key)


def _json(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310 the settings refuse anything but HTTP(S)
        body = answer.read(_MOST_BYTES + 1)
    found = json.loads(body) if len(body) <= _MOST_BYTES else None
    if not isinstance(found, dict):
        msg = f"{url} gives no JSON object"
        raise ValueError(msg)
    return found
