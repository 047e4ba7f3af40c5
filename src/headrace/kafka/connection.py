"""Where Kafka is and how to connect to it: one object that every client is made from."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from headrace.config import KafkaSettings
from headrace.errors import ConfigError

__all__ = ["KafkaConnection"]

_SETTINGS = "[kafka] in headrace.toml, or the environment variables HEADRACE_KAFKA_…"


class KafkaConnection(KafkaSettings):
    """Where Kafka is and how to connect to it. As text it is its address; its secrets are never printed.

        KafkaConnection.of("localhost:9092")
        KafkaConnection(
            bootstrap="kafka:9093", security_protocol="SASL_SSL", sasl_mechanism="SCRAM-SHA-512",
            username="shop", password_file="/run/secrets/kafka",
        )

    Settings are checked when the object is made, so that one that has no effect is not believed to have one.

    Attributes:
        bootstrap: Servers to ask first, ``host:port[,host:port]``.

    Raises:
        ConfigError: An address is not ``host:port``, a setting is missing, or one has no effect.
    """

    bootstrap: str

    @classmethod
    def of(cls, where: str | KafkaConnection) -> KafkaConnection:
        """The connection to an address without encryption and sign-in; a connection is returned as it is."""
        return where if isinstance(where, KafkaConnection) else cls(bootstrap=where)

    def __str__(self) -> str:
        return self.bootstrap

    def model_post_init(self, context: object) -> None:
        """Check what pydantic cannot: settings that belong together."""
        self.servers  # noqa: B018 raises
        protocol = f'security_protocol is "{self.security_protocol}"'
        signs_in = {"sasl_mechanism": self.sasl_mechanism, "username": self.username}
        secrets = {"password": self.password or self.password_file}
        certificates = {"certificate_file": self.certificate_file, "key_file": self.key_file}
        if self.uses_sasl:
            _require(protocol, {**signs_in, **secrets})
        else:
            _refuse(protocol, "does not sign in", "SASL_SSL", {**signs_in, **secrets})
        if not self.uses_tls:
            _refuse(protocol, "does not encrypt", "SSL or SASL_SSL", {"ca_file": self.ca_file, **certificates})
        if self.key_file is not None:
            _require("key_file is set", {"certificate_file": self.certificate_file})

    @property
    def servers(self) -> list[tuple[str, int]]:
        """Host and port of each server."""
        servers = []
        for server in self.bootstrap.split(","):
            host, _, port = server.strip().rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 65536:
                hint = "Write `broker` in headrace.toml (or $HEADRACE_BROKER) as host:port[,host:port], or as embedded."
                msg = f"The broker address {self.bootstrap!r} is not host:port."
                raise ConfigError(msg, hint=hint)
            servers.append((host.strip("[]"), int(port)))
        return servers

    @property
    def uses_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.security_protocol.endswith("SSL")

    @property
    def uses_sasl(self) -> bool:
        """Whether headrace signs in with a user and a password."""
        return self.security_protocol.startswith("SASL")

    @property
    def secret_password(self) -> str | None:
        """The password, from the environment or its file."""
        return _secret("password", self.password, self.password_file)

    def kafka_python(self) -> dict[str, Any]:
        """The settings of a client of kafka-python."""
        return {
            "bootstrap_servers": self.bootstrap.split(","),
            "client_id": self.client_id,
            "security_protocol": str(self.security_protocol),
            "ssl_context": self.ssl_context(),
            "sasl_mechanism": self.sasl_mechanism and str(self.sasl_mechanism),
            "sasl_plain_username": self.username,
            "sasl_plain_password": self.secret_password,
        }

    def librdkafka(self) -> dict[str, Any]:
        """The settings of a client of librdkafka."""
        settings: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap,
            "client.id": self.client_id,
            "security.protocol": str(self.security_protocol),
        }
        if self.uses_sasl:
            settings |= {
                "sasl.mechanism": str(self.sasl_mechanism),
                "sasl.username": self.username,
                "sasl.password": self.secret_password,
            }
        if self.uses_tls:
            self.ssl_context()  # names the file that cannot be used
            key = self.key_file or self.certificate_file
            files = {"ca": self.ca_file, "certificate": self.certificate_file, "key": key}
            settings |= {f"ssl.{name}.location": str(path) for name, path in files.items() if path is not None}
            settings["ssl.endpoint.identification.algorithm"] = "https" if self.check_hostname else "none"
            if (key_password := self._key_password()) is not None:
                settings["ssl.key.password"] = key_password
        return settings

    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS settings as Python's own; None where the connection is not encrypted.

        Raises:
            ConfigError: A file cannot be read, or does not hold what it should.
        """
        if not self.uses_tls:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = self.check_hostname
        if self.ca_file is None:
            context.load_default_certs()
        else:
            with _usable("ca_file", self.ca_file, "it holds no certificates in PEM"):
                context.load_verify_locations(self.ca_file)
        if self.certificate_file is not None:
            key_password = self._key_password() or ""  # with none at all, OpenSSL would ask for one on the terminal
            what = "it and key_file hold no certificate and its private key in PEM, or key_password is wrong"
            with _usable("certificate_file", self.certificate_file, what):
                context.load_cert_chain(self.certificate_file, self.key_file, key_password)
        return context

    def _key_password(self) -> str | None:
        return _secret("key_password", self.key_password, self.key_password_file)


def _secret(name: str, secret: SecretStr | None, file: Path | None) -> str | None:
    if secret is not None:
        return secret.get_secret_value()
    if file is None:
        return None
    with _usable(f"{name}_file", file, "it is not text"):
        return file.read_text(encoding="utf-8").rstrip("\r\n")


@contextmanager
def _usable(setting: str, path: Path, what: str) -> Iterator[None]:
    """Name the setting whose file cannot be used."""
    try:
        yield
    except (OSError, UnicodeDecodeError) as error:
        why = what if isinstance(error, ssl.SSLError | UnicodeDecodeError) else error.strerror
        msg = f"Kafka's {setting} {path} cannot be used: {why}."
        raise ConfigError(msg, hint=f"Fix the file, or {_SETTINGS}.") from error


def _require(because: str, settings: dict[str, object]) -> None:
    missing = next((name for name, value in settings.items() if value is None), None)
    if missing is not None:
        hint = f"Set it in {_SETTINGS}."
        if missing == "password":
            hint = "Set $HEADRACE_KAFKA_PASSWORD, or `password_file` in [kafka] of headrace.toml."
        msg = f"Kafka's {because}, and {missing} is not set."
        raise ConfigError(msg, hint=hint)


def _refuse(because: str, what: str, instead: str, settings: dict[str, object]) -> None:
    found = next((name for name, value in settings.items() if value is not None), None)
    if found is not None:
        msg = f"Kafka's {because}, which {what}, and {found} is set."
        raise ConfigError(msg, hint=f"Set security_protocol to {instead}, or take {found} out of {_SETTINGS}.")
