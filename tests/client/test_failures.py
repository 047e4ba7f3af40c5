"""What goes wrong between a client and a server: each has its error, and only what may pass is tried again."""

from __future__ import annotations

import inspect
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from headrace import errors
from headrace.client import HttpSettings
from headrace.client.failed_requests import FailedRequest, Retries
from headrace.errors import (
    ConfigError,
    HeadraceError,
    LookupRequestError,
    NotAuthenticatedError,
    PermissionDeniedError,
    ServerError,
    ServerUnavailableError,
)
from tests.client.conftest import Connect
from tests.client.wire_server import WireServer, answer_with, error_body
from tests.lookup.conftest import at

SHOPS = [{"shop": "a"}]
EXPECTED = {"shop": ["a"], "shops__count_60": [1]}


def look_up(client: Any) -> Any:
    return client.get_online_features(["shops:count_60"], SHOPS, at(9)).to_dict()


def refusal(client: Any, kind: type[HeadraceError] = HeadraceError) -> HeadraceError:
    with pytest.raises(kind) as told:
        look_up(client)
    assert type(told.value) is kind
    assert told.value.hint
    return told.value


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the clients would have waited between attempts."""
    found: list[float] = []
    pause_after = Retries.pause_after

    def noted(retries: Retries, failed: FailedRequest) -> float:
        found.append(pause_after(retries, failed))
        return 0.0

    monkeypatch.setattr(Retries, "pause_after", noted)
    return found


# --- the server's errors


def every_error() -> list[type[HeadraceError]]:
    kinds = [getattr(errors, name) for name in errors.__all__]
    return [kind for kind in kinds if issubclass(kind, HeadraceError) and kind is not HeadraceError]


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_the_servers_errors_are_raised_as_they_were(
    server: WireServer, connect: Connect, kind: type[HeadraceError]
) -> None:
    server.always = answer_with(422, error_body(kind.__name__, "It is wrong.", "Make it right."))
    found = refusal(connect(server.url), ConfigError if kind is errors.MissingExtraError else kind)
    assert (found.what, found.hint) == ("It is wrong.", "Make it right.")


@pytest.mark.parametrize(
    ("status", "kind", "raised"),
    [
        (413, "TooLarge", LookupRequestError),
        (400, "HeadraceWarning", LookupRequestError),
        (500, "unexpected", ServerError),
        (500, "HeadraceError", ServerError),
        (500, "annotations", ServerError),
    ],
)
def test_errors_of_kinds_that_this_version_does_not_know_are_told_too(
    server: WireServer, connect: Connect, status: int, kind: str, raised: type[HeadraceError]
) -> None:
    server.always = answer_with(status, error_body(kind, "It is wrong.", "Make it right."))
    assert refusal(connect(server.url, http=HttpSettings(retries=5)), raised).what == "It is wrong."
    assert len(server.asked) == 1


@pytest.mark.parametrize(("status", "raised"), [(401, NotAuthenticatedError), (403, PermissionDeniedError)])
def test_a_gateway_that_refuses_the_token_is_told_so(
    server: WireServer, connect: Connect, status: int, raised: type[HeadraceError]
) -> None:
    server.always = answer_with(status, b"<html>no</html>", "text/html")
    assert f"answered /v1/lookup with {status}" in refusal(connect(server.url), raised).what


# --- not a server of headrace


@pytest.mark.parametrize(
    ("status", "body", "kind", "told"),
    [
        (200, b"<html>Welcome</html>", "text/html; charset=utf-8", "is no headrace server: it sends 'text/html'"),
        (200, b"{}", "application/json", "This is no answer of a headrace server: {}"),
        (200, b"{", "application/json", "is no JSON"),
        (200, b"\xff", "application/json", "is no JSON"),
        (200, b"xyz", "application/vnd.apache.arrow.stream", "This is no answer of a headrace server"),
        (200, b'{"format": 2}', "application/json", "The answer has the format 2; this headrace reads the format 1."),
        (404, b"Not Found", "text/plain", "answered /v1/lookup with 404 Not Found."),
        (405, b'{"detail":"Method Not Allowed"}', "application/json", "with 405 Method Not Allowed."),
        (599, b"", "text/plain", "with 599 unknown status."),
        (204, b"", "text/plain", "with 204 No Content."),
    ],
)
def test_what_is_no_headrace_server_is_told_so(
    server: WireServer, connect: Connect, status: int, body: bytes, kind: str, told: str
) -> None:
    server.always = answer_with(status, body, kind)
    found = refusal(connect(server.url, http=HttpSettings(retries=5)), ServerError)
    assert told in found.what
    assert len(server.asked) == 1


def test_redirects_are_refused_so_that_tokens_stay_where_they_belong(server: WireServer, connect: Connect) -> None:
    with WireServer(server.client) as other:
        server.always = answer_with(307, Location=f"{other.url}/v1/lookup")
        found = refusal(connect(server.url, token="secret"), ServerError)
        assert f"redirects /v1/lookup to '{other.url}/v1/lookup'" in found.what
        assert other.asked == []


@contextmanager
def speaking(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server of some other protocol, at a URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        taken: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                taken.append(connection)
                try:
                    talk(connection)
                except OSError:
                    continue  # the client has given up, as it should

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in taken:
            connection.close()


def test_another_protocol_is_told_so(connect: Connect) -> None:
    def greet(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")

    with speaking(greet) as url:
        assert "does not speak HTTP" in refusal(connect(url), ServerError).what


# --- away, overloaded, too slow


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_a_server_that_is_away_is_tried_again_and_then_named(connect: Connect, pauses: list[float]) -> None:
    url = closed_port()
    found = refusal(connect(url, http=HttpSettings(retries=3)), ServerUnavailableError)
    assert found.what == f"No server answers at {url}: the connection was refused."
    assert "headrace serve" in str(found.hint)
    assert len(pauses) == 3
    assert all(0 <= pause <= 0.05 * 2**number for number, pause in enumerate(pauses))


def test_a_host_that_is_not_known_is_named(
    connect: Connect, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    found = refusal(connect("http://features.invalid:6566"), ServerUnavailableError)
    assert found.what.startswith("The host 'features.invalid' of http://features.invalid:6566 is not known")


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_an_overloaded_server_is_tried_again_after_the_time_that_it_asks_for(
    server: WireServer, connect: Connect, pauses: list[float], status: int
) -> None:
    busy = error_body("ServerUnavailableError", "Too many requests wait.", "Ask later.")
    server.tricks.append(answer_with(status, busy, Retry_After="3"))
    server.tricks.append(answer_with(status, b"<html>busy</html>", "text/html", Retry_After="1"))
    server.tricks.append(answer_with(status, busy))
    assert look_up(connect(server.url, http=HttpSettings(retries=3))) == EXPECTED
    assert [round(pause - wanted, 3) >= 0 for pause, wanted in zip(pauses, (3, 1, 0), strict=True)] == [True] * 3
    assert pauses[0] <= 3.05
    assert pauses[2] <= 0.2


def test_retries_end(server: WireServer, connect: Connect, pauses: list[float]) -> None:
    server.always = answer_with(503, error_body("ServerUnavailableError", "Too many requests wait.", "Ask later."))
    found = refusal(connect(server.url, http=HttpSettings(retries=2)), ServerUnavailableError)
    assert found.what == "Too many requests wait."
    assert len(server.asked) == 3


def test_a_wait_beyond_the_time_limit_is_not_begun(server: WireServer, connect: Connect, pauses: list[float]) -> None:
    server.always = answer_with(503, error_body("ServerUnavailableError", hint="Later."), Retry_After="3600")
    refusal(connect(server.url), ServerUnavailableError)
    refusal(connect(server.url, http=HttpSettings(retries=9)), ServerUnavailableError)
    assert len(server.asked) == 2
    assert pauses == []


@pytest.mark.parametrize("status", [400, 422, 500, 501])
def test_a_request_that_fails_for_good_is_not_tried_again(server: WireServer, connect: Connect, status: int) -> None:
    server.always = answer_with(status, error_body("LookupRequestError", "No such feature.", "Ask for another."))
    refusal(connect(server.url, http=HttpSettings(retries=9)), LookupRequestError)
    assert len(server.asked) == 1


SLOW = HttpSettings(read_timeout_s=0.2, total_timeout_s=0.6, retries=0)


def test_a_server_that_says_nothing_is_given_up(connect: Connect) -> None:
    with speaking(lambda connection: None) as url:
        found = refusal(connect(url, http=SLOW), ServerUnavailableError)
    assert found.what == f"The server at {url} did not answer in time."


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n"])
def test_a_server_that_sends_a_byte_at_a_time_is_given_up(connect: Connect, said: bytes) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(said)
        while True:
            connection.sendall(b"H")
            time.sleep(0.02)  # slow is what this server is

    with speaking(drip) as url:
        found = refusal(connect(url, http=SLOW), ServerUnavailableError)
    assert found.what == f"The server at {url} did not answer in time."


def test_retries_do_not_outlast_the_time_limit(connect: Connect) -> None:
    with speaking(lambda connection: None) as url:
        settings = HttpSettings(read_timeout_s=0.1, total_timeout_s=0.5, retries=1_000)
        found = refusal(connect(url, http=settings), ServerUnavailableError)
    assert "did not answer in time" in found.what


def test_a_connection_that_is_not_taken_is_given_up(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        waiting = []
        for _ in range(3):  # fills the queue of connections that nobody accepts
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(address)
            waiting.append(one)
        settings = HttpSettings(connect_timeout_s=0.2, retries=0)
        found = refusal(connect(f"http://127.0.0.1:{address[1]}", http=settings), ServerUnavailableError)
        for one in waiting:
            one.close()
    assert "took no connection" in found.what


def test_a_connection_that_breaks_in_the_middle_is_tried_again(
    server: WireServer, connect: Connect, pauses: list[float]
) -> None:
    def half(handler: Any) -> None:
        handler.close_connection = True
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"format"')

    server.tricks.append(half)
    assert look_up(connect(server.url, http=HttpSettings(retries=1))) == EXPECTED
    server.tricks.append(half)
    assert "broke" in refusal(connect(server.url, http=HttpSettings(retries=0)), ServerUnavailableError).what


# --- tokens, URLs, settings


def test_tokens_are_sent_and_made_anew_for_each_request(server: WireServer, connect: Connect) -> None:
    look_up(connect(server.url))
    look_up(connect(server.url, token="first"))
    tokens = iter(["second", "third"])
    client = connect(server.url, token=lambda: next(tokens))
    look_up(client)
    look_up(client)
    sent = [one.headers.get("authorization") for one in server.asked]
    assert sent == [None, "Bearer first", "Bearer second", "Bearer third"]


@pytest.mark.parametrize("token", ["", "two words", "line\n", "ü", lambda: "line\n", lambda: None])
def test_what_is_no_token_is_refused_and_not_shown(server: WireServer, connect: Connect, token: Any) -> None:
    with pytest.raises(ConfigError, match="The token has characters that no token has") as told:
        look_up(connect(server.url, token=token))
    assert "line" not in str(told.value).replace("line end", "")
    assert server.asked == []


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ftp://features:21", "is no URL of a server"),
        ("http://", "is no URL of a server"),
        ("http://features:port", "is no URL"),
        ("http://features:99999", "is no URL"),
        ("http://features/?a=1", "is no URL of a server"),
        ("http://features/#a", "is no URL of a server"),
        ("http://[::1", "is no URL"),
        ("http://me:secret@features", "has a user or a password in it"),
    ],
)
def test_what_is_no_url_is_refused(connect: Connect, url: str, told: str) -> None:
    with pytest.raises(ConfigError) as found:
        connect(url)
    assert told in found.value.what
    assert "secret" not in str(found.value)
    assert found.value.hint


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"connect_timeout_s": 0}, "connect_timeout_s is 0"),
        ({"read_timeout_s": -1}, "read_timeout_s is -1"),
        ({"total_timeout_s": float("nan")}, "total_timeout_s is nan"),
        ({"total_timeout_s": float("inf")}, "total_timeout_s is inf"),
        ({"retries": -1}, "retries is -1"),
        ({"max_idle": -1}, "max_idle is -1"),
        ({"idle_s": float("nan")}, "idle_s is nan"),
        ({"headers": {"authorization": "Bearer x"}}, "headers has 'authorization'"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as found:
        HttpSettings(**given)
    assert told in found.value.what


def test_passwords_of_keys_are_not_shown() -> None:
    assert "secret" not in repr(HttpSettings(key_password="secret"))


def test_every_public_method_says_what_it_does() -> None:
    pytest.importorskip("httpx2")
    from headrace.client import AsyncFeatureClient, FeatureClient

    for kind in (FeatureClient, AsyncFeatureClient, HttpSettings):
        assert inspect.getdoc(kind)
        for name, member in vars(kind).items():
            if not name.startswith("_") and callable(member):
                assert inspect.getdoc(member), name


def test_tls_needs_files_that_are_there(connect: Connect, tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match="ca_file="):
        connect("https://features", http=HttpSettings(ca_file=tmp_path / "none.pem"))
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    with pytest.raises(ConfigError, match="ca_file="):
        connect("https://features", http=HttpSettings(ca_file=broken))
    with pytest.raises(ConfigError, match="certificate_file="):
        connect("https://features", http=HttpSettings(certificate_file=broken))
