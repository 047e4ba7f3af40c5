"""An Apache Kafka whose listeners ask for TLS and for a sign-in, with certificates of the tests' own."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from headrace.kafka import KafkaConnection
from tests.servers.kafka import ApacheKafka

__all__ = ["CLIENT_ID", "PASSWORD", "USER", "Certificates", "SecuredKafka"]

USER, PASSWORD, KEY_PASSWORD = "alice", "it is secret", "the key is locked"
CLIENT_ID = "the-shop"
_MODULES = "org.apache.kafka.common.security"
_MECHANISMS = {
    "PLAIN": f'{_MODULES}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";',
    "SCRAM-SHA-256": f"{_MODULES}.scram.ScramLoginModule required;",
    "SCRAM-SHA-512": f"{_MODULES}.scram.ScramLoginModule required;",
}


class Certificates:
    """Certificates and keys in PEM, made by openssl: `NAME.pem` and `NAME.key`.

    `ca` signs `server` (for 127.0.0.1), `misnamed` (for another host) and `client`, whose key is encrypted in
    `locked.key` as well; `other` signs `stranger`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for authority in ("ca", "other"):
            self._run("req", "-x509", *self._new(authority), "-days", "30", "-subj", f"/CN={authority}")
        self._sign("server", "ca", "subjectAltName=IP:127.0.0.1")
        self._sign("misnamed", "ca", "subjectAltName=DNS:elsewhere.example")
        self._sign("client", "ca", "extendedKeyUsage=clientAuth")
        self._sign("stranger", "other", "extendedKeyUsage=clientAuth")
        self._run("pkcs8", "-topk8", "-in", "client.key", "-out", "locked.key", "-passout", f"pass:{KEY_PASSWORD}")
        for name in ("server", "misnamed"):  # as Kafka's keystores of type PEM have them
            self.path(f"{name}-store.pem").write_text(
                self.path(f"{name}.key").read_text() + self.path(f"{name}.pem").read_text()
            )

    def path(self, name: str) -> Path:
        return self._folder / name

    def _new(self, name: str) -> list[str]:
        curve = "ec_paramgen_curve:prime256v1"
        return ["-newkey", "ec", "-pkeyopt", curve, "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem"]

    def _sign(self, name: str, authority: str, extension: str) -> None:
        self._run("req", *self._new(name), "-subj", f"/CN={name}")  # its request stands where its certificate will
        self.path("extension").write_text(extension)
        ca = ["-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-CAcreateserial"]
        request = ["-req", "-in", f"{name}.pem", "-out", f"{name}.pem"]
        self._run("x509", *request, *ca, "-days", "30", "-extfile", "extension")

    def _run(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self._folder, check=True, capture_output=True, timeout=60)


class SecuredKafka(ApacheKafka):
    """One broker with a listener for each way to connect.

    | listener | security protocol | asks for |
    |---|---|---|
    | PLAINTEXT | PLAINTEXT | nothing |
    | SASL | SASL_PLAINTEXT | a user and a password |
    | SASLTLS | SASL_SSL | a user and a password |
    | TLS | SSL | a client certificate |
    | MISNAMED | SSL | nothing; its certificate names another host |

    Its log names the client id of each request.
    """

    def __init__(self, folder: Path, classpath: str) -> None:
        self.certificates = Certificates(folder)
        stores = {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.certificates.path("server-store.pem")),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.certificates.path("ca.pem")),
            "listener.name.tls.ssl.client.auth": "required",
            "listener.name.misnamed.ssl.keystore.location": str(self.certificates.path("misnamed-store.pem")),
        }
        for listener in ("sasl", "sasltls"):
            stores[f"listener.name.{listener}.sasl.enabled.mechanisms"] = ",".join(_MECHANISMS)
            for mechanism, module in _MECHANISMS.items():
                stores[f"listener.name.{listener}.{mechanism.lower()}.sasl.jaas.config"] = module
        scram = [f"{name}=[name={USER},password={PASSWORD}]" for name in _MECHANISMS if name.startswith("SCRAM")]
        super().__init__(
            folder,
            classpath,
            stores,
            {"SASL": "SASL_PLAINTEXT", "SASLTLS": "SASL_SSL", "TLS": "SSL", "MISNAMED": "SSL"},
            tuple(word for credential in scram for word in ("--add-scram", credential)),
            ("-Dorg.slf4j.simpleLogger.log.kafka.request.logger=debug",),
        )

    def settings_of(self, listener: str, protocol: str = "", **other: Any) -> dict[str, Any]:
        """The settings of [kafka] that fit a listener, some of them changed; None leaves one out."""
        protocol = protocol or self._protocols[listener]
        found: dict[str, Any] = {"client_id": CLIENT_ID, "security_protocol": protocol}
        if "SASL" in protocol:
            found |= {"sasl_mechanism": "SCRAM-SHA-512", "username": USER, "password": PASSWORD}
        if "SSL" in protocol:
            found["ca_file"] = self.certificates.path("ca.pem")
        if listener == "TLS" and "SSL" in protocol:
            found |= self.client_certificate("client")
        found |= other
        return {name: value for name, value in found.items() if value is not None}

    def client_certificate(self, name: str) -> dict[str, Path]:
        files = {"certificate_file": f"{name}.pem", "key_file": f"{name}.key"}
        return {setting: self.certificates.path(file) for setting, file in files.items()}

    def connection_to(self, listener: str, protocol: str = "", **other: Any) -> KafkaConnection:
        """A connection to a listener."""
        return KafkaConnection(bootstrap=self.address_of(listener), **self.settings_of(listener, protocol, **other))

    def requests_of(self, client_id: str) -> set[str]:
        """The kinds of requests that clients of this id have sent."""
        lines = (self.folder / "kafka.log").read_text(errors="replace").splitlines()
        return {
            line.split('"requestApiKeyName":"')[1].split('"')[0]
            for line in lines
            if f'"clientId":"{client_id}"' in line
        }
