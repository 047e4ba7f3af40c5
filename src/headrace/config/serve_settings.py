"""The table [serve]: the server, and who may ask it."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from headrace.config.table import Table

__all__ = ["OidcGrant", "OidcSettings", "Permission", "ServeSettings", "is_loopback", "is_safe_url"]

Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]  # only algorithms with a public key: with HS256, everybody who can check a token could make one


class Permission(StrEnum):
    """What a caller of the server may do.

    `read-online`: look features up as they are now. `read-history`: look them up at another time. `write`: push rows,
    and materialize. `admin`: read the server's metrics and status. None of them contains another.
    """

    READ_ONLINE = "read-online"
    READ_HISTORY = "read-history"
    WRITE = "write"
    ADMIN = "admin"


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach an address.

    >>> is_loopback("localhost"), is_loopback("127.0.0.2"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, True, False)

    Args:
        host: A host's name or address.
    """
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"  # any other name may lead anywhere


def is_safe_url(url: str) -> bool:
    """Whether nobody on the way can change what an address gives: HTTPS, or HTTP on this machine.

    Args:
        url: The address.
    """
    parts = urlsplit(url)
    is_here = parts.scheme == "http" and is_loopback(parts.hostname or "")
    return bool(parts.hostname) and (parts.scheme == "https" or is_here)


def _checked_url(url: str) -> str:
    if not is_safe_url(url):
        kind, message = "url", "it must begin with https:// (http:// only on this machine)"
        raise PydanticCustomError(kind, message)
    return url


Url = Annotated[str, AfterValidator(_checked_url)]
Name = Annotated[str, Field(min_length=1)]


class OidcGrant(Table):
    """One entry of [[serve.oidc.grants]]: what callers may do whose token has a claim with a value.

    Attributes:
        claim: The claim; dots lead into objects, as in `realm_access.roles`.
        value: The value that it has, or that is in its list; of a text of words (`scope`), one word.
        may: What they may do.
        services: For which feature services; `*` is all.
        views: For which views; `*` is all.
    """

    claim: Name
    value: Name
    may: Annotated[tuple[Permission, ...], Field(min_length=1)]
    services: tuple[Name, ...] = ()
    views: tuple[Name, ...] = ()


class OidcSettings(Table):
    """The table [serve.oidc]: callers who sign in at an issuer of OpenID Connect.

    Attributes:
        issuer: The issuer's address, exactly as tokens have it in `iss`.
        audience: What tokens must have in `aud`: who they are meant for.
        jwks_url: Where the issuer's keys are; None asks the issuer (`/.well-known/openid-configuration`).
        algorithms: The signatures that are accepted.
        leeway: By how many seconds the clocks of issuer and server may differ.
        keys_for: For how many seconds the issuer's keys are kept. Keys that are new are fetched at once.
        name_claim: The claim that names the caller in the access log.
        grants: What callers may do; what no entry grants is denied.
    """

    issuer: Url
    audience: Name
    jwks_url: Url | None = None
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = ("RS256", "ES256")
    leeway: Annotated[float, Field(ge=0, le=300)] = 30.0
    keys_for: Annotated[float, Field(ge=1, le=86_400)] = 300.0
    name_claim: Name = "sub"
    grants: Annotated[tuple[OidcGrant, ...], Field(min_length=1)]


class ServeSettings(Table):
    """The table [serve].

    Attributes:
        access_log: Where the access log goes: a file, `-` (standard output) or `none`; None is standard output if
            callers must sign in, and none otherwise.
        oidc: Callers who sign in at an issuer of OpenID Connect; None where there are none.
    """

    access_log: Path | None = None
    oidc: OidcSettings | None = None
