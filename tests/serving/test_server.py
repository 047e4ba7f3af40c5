"""The server's processes: started, replaced and ended without a dropped request; stores and plans that change."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from headrace.config import Project
from headrace.plan import FeatureRef
from headrace.records.entity_keys import entity_key
from headrace.rows import Row, RowCodec, open_rows
from headrace.stores import CatalogueChange, open_store
from tests.lookup.conftest import PLAN, fill, order
from tests.lookup.test_batch_lookup import PLAN as BATCH_PLAN
from tests.servers.redis import RedisServer
from tests.serving.conftest import apply_plan, make_project
from tests.serving.server_process import ServerProcess
from tests.waits import wait_until

Serve = Callable[..., ServerProcess]
ASK = b'{"features": ["shops:*"], "entities": {"shop": ["a"]}}'


class Load:
    """Clients that ask again and again; half of them keep their connections, the others open one per request."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._ended = threading.Event()
        self.answered = 0
        self.failed: list[str] = []
        self.processes: set[int] = set()

    def ask(self, keep: bool) -> None:
        connection = self._server.connect()
        while not self._ended.is_set():
            try:
                connection.request("POST", "/v1/lookup", ASK, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                if answer.status != 200:
                    self.failed.append(f"{answer.status} {answer.read()!r}")
                answer.read()
                self.answered += 1
            except (OSError, ValueError) as error:
                self.failed.append(repr(error))
                connection.close()
            if not keep:
                connection.close()
        connection.close()

    @contextmanager
    def running(self) -> Iterator[Load]:
        threads = [threading.Thread(target=self.ask, args=(number % 2 == 0,)) for number in range(6)]
        for thread in threads:
            thread.start()
        try:
            self.more()
            yield self
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()

    def more(self, count: int = 200) -> None:
        """Wait until more requests were answered."""
        until = self.answered + count
        self._server.wait_for(lambda: self.answered >= until, "more answers")


def processes(server: ServerProcess) -> set[int]:
    """The worker processes of a server."""
    found = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return {int(pid) for pid in found if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()}


@pytest.mark.slow
def test_sighup_replaces_every_process_and_no_request_is_dropped(serve: Serve) -> None:
    server = serve("--workers", "2")
    before = processes(server)
    assert len(before) == 2
    with Load(server).running() as load:
        for _ in range(2):
            old = processes(server)
            server.signal(signal.SIGHUP)
            server.wait_for(
                lambda old=old: len(processes(server) - old) == 2 and not processes(server) & old, "new ones"
            )
            load.more()
    assert load.failed == []
    assert server.stop() == 0


def test_sigterm_ends_the_server_after_the_last_answer(serve: Serve) -> None:
    server = serve()
    with closing(server.connect()) as kept:
        kept.request("POST", "/v1/lookup", ASK, {"Content-Type": "application/json"})
        assert kept.getresponse().read()
        server.signal(signal.SIGTERM)
        wait_until(lambda: not is_listening(server), "the server listens no more")
        kept.request("POST", "/v1/lookup", ASK, {"Content-Type": "application/json"})
        last = kept.getresponse()
        assert (last.status, last.headers["connection"]) == (200, "close")
    assert server.process.wait(120) == 0
    assert "Traceback" not in server.log


def is_listening(server: ServerProcess) -> bool:
    host, _, port = server.address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True


def test_a_process_that_dies_is_replaced(serve: Serve) -> None:
    server = serve()
    (before,) = processes(server)
    os.kill(before, signal.SIGKILL)
    server.wait_for(lambda: processes(server) not in ({before}, set()), "another process")
    server.wait_ready()
    assert server.lookup(["shops:*"], {"shop": ["a"]}).status == 200


def test_processes_end_when_their_supervisor_is_killed(serve: Serve) -> None:
    server = serve()
    (left,) = processes(server)
    server.process.kill()
    server.process.wait()
    wait_until(lambda: not Path(f"/proc/{left}").exists() or _is_zombie(left), "the process ends too")


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_plan_that_is_applied_while_serving_is_served(serve: Serve, own_shop: Path) -> None:
    server = serve()
    assert server.lookup("till", {"shop": ["a"]}).status == 422
    before = server.get("/v1/catalog").json["plan"]
    till = (FeatureRef(view="shops", feature="count_60"),)
    changed = PLAN.model_copy(update={"services": {**PLAN.services, "till": till}})
    apply_plan(own_shop, changed)
    server.wait_for(lambda: server.lookup("till", {"shop": ["a"]}).status == 200, "the new plan is served")
    catalog = server.get("/v1/catalog").json
    assert catalog["plan"] != before
    assert catalog["services"]["till"] == ["shops:count_60"]


def test_a_plan_that_cannot_be_read_leaves_the_old_one_and_is_told(serve: Serve, own_shop: Path) -> None:
    server = serve()
    (own_shop / ".headrace" / "plan.json").write_text("{}")
    server.wait_for(lambda: server.get("/v1/status").json["plan_problem"], "the problem is told")
    assert "format" in server.get("/v1/status").json["plan_problem"]
    assert server.lookup("desk", {"shop": ["a"], "buyer": [7]}).status == 200
    apply_plan(own_shop, PLAN)
    server.wait_for(lambda: server.get("/v1/status").json["plan_problem"] is None, "it is over")


def test_events_that_are_applied_while_serving_count_at_once(serve: Serve, own_shop: Path) -> None:
    server = serve()
    url = f"lmdb:{own_shop / '.headrace' / 'online'}"
    with open_store(url, writable=True) as store:
        fill(store, order(141), order(142), first=10)
        reply = server.lookup(["shops:pieces_ever"], {"shop": ["a"]})
        assert reply.json["features"] == {"shops__pieces_ever": [4]}


def test_a_store_that_is_being_filled_answers_503_until_it_is_ready(serve: Serve, own_shop: Path) -> None:
    server = serve()
    with open_store(f"lmdb:{own_shop / '.headrace' / 'online'}", writable=True) as store:
        store.change(CatalogueChange().serve(PLAN.views.values(), is_filling=True))
        for reply in (server.get("/ready"), server.lookup(["shops:*"], {"shop": ["a"]})):
            assert (reply.status, reply.headers["retry-after"]) == (503, "1")
            assert reply.error["kind"] == "StoreNotReadyError"
        assert server.get("/health").status == 200
        store.end_filling()
        server.wait_ready()
        assert server.lookup(["shops:*"], {"shop": ["a"]}).status == 200


def test_a_store_that_is_taken_away_answers_503_and_is_found_again(serve: Serve, own_shop: Path) -> None:
    server = serve()
    online = own_shop / ".headrace" / "online"
    online.rename(online.with_name("aside"))
    server.wait_for(lambda: server.get("/ready").status == 503, "the server notices")
    reply = server.lookup(["shops:*"], {"shop": ["a"]})
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert str(online) in reply.error["message"]
    assert server.get("/health").status == 200
    assert server.get("/metrics").status == 200
    shutil.copytree(online.with_name("aside"), online, ignore=shutil.ignore_patterns("lock.mdb"))
    server.wait_ready()
    assert server.lookup(["shops:*"], {"shop": ["a"]}).status == 200


@pytest.mark.redis
def test_a_redis_that_is_away_answers_503_and_the_others_still_get_answers(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.start()
    project = make_project(tmp_path / "shop", redis_server.url)
    with ServerProcess(project) as server:
        server.wait_ready()
        assert server.lookup(["shops:*"], {"shop": ["a"]}).status == 200
        redis_server.stop()
        reply = server.lookup(["shops:*"], {"shop": ["a"]})
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert server.get("/health").status == 200
        assert server.get("/ready").status == 503
    with ServerProcess(project) as server:  # it starts though the store is away
        assert server.get("/ready").status == 503
        assert server.lookup(["shops:*"], {"shop": ["a"]}).error["kind"] == "StoreUnavailableError"


def test_a_project_without_a_plan_is_not_served(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("[headrace]\n")
    server = ServerProcess(tmp_path)
    assert server.stop() == 1
    assert "headrace apply" in server.log


def test_a_port_that_is_taken_is_told(shop: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        server = ServerProcess(shop, "--port", port)
        assert server.stop() == 1
        assert f"127.0.0.1:{port}" in server.log


@pytest.mark.parametrize(
    "options",
    [("--host", "no.such.host.invalid"), ("--tls-key", "x"), ("--tls-cert", "lost.pem"), ("--limit", "row=1")],
)
def test_settings_that_cannot_work_are_refused_before_anything_starts(shop: Path, options: tuple[str, ...]) -> None:
    server = ServerProcess(shop, *options)
    assert server.stop() == 1
    assert "→" in server.log


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_tls_by_certificate_files(shop: Path, tmp_path: Path) -> None:
    import ssl
    from http.client import HTTPSConnection

    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
        + ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    with ServerProcess(shop, "--tls-cert", str(certificate), "--tls-key", str(key)) as server:
        assert server.url.startswith("https://")
        trust = ssl.create_default_context(cafile=str(certificate))
        with closing(HTTPSConnection(server.address, timeout=120, context=trust)) as connection:
            connection.request("GET", "/health")
            assert connection.getresponse().status == 200
        with closing(HTTPConnection(server.address, timeout=120)) as plain:
            plain.request("GET", "/health")
            with pytest.raises((OSError, HTTPException), match=r".*"):
                plain.getresponse()


def test_a_plan_of_batch_views_alone_is_served_without_a_worker_or_a_store(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("[headrace]\n")
    view = BATCH_PLAN.batch_views["areas"].model_copy(update={"ttl_us": None})
    alone = BATCH_PLAN.model_copy(update={"views": {}, "sources": {}, "services": {}, "batch_views": {"areas": view}})
    apply_plan(tmp_path, alone)
    with open_rows(Project.load(tmp_path).store_url, writable=True) as rows:
        rows.write(view.rows_hash, [Row(entity_key(["a"]), 60, RowCodec(view.columns).encode([1.5, 7, "x", True, []]))])
    with ServerProcess(tmp_path) as server:
        server.wait_ready()
        reply = server.lookup(["areas:staff", "areas:area"], {"shop": ["a", "b"]})
        assert reply.json["features"] == {"areas__staff": [7, None], "areas__area": [1.5, None]}
        assert server.get("/v1/status").status == 200
