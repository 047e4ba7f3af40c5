"""TLS: the server's certificate is checked, and the client shows its own where it is asked for one."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from headrace.client import HttpSettings
from headrace.errors import ServerError, ServerUnavailableError
from headrace.lookup import FeatureClient as InProcessClient
from tests.client.conftest import Connect
from tests.client.wire_server import WireServer
from tests.lookup.conftest import at

pytest.importorskip("cryptography")
from cryptography import x509  # noqa: E402 only where it is installed
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from cryptography.x509.oid import NameOID  # noqa: E402

SHOPS = [{"shop": "a"}]


class Authority:
    """Signs certificates."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._signed(name, self._key, is_authority=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *, host: str | None = None, password: str | None = None) -> tuple[Path, Path]:
        """The files of a certificate and of its private key."""
        key = ec.generate_private_key(ec.SECP256R1())
        hidden: Any = serialization.NoEncryption()
        if password is not None:
            hidden = serialization.BestAvailableEncryption(password.encode())
        files = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        certificate = self._signed(name, key, host=host)
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden))
        return files

    def _signed(self, name: str, key: Any, *, is_authority: bool = False, host: str | None = None) -> x509.Certificate:
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._name)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if is_authority:
            usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
            made = made.add_extension(usage, critical=True)
            made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        else:
            issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
            made = made.add_extension(issuer, critical=False)
        if host is not None:
            names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
            made = made.add_extension(names, critical=False)
        return made.sign(self._key, hashes.SHA256())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "authority")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


def tls_of(authority: Authority, host: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("server", host=host))
    return context


@pytest.fixture
def secure(here: InProcessClient, authority: Authority) -> Iterator[WireServer]:
    with WireServer(here, tls_of(authority)) as server:
        yield server


@pytest.fixture
def asking(here: InProcessClient, authority: Authority) -> Iterator[WireServer]:
    """A server that asks clients for a certificate."""
    context = tls_of(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.file)
    with WireServer(here, context) as server:
        yield server


def settings(**more: Any) -> HttpSettings:
    return HttpSettings(retries=0, **more)


def look_up(client: Any) -> Any:
    return client.get_online_features(["shops:count_60"], SHOPS, at(9)).to_dict()


def test_a_server_is_asked_over_tls(secure: WireServer, connect: Connect, authority: Authority) -> None:
    client = connect(secure.url, http=settings(ca_file=authority.file), token="secret")
    for _ in range(3):
        assert look_up(client) == {"shop": ["a"], "shops__count_60": [1]}
    assert len({one.connection for one in secure.asked}) == 1
    secure.hang_up()
    assert look_up(client)


@pytest.mark.parametrize("trusting", ["the system's", "another's"])
def test_a_certificate_of_an_unknown_authority_is_refused(
    secure: WireServer, connect: Connect, stranger: Authority, trusting: str
) -> None:
    ca_file = None if trusting == "the system's" else stranger.file
    with pytest.raises(ServerError, match="is not trusted") as told:
        look_up(connect(secure.url, http=HttpSettings(ca_file=ca_file, retries=5), token="secret"))
    assert "ca_file" in str(told.value.hint)
    assert secure.asked == []


def test_a_certificate_of_another_host_is_refused(
    here: InProcessClient, connect: Connect, authority: Authority
) -> None:
    with (
        WireServer(here, tls_of(authority, host="10.0.0.1")) as server,
        pytest.raises(ServerError, match="is not trusted: IP address mismatch"),
    ):
        look_up(connect(server.url, http=settings(ca_file=authority.file)))


@pytest.mark.parametrize("password", [None, "secret"])
def test_a_client_shows_its_certificate(
    asking: WireServer, connect: Connect, authority: Authority, password: str | None
) -> None:
    certificate, key = authority.issue("client", password=password)
    files = {"ca_file": authority.file, "certificate_file": certificate, "key_file": key}
    assert look_up(connect(asking.url, http=settings(**files, key_password=password)))


@pytest.mark.parametrize("shows", ["none", "a stranger's"])
def test_a_client_without_the_right_certificate_is_told_so(
    asking: WireServer, connect: Connect, authority: Authority, stranger: Authority, shows: str
) -> None:
    files: dict[str, Any] = {"ca_file": authority.file}
    if shows != "none":
        files["certificate_file"], files["key_file"] = stranger.issue("client")
    with pytest.raises((ServerError, ServerUnavailableError)) as told:
        look_up(connect(asking.url, http=settings(**files)))
    # Servers that close before the alert is read leave only a broken connection.
    assert "certificate" in told.value.what or "broke" in told.value.what
    assert asking.asked == []


def test_a_server_without_tls_is_told_so(server: WireServer, connect: Connect, authority: Authority) -> None:
    url = server.url.replace("http://", "https://")
    with pytest.raises(ServerError, match="There is no TLS connection") as told:
        look_up(connect(url, http=settings(ca_file=authority.file)))
    assert "http://" in str(told.value.hint)


def test_a_server_with_tls_is_told_so(secure: WireServer, connect: Connect) -> None:
    with pytest.raises(ServerUnavailableError, match="broke") as told:
        look_up(connect(secure.url.replace("https://", "http://"), http=settings()))
    assert "https://" in str(told.value.hint)
