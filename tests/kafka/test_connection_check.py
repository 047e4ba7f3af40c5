"""What a wrong security setting gets: an error at once that names it, from an Apache Kafka with TLS and sign-in."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from headrace.errors import BrokerRefusedError, BrokerUnavailableError, ConfigError
from headrace.kafka import KafkaConnection
from headrace.kafka.connection_check import check_connection
from tests.servers.secured_kafka import KEY_PASSWORD, SecuredKafka

pytestmark = [pytest.mark.slow, pytest.mark.apache_kafka]


@pytest.mark.parametrize(
    ("listener", "settings"),
    [
        ("PLAINTEXT", {}),
        ("SASL", {"sasl_mechanism": "PLAIN"}),
        ("SASL", {"sasl_mechanism": "SCRAM-SHA-256"}),
        ("SASLTLS", {"sasl_mechanism": "PLAIN"}),
        ("SASLTLS", {"sasl_mechanism": "SCRAM-SHA-512"}),
        ("TLS", {}),
        ("MISNAMED", {"check_hostname": False}),
    ],
)
def test_right_settings_sign_in(secured_kafka: SecuredKafka, listener: str, settings: dict[str, Any]) -> None:
    check_connection(secured_kafka.connection_to(listener, **settings))


@pytest.mark.parametrize(
    ("listener", "protocol", "settings", "message", "setting"),
    [
        ("SASL", "", {"password": "wrong"}, "the sign-in as user 'alice' by SCRAM-SHA-512 failed", "password_file"),
        ("SASL", "", {"password": "wrong", "sasl_mechanism": "PLAIN"}, "by PLAIN failed", "password_file"),
        ("SASLTLS", "", {"username": "bob"}, "the sign-in as user 'bob'", "username"),
        ("TLS", "", {"ca_file": "other.pem"}, "its certificate is not trusted", "ca_file"),
        ("TLS", "", {"ca_file": None}, "its certificate is not trusted", "ca_file"),
        ("MISNAMED", "", {}, "its certificate is not for '127.0.0.1'", "check_hostname"),
        ("TLS", "", {"certificate_file": None, "key_file": None}, "asks for a client certificate", "certificate_file"),
        ("TLS", "", {"stranger": True}, "does not accept the client certificate", "certificate_file"),
        ("PLAINTEXT", "SSL", {}, "the listener does not speak TLS", "PLAINTEXT or SASL_PLAINTEXT"),
        ("SASL", "SASL_SSL", {}, "the listener does not speak TLS", "PLAINTEXT or SASL_PLAINTEXT"),
        ("TLS", "PLAINTEXT", {}, "the listener speaks TLS", "SSL or SASL_SSL"),
        ("SASLTLS", "SASL_PLAINTEXT", {}, "the listener speaks TLS", "SSL or SASL_SSL"),
        ("SASL", "PLAINTEXT", {}, "the listener asks for a user and a password", "to SASL_PLAINTEXT"),
        ("SASLTLS", "SSL", {}, "the listener asks for a user and a password", "to SASL_SSL"),
        ("PLAINTEXT", "SASL_PLAINTEXT", {}, "the listener takes no sign-in", "to PLAINTEXT"),
        ("TLS", "SASL_SSL", {}, "the listener takes no sign-in", "to SSL"),
    ],
)
def test_a_wrong_setting_is_named_at_once(
    secured_kafka: SecuredKafka, listener: str, protocol: str, settings: dict[str, Any], message: str, setting: str
) -> None:
    settings = dict(settings)
    if isinstance(settings.get("ca_file"), str):
        settings["ca_file"] = secured_kafka.certificates.path(settings["ca_file"])
    if settings.pop("stranger", False):
        settings |= secured_kafka.client_certificate("stranger")
    wrong = secured_kafka.connection_to(listener, protocol, **settings)
    with pytest.raises(BrokerRefusedError) as caught:
        check_connection(wrong)
    assert caught.value.what.startswith(f"The broker at {wrong} refused: ")
    assert message in caught.value.what
    assert setting in (caught.value.hint or "")
    assert "it is secret" not in str(caught.value)


def test_an_encrypted_key_is_opened_by_its_password(secured_kafka: SecuredKafka) -> None:
    locked: dict[str, Any] = {"key_file": secured_kafka.certificates.path("locked.key")}
    check_connection(secured_kafka.connection_to("TLS", **locked, key_password=KEY_PASSWORD))
    for wrong in ("wrong", None):
        with pytest.raises(ConfigError, match="key_password is wrong"):
            check_connection(secured_kafka.connection_to("TLS", **locked, key_password=wrong))


def test_a_server_that_is_away_is_passed_over(secured_kafka: SecuredKafka) -> None:
    there = secured_kafka.connection_to("SASLTLS")
    check_connection(there.model_copy(update={"bootstrap": f"127.0.0.1:1,{there}"}))


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL"])
def test_a_proxy_whose_broker_is_not_there_yet_is_a_broker_that_is_away(protocol: str) -> None:
    """It takes connections and closes them, which says nothing of security."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:

        def close_all() -> None:
            while True:
                try:
                    proxy.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=close_all, daemon=True).start()
        connection = KafkaConnection(bootstrap=f"127.0.0.1:{proxy.getsockname()[1]}", security_protocol=protocol)
        with pytest.raises(BrokerUnavailableError):
            check_connection(connection)
        proxy.shutdown(socket.SHUT_RDWR)
