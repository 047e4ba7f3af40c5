"""Metrics of the stream behind the store: how fresh it is, and what the workers say of themselves.

They are read when somebody asks for metrics: positions from the store, the rest from the workers' signs of life in the
state folder. Where the store is away, or no worker shares the folder, they are left out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from headrace.errors import HeadraceError
from headrace.serving.context import ServingContext
from headrace.worker.heartbeat import read_heartbeats

__all__ = ["StreamCollector"]

logger = logging.getLogger(__name__)


class StreamCollector(Collector):
    """Collects the stream's metrics.

    Args:
        context: What the routes share.
    """

    def __init__(self, context: ServingContext) -> None:
        self._context = context

    def collect(self) -> Iterator[Metric]:
        """The metrics, as prometheus-client asks for them."""
        yield from self._positions()
        yield from self._workers()

    def _positions(self) -> Iterator[Metric]:
        labels = ["topic", "partition"]
        offsets = GaugeMetricFamily("headrace_applied_offset", "Last offset applied.", labels=labels)
        events = GaugeMetricFamily(
            "headrace_newest_event_timestamp_seconds", "Time of the newest event applied.", labels=labels
        )
        records = GaugeMetricFamily(
            "headrace_newest_record_timestamp_seconds", "Kafka timestamp of the newest record applied.", labels=labels
        )
        try:
            with self._context.using() as opened:
                found = opened.store.positions()
        except HeadraceError as error:
            logger.debug("Metrics leave out the store's positions: %s", error.what)
            return
        for source, position in sorted(found.items()):
            values = [source.topic, str(source.partition)]
            offsets.add_metric(values, position.offset)
            events.add_metric(values, position.event_ts_us / 1e6)
            records.add_metric(values, position.record_ts_us / 1e6)
        yield from (offsets, events, records)

    def _workers(self) -> Iterator[Metric]:
        now = time.time()
        beats = [beat for beat in read_heartbeats(self._context.project.workers_path) if not beat.is_gone]
        healthy = GaugeMetricFamily(
            "headrace_worker_up", "1 if the worker makes progress, 0 if it hangs.", labels=["worker"]
        )
        dead = GaugeMetricFamily(
            "headrace_worker_dead_letters", "Dead letters since the worker started.", labels=["worker"]
        )
        lag = GaugeMetricFamily(
            "headrace_worker_lag", "Records that the worker has still to apply.", labels=["topic", "partition"]
        )
        for beat in beats:
            healthy.add_metric([beat.worker], 0 if beat.is_stale(now) else 1)
            if beat.dead_letters is not None:
                dead.add_metric([beat.worker], beat.dead_letters)
            for source, behind in (beat.lag or {}).items():
                topic, _, partition = source.removesuffix("]").rpartition("[")
                lag.add_metric([topic, partition], behind)
        yield from (healthy, dead, lag)
