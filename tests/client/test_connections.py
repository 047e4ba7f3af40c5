"""Connections are kept, shared by threads, replaced when the server closes them, and never shared by processes."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from headrace.client import FeatureClient, HttpSettings
from tests.client.conftest import QUICK, Connect
from tests.client.wire_server import WireServer, answer_with
from tests.lookup.conftest import at

SHOPS = [{"shop": "a"}]


def look_up(client: Any) -> Any:
    return client.get_online_features(["shops:count_60"], SHOPS, at(9)).to_dict()


EXPECTED = {"shop": ["a"], "shops__count_60": [1]}


def test_a_connection_is_used_again(server: WireServer, connect: Connect) -> None:
    client = connect(server.url)
    for _ in range(5):
        assert look_up(client) == EXPECTED
    assert len({one.connection for one in server.asked}) == 1


def test_a_connection_is_used_again_after_an_error_of_the_request(server: WireServer, connect: Connect) -> None:
    client = connect(server.url)
    for _ in range(3):
        with pytest.raises(Exception, match="nothing"):
            client.get_online_features("nothing", SHOPS)
    assert look_up(client) == EXPECTED
    assert len({one.connection for one in server.asked}) == 1


def test_a_connection_that_the_server_closed_is_replaced_without_a_failure(
    server: WireServer, connect: Connect
) -> None:
    client = connect(server.url)  # without retries
    for _ in range(3):
        assert look_up(client) == EXPECTED
        server.hang_up()
    assert look_up(client) == EXPECTED
    assert len({one.connection for one in server.asked}) == 4


def test_a_connection_that_closes_with_its_answer_is_replaced(server: WireServer, connect: Connect) -> None:
    def closing(handler: Any) -> None:
        handler.close_connection = True
        handler.answer(200, *handler.content(server.asked[-1].body), {"Connection": "close"})

    client = connect(server.url)
    server.tricks.extend([closing, closing])
    for _ in range(3):
        assert look_up(client) == EXPECTED
    assert len({one.connection for one in server.asked}) == 3


def test_a_server_without_an_answer_is_asked_twice_at_most(server: WireServer, connect: Connect) -> None:
    client = connect(server.url)
    assert look_up(client) == EXPECTED

    def slam(handler: Any) -> None:
        handler.close_connection = True
        handler.connection.shutdown(2)

    server.always = slam
    with pytest.raises(Exception, match="broke"):
        look_up(client)
    assert len(server.asked) == 3


def test_an_idle_connection_is_not_kept_for_longer_than_told(server: WireServer) -> None:
    with FeatureClient(server.url, http=HttpSettings(idle_s=0)) as client:
        for _ in range(3):
            assert look_up(client) == EXPECTED
    assert len({one.connection for one in server.asked}) == 3


def test_threads_have_connections_of_their_own_and_few_are_kept(server: WireServer) -> None:
    together = threading.Barrier(4)

    def wait(handler: Any) -> None:
        together.wait(timeout=60)
        handler.answer(200, *handler.content(server.asked[-1].body))

    server.tricks.extend([wait] * 4)
    settings = HttpSettings(max_idle=2)
    with FeatureClient(server.url, http=settings) as client, ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda _: look_up(client), range(4))) == [EXPECTED] * 4
        first = {one.connection for one in server.asked}
        assert len(first) == 4
        for _ in range(4):
            assert look_up(client) == EXPECTED
    assert len({one.connection for one in server.asked}) == 4
    with FeatureClient(server.url, http=settings) as client, ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda _: look_up(client), range(200))) == [EXPECTED] * 200


def test_no_connection_is_kept_where_none_may_be(server: WireServer) -> None:
    with FeatureClient(server.url, http=HttpSettings(max_idle=0)) as client:
        for _ in range(2):
            assert look_up(client) == EXPECTED
    assert len({one.connection for one in server.asked}) == 2


FORKS = """
import os, sys
from headrace import FeatureClient, HttpSettings

client = FeatureClient(sys.argv[1], http=HttpSettings(retries=0))
look_up = lambda: client.get_online_features(["shops:count_60"], [{"shop": "a"}]).to_dict()
before = look_up()
child = os.fork()
if child == 0:
    found = [look_up() for _ in range(20)]
    os._exit(0 if found == [before] * 20 else 1)
found = [look_up() for _ in range(20)]
_, status = os.waitpid(child, 0)
assert found == [before] * 20
assert status == 0, status
assert look_up() == before
client.close()
"""


def test_a_forked_process_opens_connections_of_its_own(server: WireServer) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKS, server.url],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert len({one.connection for one in server.asked}) == 2
    assert len(server.asked) == 42


def test_a_client_of_a_server_may_be_pickled(server: WireServer) -> None:
    with FeatureClient(server.url, token="t0ken", http=QUICK) as client:
        assert look_up(client) == EXPECTED
        with pickle.loads(pickle.dumps(client)) as copied:  # noqa: S301 our own bytes
            assert look_up(copied) == EXPECTED
    assert {one.headers["authorization"] for one in server.asked} == {"Bearer t0ken"}


def test_a_large_request_and_answer_cross_in_parts(server: WireServer, connect: Connect) -> None:
    client = connect(server.url)
    rows = {"shop": ["a", "never" * 20] * 20_000}
    found = client.get_online_features(["shops:count_60"], rows).to_dict()
    assert found["shops__count_60"] == [1, 0] * 20_000


def test_an_answer_in_chunks_is_read_whole(server: WireServer, connect: Connect) -> None:
    def in_chunks(handler: Any) -> None:
        body, kind = handler.content(server.asked[-1].body)
        handler.send_response(200)
        handler.send_header("Content-Type", f"{kind}; charset=utf-8")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for part in (body[:10], body[10:]):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        handler.wfile.write(b"0\r\n\r\n")

    client = connect(server.url)
    server.tricks.append(in_chunks)
    assert look_up(client) == EXPECTED
    assert look_up(client) == EXPECTED
    assert len({one.connection for one in server.asked}) == 1


def test_further_headers_are_sent(server: WireServer, connect: Connect) -> None:
    client = connect(server.url, http=HttpSettings(headers={"X-Gateway": "key"}))
    look_up(client)
    assert server.asked[-1].headers["x-gateway"] == "key"
    assert server.asked[-1].headers["user-agent"].startswith("headrace/")


def test_path_of_the_url_comes_before_the_servers(server: WireServer, connect: Connect) -> None:
    server.always = answer_with(200, b"{}")
    with pytest.raises(Exception, match="This is no answer of a headrace server"):
        look_up(connect(f"{server.url}/features/"))
    assert server.asked[-1].path == "/features/v1/lookup"
