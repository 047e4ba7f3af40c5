"""Running a worker in this process: `headrace stream`."""

from __future__ import annotations

import gc
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import faust

from headrace.broker import broker_address
from headrace.broker.topics import end_offsets
from headrace.config import Project
from headrace.errors import HeadraceError
from headrace.online import SourcePartition
from headrace.plan import read_plan
from headrace.stream import failpoints
from headrace.stream.app import StreamApp, create_app
from headrace.stream.heap import keep_heap
from headrace.stream.incarnations import NOTHING_ACCEPTED, Accept
from headrace.stream.start import prepare
from headrace.stream.stats import WorkerStats

__all__ = ["run_worker"]

logger = logging.getLogger(__name__)

_WATCH_S = 0.25
_LEAVE_S = 20.0
"""Leaving in good order takes a second or two. Below the thirty that Kubernetes and systemd wait before they kill."""
_GC_THRESHOLDS = 100_000, 20, 20
"""Events are freed by reference counting; Python's default (700) walks the young objects of a fetch some thirty times for nothing."""


class _Worker(faust.Worker):
    """Faust's worker without its banner and spinner; it can be asked to end as a signal would."""

    logger = logging.getLogger("faust.headrace.worker")

    def __init__(self, app: StreamApp) -> None:
        super().__init__(app, quiet=True, override_logging=False, redirect_stdouts=False)
        self.spinner = None
        self.leaving = Leaving(_LEAVE_S)
        app.on_end = self._on_sigterm

    async def on_startup_finished(self) -> None:
        """Leave what was made while starting (both stores, the plan, models) out of every later look for cycles."""
        await super().on_startup_finished()
        gc.collect()
        gc.freeze()

    def _on_sigint(self) -> None:
        self._on_sigterm()  # Faust's own shouts on standard error

    def _on_sigterm(self) -> None:
        self.leaving.begin()
        super()._on_sigterm()


class Leaving:
    """Sees to it that a process that was asked to end does.

    A connection that breaks while Faust leaves its group can end aiokafka's thread before its answer, for which Faust then waits for good. To end
    all the same is safe at any moment: what is not logged yet is read again.

    Args:
        within_s: How long leaving in good order may take, in seconds.
    """

    def __init__(self, within_s: float) -> None:
        self._timer = threading.Timer(within_s, self._end)
        self._timer.daemon = True
        self._within_s = within_s

    def begin(self) -> None:
        """Leaving begins; again is once."""
        with suppress(RuntimeError):  # it has begun already
            self._timer.start()

    def done(self) -> None:
        """It has been left in good order."""
        self._timer.cancel()

    def _end(self) -> None:
        logger.warning(
            "The worker has not left its group in %g s and ends without. Nothing is lost by it.", self._within_s
        )
        logging.shutdown()
        os._exit(0)


def run_worker(
    project: Project,
    *,
    until_end: bool = False,
    rebuild: bool = False,
    accept: Accept = NOTHING_ACCEPTED,
    watch: Callable[[WorkerStats], None] | None = None,
) -> WorkerStats:
    """Run a worker until it is told to stop, or has read everything.

    Args:
        project: The project.
        until_end: Stop once everything that the topics hold now has been applied and logged.
        rebuild: Fill the online store anew from the log first.
        accept: What of a topic's losses a person has said yes to.
        watch: Called a few times a second with the statistics, from another thread.

    Returns:
        What it did.

    Raises:
        ConfigError: `HEADRACE_FAILPOINT` names no failpoint.
        HeadraceError: What `prepare` raises, or what made the worker stop.
    """
    failpoints.arm(os.environ.get(failpoints.VARIABLE))
    plan = read_plan(project.plan_path)
    bootstrap = broker_address(project)
    runtime = prepare(project, plan, bootstrap, rebuild=rebuild, accept=accept)
    try:
        until = _ends(bootstrap, [source.topic for source in plan.sources.values()]) if until_end else None
        app = create_app(project, plan=plan, runtime=runtime, until=until)
        # Not the store's positions: a worker that was killed may have left events there that the log lacks.
        app.stats.next_offsets.update(runtime.resume_offsets(until or ()))
        with _watching(app.stats, watch):
            _run(app)
        if app.failure is not None:
            raise app.failure
        runtime.pipeline.flush()
    finally:
        runtime.close()
    return app.stats


def _run(app: StreamApp) -> None:
    keep_heap()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    worker = _Worker(app)
    with suppress(SystemExit):  # Faust ends its worker this way, whatever the reason
        try:
            worker.execute_from_commandline()
        except HeadraceError:
            if app.failure is None:
                raise
        finally:
            worker.leaving.done()
            gc.unfreeze()  # what is still frozen at the interpreter's end is never freed, and DuckDB's binding complains of it


def _ends(bootstrap: str, topics: list[str]) -> dict[SourcePartition, int]:
    return {SourcePartition(*source): end for source, end in end_offsets(bootstrap, topics, committed=True).items()}


class _watching:  # noqa: N801 a context manager, read as a verb
    def __init__(self, stats: WorkerStats, watch: Callable[[WorkerStats], None] | None) -> None:
        self._stats = stats
        self._watch = watch
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> None:
        if self._watch is not None:
            self._thread = threading.Thread(target=self._run, args=(self._watch,), daemon=True)
            self._thread.start()

    def _run(self, watch: Callable[[WorkerStats], None]) -> None:
        while not self._stop.wait(_WATCH_S):
            watch(self._stats)

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
