"""An issuer of OpenID Connect on loopback: discovery, keys and tokens."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

__all__ = ["OidcIssuer", "SigningKey"]


class SigningKey:
    """A key pair, with the algorithm that it signs by.

    Args:
        key_id: Its id.
        algorithm: RS256 or ES256.
    """

    def __init__(self, key_id: str, algorithm: str = "RS256") -> None:
        self.key_id, self.algorithm = key_id, algorithm
        self.private: Any
        if algorithm == "ES256":
            self.private = ec.generate_private_key(ec.SECP256R1())
            self.jwk: dict[str, Any] = ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        else:
            self.private = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
            self.jwk = RSAAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        self.jwk |= {"kid": key_id, "use": "sig"}

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        """A token with these claims."""
        return jwt.encode(claims, self.private, self.algorithm, headers={"kid": self.key_id, **header})


class OidcIssuer:
    """The issuer; use it as a context.

    Attributes:
        keys: The keys that it publishes, which may be changed.
        asked: How often its keys were asked for.
        is_away: Whether it answers 503.
    """

    def __init__(self, *keys: SigningKey) -> None:
        self.keys = list(keys)
        self.asked = 0
        self.is_away = False
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        """The issuer's address, as tokens have it in `iss`."""
        return f"http://127.0.0.1:{self._server.server_port}/tenant"

    def claims(self, **more: Any) -> dict[str, Any]:
        """The claims of a valid token; None leaves one out."""
        now = int(time.time())
        usual = {"iss": self.url, "aud": "features", "sub": "kim", "iat": now, "exp": now + 600}
        return {name: value for name, value in (usual | more).items() if value is not None}

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer a request."""
        found: dict[str, Any] | None = None
        if request.path == "/tenant/.well-known/openid-configuration":
            found = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        elif request.path == "/tenant/keys":
            self.asked += 1
            found = {"keys": [key.jwk for key in self.keys]}
        status = 503 if self.is_away else 404 if found is None else 200
        body = json.dumps(found or {}).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
