"""The settings of a connection: which go together, what each client library gets, and what is never printed."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from headrace.errors import ConfigError
from headrace.kafka import KafkaConnection

SECRET = "it is secret"  # noqa: S105
SIGN_IN: dict[str, Any] = {"sasl_mechanism": "PLAIN", "username": "alice", "password": SECRET}


def connection(**settings: Any) -> KafkaConnection:
    return KafkaConnection(bootstrap="kafka:9093,kafka2:9093", **settings)


def test_an_address_alone_is_a_plain_connection() -> None:
    plain = KafkaConnection.of("kafka:9092")
    assert KafkaConnection.of(plain) is plain
    assert str(plain) == "kafka:9092"
    assert not plain.uses_tls
    assert not plain.uses_sasl
    assert plain.ssl_context() is None
    assert plain.librdkafka() == {
        "bootstrap.servers": "kafka:9092",
        "client.id": "headrace",
        "security.protocol": "PLAINTEXT",
    }


def test_servers_are_hosts_and_ports() -> None:
    assert connection().servers == [("kafka", 9093), ("kafka2", 9093)]
    assert KafkaConnection.of("[::1]:9092").servers == [("::1", 9092)]


def test_both_kinds_of_clients_sign_in_with_the_same_secret(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{SECRET}\n")
    from_file = {**SIGN_IN, "password": None, "password_file": tmp_path / "password"}
    for settings in (SIGN_IN, from_file):
        signs_in = connection(security_protocol="SASL_PLAINTEXT", **settings)
        assert signs_in.kafka_python()["sasl_plain_password"] == signs_in.librdkafka()["sasl.password"] == SECRET
        assert signs_in.kafka_python()["sasl_mechanism"] == signs_in.librdkafka()["sasl.mechanism"] == "PLAIN"


def test_a_secret_that_changes_in_its_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "password"
    signs_in = connection(security_protocol="SASL_PLAINTEXT", **{**SIGN_IN, "password": None, "password_file": file})
    for secret in ("old", "new"):
        file.write_text(secret)
        assert signs_in.secret_password == secret


def test_secrets_are_never_printed() -> None:
    signs_in = connection(security_protocol="SASL_PLAINTEXT", **SIGN_IN)
    printed = f"{signs_in} {signs_in!r} {signs_in.model_dump()} {signs_in.model_dump_json()} {vars(signs_in)}"
    assert "alice" in printed
    assert SECRET not in printed
    with pytest.raises(ValidationError) as caught:
        connection(security_protocol="TLS", username=3, password=SECRET)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"security_protocol": "SASL_SSL", **SIGN_IN, "username": None}, "username is not set"),
        ({"security_protocol": "SASL_SSL", **SIGN_IN, "password": None}, "password is not set"),
        ({"security_protocol": "SASL_SSL", **SIGN_IN, "sasl_mechanism": None}, "sasl_mechanism is not set"),
        ({"security_protocol": "SSL", **SIGN_IN}, "does not sign in, and sasl_mechanism is set"),
        ({"password": SECRET}, "does not sign in, and password is set"),
        ({"ca_file": "ca.pem"}, "does not encrypt, and ca_file is set"),
        ({"certificate_file": "client.pem"}, "does not encrypt, and certificate_file is set"),
        ({"security_protocol": "SSL", "key_file": "client.key"}, "certificate_file is not set"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        connection(**settings)
    assert caught.value.hint
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("setting", ["ca_file", "certificate_file"])
@pytest.mark.parametrize(("text", "message"), [(None, "No such file"), ("no certificate", "PEM")])
def test_a_file_that_cannot_be_used_is_named_with_its_setting(
    tmp_path: Path, setting: str, text: str | None, message: str
) -> None:
    file = tmp_path / "some.pem"
    if text is not None:
        file.write_text(text)
    encrypts = connection(security_protocol="SSL", **{setting: file})
    for make in (encrypts.kafka_python, encrypts.librdkafka):
        with pytest.raises(ConfigError, match=f"{setting} {file} (?s:.*){message}"):
            make()


def test_a_missing_password_file_is_named_with_its_setting(tmp_path: Path) -> None:
    settings = {**SIGN_IN, "password": None, "password_file": tmp_path / "none"}
    with pytest.raises(ConfigError, match="password_file .*none cannot be used: No such file"):
        connection(security_protocol="SASL_PLAINTEXT", **settings).kafka_python()
