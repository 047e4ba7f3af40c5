"""What a server is started with; its worker processes get the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from headrace.serving.limits import Limits

__all__ = ["ServerSettings"]


@dataclass(frozen=True)
class ServerSettings:
    """The settings of a server.

    Attributes:
        project: The project's folder.
        host: The address to listen on.
        port: The port; 0 takes a free one.
        workers: How many processes answer requests.
        certificate_file: The certificate (PEM) for TLS, with those that signed it; None serves without TLS.
        key_file: Its private key (PEM); None is where the certificate is.
        signs_in: Whether callers had to sign in when the server started. A worker then does not start without that.
        insecure: Serve everybody without signing in, also on addresses that other machines reach.
        limits: What requests may ask for.
    """

    project: Path
    host: str = "127.0.0.1"
    port: int = 6566
    workers: int = 1
    certificate_file: Path | None = None
    key_file: Path | None = None
    signs_in: bool = False
    insecure: bool = False
    limits: Limits = field(default_factory=Limits)
