"""Requests that are too large, too slow or too many get an answer, and cost the others nothing."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from headrace.errors import ConfigError
from headrace.serving.errors import RefusedError
from headrace.serving.limits import Limits
from tests.serving.server_process import ServerProcess

ASK = {"features": ["shops:*"], "entities": {"shop": ["a"]}}
HEAD = b"POST /v1/lookup HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def tight(shop: Path) -> Iterator[ServerProcess]:
    """A server with little patience."""
    limits = ("receive_seconds=1", "send-seconds=1", "connections=20", "rows=50", "features=9", "cells=100")
    with ServerProcess(shop, *(word for limit in limits for word in ("--limit", limit))) as started:
        yield started.wait_ready()


def open_socket(server: ServerProcess) -> socket.socket:
    host, _, port = server.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=120)


def all_of(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    parts = []
    while part := connection.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def error_of(answer: bytes) -> str:
    message: str = json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]["message"]
    return message


def test_a_body_of_a_hundred_megabytes_is_refused_and_the_client_can_read_why(server: ServerProcess) -> None:
    reply = server.post("/v1/lookup", b" " * 100_000_000)
    assert reply.status == 413
    assert "10,000,000 bytes" in reply.error["message"]


def test_a_body_in_chunks_is_measured_as_it_comes(server: ServerProcess) -> None:
    with closing(server.connect()) as connection:
        parts = (b" " * 1_000_000 for _ in range(20))
        connection.request("POST", "/v1/lookup", parts, {"Content-Type": "application/json"}, encode_chunked=True)
        assert connection.getresponse().status == 413


def test_a_million_rows_are_refused(server: ServerProcess) -> None:
    reply = server.lookup(["shops:*"], {"shop": ["a"] * 1_000_000})
    assert reply.status == 422
    assert reply.error["message"] == "The request asks for 1,000,000 rows; this server answers at most 10,000."
    assert server.post("/v1/lookup", {"features": ["shops:*"], "entity_rows": [{"shop": "a"}] * 20_000}).status == 422


def test_each_limit_of_a_lookup_is_told_by_its_name(tight: ServerProcess) -> None:
    many = ["shops:*", "windows:*"]
    for features, rows, words in ((["shops:*"], 51, "51 rows"), (many, 1, "10 features"), (["shops:*"], 13, "values")):
        reply = tight.lookup(features, {"shop": ["a"] * rows})
        assert reply.status == 422
        assert words in reply.error["message"]
    assert tight.lookup(["shops:*"], {"shop": ["a"] * 12}).status == 200


@pytest.mark.parametrize("begun", [b"POST /v1/look", HEAD, HEAD + b"Content-Length: 100\r\n\r\n{"])
def test_a_client_that_sends_a_byte_a_second_is_cut_off(tight: ServerProcess, begun: bytes) -> None:
    with open_socket(tight) as slow:
        slow.sendall(begun)
        ended = threading.Event()

        def drip() -> None:
            while not ended.wait(0.1):
                try:
                    slow.send(b" " if begun.endswith(b"{") else b"x")
                except OSError:
                    return

        sender = threading.Thread(target=drip)
        sender.start()
        answer = all_of(slow)
        ended.set()
        sender.join()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert "not complete after 1 seconds" in error_of(answer)


def test_a_client_that_connects_and_asks_nothing_is_closed(tight: ServerProcess) -> None:
    with open_socket(tight) as silent:
        assert all_of(silent) == b""


def test_headers_without_end_are_refused(server: ServerProcess) -> None:
    with open_socket(server) as endless:
        endless.sendall(HEAD + b"X: " + b"y" * 70_000)
        answer = all_of(endless)
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_what_is_no_http_is_refused(server: ServerProcess) -> None:
    with open_socket(server) as other:
        other.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        answer = all_of(other)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert "HTTP" in error_of(answer)


def test_a_client_that_hangs_up_harms_nobody(tight: ServerProcess) -> None:
    for begun in (HEAD, HEAD + b"Content-Length: 100\r\n\r\n{", HEAD + b"Content-Length: 2\r\n\r\n{}"):
        with open_socket(tight) as gone:
            gone.sendall(begun)
    tight.wait_for(lambda: b'code="499"' in tight.get("/metrics").content, "the hang-up is counted")
    assert tight.post("/v1/lookup", ASK).status == 200
    assert "Traceback" not in tight.log


def test_more_connections_than_the_limit_get_503(tight: ServerProcess) -> None:
    with ExitStack() as stack:
        kept = [stack.enter_context(open_socket(tight)) for _ in range(40)]
        answers = [all_of(one) for one in kept]  # the others are closed by the limit of time
    refused = [answer for answer in answers if answer]
    assert refused
    assert all(answer.startswith(b"HTTP/1.1 503 ") and b"retry-after: 1" in answer for answer in refused)
    assert tight.post("/v1/lookup", ASK).status == 200


def test_a_client_that_sends_requests_without_end_and_waits_for_no_answer_is_cut_off(server: ServerProcess) -> None:
    body = json.dumps(ASK).encode()
    request = HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    with open_socket(server) as hasty, pytest.raises((BrokenPipeError, ConnectionResetError), match=r".*"):
        hasty.sendall(request * 200_000)
    assert server.get("/health").status == 200


def test_limits_are_changed_by_name() -> None:
    limits = Limits().with_changes(["rows=7", "receive-seconds=0.5", "body_bytes=1_000"])
    assert (limits.rows, limits.receive_seconds, limits.body_bytes) == (7, 0.5, 1_000)


@pytest.mark.parametrize(
    "change", ["row=7", "rows", "rows=", "rows=-1", "rows=0", "rows=many", "seconds=nan", "rows=1.5"]
)
def test_a_limit_that_is_none_is_refused(change: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Limits().with_changes([change])
    assert refused.value.hint


def test_a_lookup_at_a_limit_passes() -> None:
    limits = Limits(rows=10, features=10, cells=50)
    limits.check(10, 5)
    limits.check(5, 10)
    with pytest.raises(RefusedError, match="55 values"):
        Limits(rows=10, features=11, cells=50).check(5, 11)


def test_lookups_that_wait_are_limited_in_number_and_time(shop: Path) -> None:
    import asyncio

    from headrace.config import Project
    from headrace.serving.context import ServingContext
    from headrace.serving.metrics import Metrics

    context = ServingContext(Project.load(shop), Limits(waiting=2, threads=1, seconds=0.2), Metrics())
    release = threading.Event()

    async def ask() -> list[object]:
        asked = [asyncio.create_task(context.in_thread(release.wait)) for _ in range(3)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        release.set()
        deadline = time.monotonic() + 60
        while True:
            try:
                await context.in_thread(lambda: None)
            except RefusedError:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.01)
            else:
                return list(found)

    found = asyncio.run(ask())
    asyncio.run(context.stop())
    assert all(isinstance(one, RefusedError) and one.status == 503 for one in found)
    assert sorted("longer than 0.2 seconds" in str(one) for one in found) == [False, True, True]


def test_a_write_that_has_begun_is_waited_for_and_one_that_has_not_never_begins(shop: Path) -> None:
    import asyncio

    from headrace.config import Project
    from headrace.serving.context import ServingContext
    from headrace.serving.metrics import Metrics

    context = ServingContext(Project.load(shop), Limits(threads=1, seconds=0.2), Metrics())
    written: list[str] = []
    release = threading.Event()

    def write(name: str) -> str:
        release.wait()
        written.append(name)
        return name

    async def ask() -> str:
        begun = asyncio.create_task(context.in_thread(lambda: write("begun"), writes=True))
        await asyncio.sleep(0)
        with pytest.raises(RefusedError, match=r"longer than 0\.2 seconds"):
            await context.in_thread(lambda: write("waiting"), writes=True)
        release.set()
        return await begun

    assert asyncio.run(ask()) == "begun"
    asyncio.run(context.stop())
    assert written == ["begun"]


def test_the_names_of_a_lookup_are_limited_before_anyone_looks_for_them(tight: ServerProcess) -> None:
    reply = tight.lookup([f"nowhere:x{number}" for number in range(10)], {"shop": ["a"]})
    assert (reply.status, "10 features" in reply.error["message"]) == (422, True)


def test_jobs_are_limited_and_where_rows_are_in_redis_nothing_runs_in_the_event_loop(tmp_path: Path) -> None:
    from types import SimpleNamespace
    from unittest.mock import patch

    from headrace.config import Project
    from headrace.serving.context import ServingContext
    from headrace.serving.metrics import Metrics
    from headrace.stores.memory import MemoryStore

    (tmp_path / "headrace.toml").write_text('[headrace]\nstore = "redis://127.0.0.1:1/0"\n')
    context = ServingContext(Project.load(tmp_path), Limits(), Metrics())
    with patch.object(context, "_opened", SimpleNamespace(store=MemoryStore())):
        assert not context.is_local
    release = threading.Event()
    jobs = [context.start_job(release.wait) for _ in range(20)]
    with pytest.raises(RefusedError, match="20 jobs"):
        context.start_job(release.wait)
    release.set()
    assert all(job.result() for job in jobs)
    assert context.start_job(lambda: 1).result() == 1
