"""Metrics for Prometheus, over all processes of a server.

prometheus-client keeps the numbers of each process in files of one folder, if `PROMETHEUS_MULTIPROC_DIR` names it when
the package is imported. Any process then reports the sum over all of them, also of those that ended.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

__all__ = ["FOLDER_VARIABLE", "MANY", "Metrics"]

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

MANY = "-"
"""The label of requests that name features instead of a service."""

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class _Children(NamedTuple):
    """The metrics of requests of one route and service with one status code."""

    requests: Any
    seconds: Any
    rows: Any


class Metrics:
    """Counts requests.

    `service` is a feature service that exists, or `MANY`: names that callers make up never become labels.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "headrace_requests", "Requests answered.", ("route", "service", "code"), registry=self.registry
        )
        self._seconds = Histogram(
            "headrace_request_seconds",
            "How long requests took in the server.",
            ("route", "service"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._rows = Counter("headrace_rows", "Rows of answers.", ("route", "service"), registry=self.registry)
        self._children: dict[tuple[str, str, int], _Children] = {}

    def count(self, route: str, service: str, status: int, seconds: float, rows: int) -> None:
        """Count a request.

        Args:
            route: The route's path.
            service: The feature service asked for, or `MANY`.
            status: The status code of the answer.
            seconds: How long it took.
            rows: The rows of the answer.
        """
        key = route, service, status
        children = self._children.get(key)
        if children is None:
            children = self._children[key] = _Children(
                self._requests.labels(route, service, str(status)),
                self._seconds.labels(route, service),
                self._rows.labels(route, service),
            )
        children.requests.inc()
        children.seconds.observe(seconds)
        if rows:
            children.rows.inc(rows)

    def text(self, more: Iterable[Collector] = ()) -> bytes:
        """All metrics as Prometheus reads them.

        Args:
            more: Collectors of values that are only known when somebody asks.
        """
        if FOLDER_VARIABLE in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        else:
            registry = self.registry
        own = CollectorRegistry()
        for collector in more:
            own.register(collector)
        return bytes(generate_latest(registry) + generate_latest(own))
