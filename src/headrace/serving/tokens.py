"""Bearer tokens: made once, kept as hashes in the project's state, and seen by running servers within a second.

A token is `hr_ID_SECRET`. Its id finds the entry; its secret is 32 random bytes. What is stored is the SHA-256 of the
whole token: nobody can guess 256 random bits, so a slow hash, which protects guessable passwords, would only slow the
server down.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from headrace.errors import AuthUnavailableError, ConfigError, HeadraceError
from headrace.serving.identity import ALL, Caller, Grant, Permission
from headrace.state import Note, State

__all__ = ["PREFIX", "KnownTokens", "Token", "Tokens"]

logger = logging.getLogger(__name__)

PREFIX = "hr_"
_FILE = "tokens.json"
_NOBODY = hashlib.sha256(b"no token has this hash").hexdigest()


@dataclass(frozen=True)
class Token:
    """What is stored of a token.

    Attributes:
        id: The part of the token that finds it.
        name: Who it was made for; only one valid token has a name.
        hashed: The SHA-256 of the whole token, in hex.
        grant: What its owner may do.
        created_us: When it was made, in µs.
        expires_us: From when on it is not valid any more, in µs; None is never.
        revoked_us: When it was revoked, in µs; None where it was not.
    """

    id: str
    name: str
    hashed: str
    grant: Grant
    created_us: int
    expires_us: int | None = None
    revoked_us: int | None = None

    def status(self, now_us: int) -> str:
        """`valid`, `expired` or `revoked`.

        Args:
            now_us: The time, in µs.
        """
        if self.revoked_us is not None:
            return "revoked"
        return "expired" if self.expires_us is not None and now_us >= self.expires_us else "valid"

    def caller(self) -> Caller:
        """Its owner."""
        return Caller(self.name, (self.grant,))


class Tokens:
    """The tokens of a project.

    Args:
        state: Where they are kept (`Project.serve_state`).
    """

    def __init__(self, state: State) -> None:
        self.file = state.file(_FILE)
        self._note: Note[dict[str, Token]] = Note(
            self.file, dict, _parsed, _rendered, damaged=self._damaged, unavailable=self._unavailable
        )

    def read(self) -> dict[str, Token]:
        """All tokens by id, in the order in which they were made.

        Raises:
            ConfigError: They are damaged.
            AuthUnavailableError: The state cannot be read now.
        """
        return self._note.read()

    def create(self, name: str, grant: Grant, now_us: int, lifetime: timedelta | None = None) -> tuple[Token, str]:
        """Make a token.

        Args:
            name: Who it is for.
            grant: What its owner may do.
            now_us: The time, in µs.
            lifetime: How long it is valid; None is until it is revoked.

        Returns:
            What is stored, and the token itself. This is the only time that it can be seen.

        Raises:
            ConfigError: The name is taken or empty; the grant or the lifetime grants nothing; the tokens are damaged.
            AuthUnavailableError: The state cannot be written now.
        """
        _check(name, grant, lifetime)
        token_id = secrets.token_hex(6)
        secret = f"{PREFIX}{token_id}_{secrets.token_urlsafe(32)}"
        expires_us = None if lifetime is None else now_us + lifetime // timedelta(microseconds=1)
        token = Token(token_id, name, _hashed(secret), grant, now_us, expires_us)

        def add(tokens: dict[str, Token]) -> dict[str, Token]:
            if any(one.name == name and one.status(now_us) == "valid" for one in tokens.values()):
                msg = f"There is a valid token named {name!r} already."
                raise ConfigError(msg, hint=f"Give another name, or `headrace token revoke {name}` first.")
            return {**tokens, token.id: token}

        self._note.update(add)
        return token, secret

    def revoke(self, name: str, now_us: int) -> list[Token]:
        """Revoke tokens: running servers refuse them within a second.

        Args:
            name: The token's name, or its id.
            now_us: The time, in µs.

        Returns:
            The tokens that were revoked now; none if they all were revoked before.

        Raises:
            ConfigError: There is no such token, or the tokens are damaged.
            AuthUnavailableError: The state cannot be written now.
        """
        revoked: list[Token] = []

        def end(tokens: dict[str, Token]) -> dict[str, Token]:
            meant = [one for one in tokens.values() if name in (one.name, one.id)]
            if not meant:
                names = ", ".join(dict.fromkeys(one.name for one in tokens.values())) or "none"
                msg = f"There is no token named {name!r}."
                raise ConfigError(msg, hint=f"Tokens: {names}.")
            revoked[:] = [replace(one, revoked_us=now_us) for one in meant if one.revoked_us is None]
            return {**tokens, **{one.id: one for one in revoked}}

        self._note.update(end)
        return revoked

    def _damaged(self, error: Exception) -> HeadraceError:
        msg = f"The tokens in {self.file} cannot be read: {str(error).splitlines()[0]}."
        return ConfigError(msg, hint="Restore the file from a copy, or delete it and make new tokens.")

    def _unavailable(self, error: OSError) -> HeadraceError:
        msg = f"The tokens in {self.file} cannot be reached: {error}."
        return AuthUnavailableError(msg, hint="Make the state folder readable and writable, and try again.")


class KnownTokens:
    """The tokens as a running server knows them; what was made or revoked is seen within a second.

    Args:
        tokens: The tokens.
        monotonic_s: A clock that never goes back, in seconds.
        every_s: How old what is known may be.
        grace_s: For how long a state that cannot be read is bridged.
    """

    def __init__(
        self, tokens: Tokens, monotonic_s: Callable[[], float], *, every_s: float = 1.0, grace_s: float = 10.0
    ) -> None:
        self._tokens = tokens
        self._monotonic_s = monotonic_s
        self._every_s, self._grace_s = every_s, grace_s
        self._read_at = self._seen_at = float("-inf")
        self._version: str | None = ""
        self._logged: str | None = None
        self._known: dict[str, tuple[Token, Caller]] = {}

    def find(self, secret: str, now_us: int) -> tuple[Token, Caller] | None:
        """The token, whatever its status; None of a text that is none of the tokens.

        Args:
            secret: The token as the caller sent it.
            now_us: The time, in µs.

        Raises:
            AuthUnavailableError: The tokens could not be read for so long that a revocation may be missed. It does not
                say why, because anybody may see it; the log does.
        """
        self._refresh()
        found = self._known.get(secret.removeprefix(PREFIX).partition("_")[0])
        stored = _NOBODY if found is None else found[0].hashed
        is_equal = hmac.compare_digest(_hashed(secret), stored)
        return found if is_equal else None

    def are_any(self) -> bool:
        """Whether a token was ever made, whatever its status.

        Raises:
            AuthUnavailableError: The tokens could not be read for too long.
        """
        self._refresh()
        return bool(self._known)

    def _refresh(self) -> None:
        now_s = self._monotonic_s()
        if now_s - self._read_at < self._every_s:
            return
        try:
            version = self._tokens.file.version()
            if version != self._version:
                known = self._tokens.read()
                self._known = {one.id: (one, one.caller()) for one in known.values()}
                self._version = version
        except (OSError, ConfigError, AuthUnavailableError) as error:
            self._log(error)
            if now_s - self._seen_at > self._grace_s:
                msg = "The server cannot read its tokens now."
                raise AuthUnavailableError(msg, hint="Try again; the server's log has the reason.") from None
            self._read_at = now_s
            return
        self._read_at = self._seen_at = now_s
        self._logged = None

    def _log(self, error: Exception) -> None:
        """Log a reason once, however many requests meet it."""
        reason = " ".join(str(error).split())
        if reason != self._logged:
            logger.error("The server cannot read its tokens: %s", reason)
            self._logged = reason


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _check(name: str, grant: Grant, lifetime: timedelta | None) -> None:
    if not name or not name.isprintable() or len(name) > 100:
        msg = f"A token cannot be named {name!r}."
        raise ConfigError(msg, hint="Give it the name of the service or person that uses it.")
    if lifetime is not None and lifetime <= timedelta(0):
        msg = "A token must be valid for some time."
        raise ConfigError(msg, hint="Write --expires 30d, or leave it out.")
    if not grant.may:
        msg = f"The token {name!r} would permit nothing."
        raise ConfigError(msg, hint=f"Give --may with one or more of {', '.join(Permission)}.")
    if grant.may - {Permission.ADMIN} and not grant.services | grant.views:
        msg = f"The token {name!r} would permit {', '.join(sorted(grant.may))} of nothing."
        raise ConfigError(msg, hint=f"Name services (--service) or views (--view); '{ALL}' is all of them.")
    if Permission.WRITE in grant.may and not grant.views:
        msg = f"The token {name!r} would permit writing, and names no view: rows are written to views."
        raise ConfigError(msg, hint=f"Name the views with --view; '{ALL}' is all of them.")


def _parsed(stored: Any) -> dict[str, Token]:
    tokens = [_token(one) for one in stored["tokens"]]
    return {one.id: one for one in tokens}


def _token(stored: Mapping[str, Any]) -> Token:
    return Token(
        id=stored["id"],
        name=stored["name"],
        hashed=stored["sha256"],
        grant=Grant(
            frozenset(Permission(one) for one in stored["may"]),
            frozenset(stored["services"]),
            frozenset(stored["views"]),
        ),
        created_us=int(stored["created_us"]),
        expires_us=None if stored["expires_us"] is None else int(stored["expires_us"]),
        revoked_us=None if stored["revoked_us"] is None else int(stored["revoked_us"]),
    )


def _rendered(tokens: Mapping[str, Token]) -> dict[str, Any]:
    return {"format": 1, "tokens": [_stored(one) for one in tokens.values()]}


def _stored(token: Token) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "sha256": token.hashed,
        "may": _sorted(token.grant.may),
        "services": _sorted(token.grant.services),
        "views": _sorted(token.grant.views),
        "created_us": token.created_us,
        "expires_us": token.expires_us,
        "revoked_us": token.revoked_us,
    }


def _sorted(names: Iterable[str]) -> list[str]:
    return sorted(map(str, names))
