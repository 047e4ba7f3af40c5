"""Whether a server may start: on another address than loopback, callers must sign in."""

from __future__ import annotations

from headrace.config import Project
from headrace.config.serve_settings import is_loopback
from headrace.errors import ConfigError
from headrace.serving.tokens import Tokens

__all__ = ["check_exposure", "check_still_signs_in", "has_authentication"]


def has_authentication(project: Project) -> bool:
    """Whether callers must sign in: a token was made, or `[serve.oidc]` names an issuer.

    Args:
        project: The project.

    Raises:
        ConfigError: The tokens cannot be read.
    """
    return project.serve.oidc is not None or bool(Tokens(project.serve_state).read())


def check_exposure(host: str, *, has_authentication: bool, insecure: bool) -> None:
    """Refuse to serve everybody who reaches the address.

    Args:
        host: The address that the server is to listen on.
        has_authentication: Whether callers must sign in.
        insecure: Whether a person said that everybody may ask (`--insecure`).

    Raises:
        ConfigError: The server must not start.
    """
    if is_loopback(host) or has_authentication or insecure:
        return
    msg = f"Everybody who reaches the address {host} could read all features and write rows: nobody has to sign in."
    hint = (
        "Make a token (`headrace token create NAME --may read-online --service SERVICE`) or set [serve.oidc] in "
        "headrace.toml; or listen on 127.0.0.1; or give --insecure, if something before the server lets only the "
        "right callers through."
    )
    raise ConfigError(msg, hint=hint)


def check_still_signs_in(*, did: bool, does: bool) -> None:
    """Refuse a worker that would serve everybody where the server began with callers that sign in.

    Args:
        did: Whether callers had to sign in when the server started.
        does: Whether they have to now.

    Raises:
        ConfigError: The worker must not start.
    """
    if does or not did:
        return
    msg = "Callers had to sign in when the server started, and now there is no token and no [serve.oidc]."
    hint = "Restore serve/tokens.json or make a token; or stop the server, and start it again to serve everybody."
    raise ConfigError(msg, hint=hint)
