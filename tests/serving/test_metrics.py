"""Metrics count every request once, over all processes, and tell how fresh the store is."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from headrace.worker.heartbeat import Heart, WorkerState
from tests.serving.server_process import ServerProcess


def samples(server: ServerProcess) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = server.get("/metrics").content.decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(server: ServerProcess, name: str, **labels: str) -> float | None:
    return samples(server).get((name, frozenset(labels.items())))


def test_requests_are_counted_by_service_and_code_over_all_processes(serve: Callable[..., ServerProcess]) -> None:
    server = serve("--workers", "2")
    desk = {"shop": ["a", "b"], "buyer": [7, 8]}
    for _ in range(20):
        assert server.lookup("desk", desk).status == 200
    assert server.lookup("lost", desk).status == 422
    assert server.lookup(["shops:*"], {"shop": ["a"]}).status == 200
    route = "/v1/lookup"
    assert value(server, "headrace_requests_total", route=route, service="desk", code="200") == 20
    assert value(server, "headrace_request_seconds_count", route=route, service="desk") == 20
    assert value(server, "headrace_rows_total", route=route, service="desk") == 40
    assert value(server, "headrace_requests_total", route=route, service="-", code="200") == 1
    # A name that does not exist is no label: callers could make any number of them.
    assert value(server, "headrace_requests_total", route=route, service="-", code="422") == 1
    assert "lost" not in server.get("/metrics").content.decode()


def test_counts_outlive_the_process_that_counted(serve: Callable[..., ServerProcess]) -> None:
    server = serve()
    assert server.lookup(["shops:*"], {"shop": ["a"]}).status == 200
    before = server.get("/v1/status").json["process"]
    server.signal(signal.SIGHUP)
    server.wait_for(lambda: server.get("/v1/status").json["process"] != before, "another process answers")
    assert value(server, "headrace_requests_total", route="/v1/lookup", service="-", code="200") == 1


def test_freshness_is_that_of_the_store(server: ServerProcess) -> None:
    labels = {"topic": "orders-topic", "partition": "0"}
    assert value(server, "headrace_applied_offset", **labels) == 2
    assert value(server, "headrace_newest_event_timestamp_seconds", **labels) == 140e-6
    assert value(server, "headrace_newest_record_timestamp_seconds", **labels) == 140e-6


def test_what_workers_say_of_themselves(serve: Callable[..., ServerProcess], own_shop: Path) -> None:
    server = serve()
    assert not any(name.startswith("headrace_worker") for name, _ in samples(server))
    heart = Heart(own_shop / ".headrace" / "workers")
    heart.beat(WorkerState.RUNNING, dead_letters=3, lag={"orders-topic[0]": 12})
    assert value(server, "headrace_worker_up", worker=heart.worker) == 1
    assert value(server, "headrace_worker_dead_letters", worker=heart.worker) == 3
    assert value(server, "headrace_worker_lag", topic="orders-topic", partition="0") == 12
    (worker,) = server.get("/v1/status").json["workers"]
    assert (worker["pid"], worker["dead_letters"]) == (os.getpid(), 3)
