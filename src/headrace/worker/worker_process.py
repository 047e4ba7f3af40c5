"""Running a worker in this process: `headrace stream`."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from headrace.config import Project
from headrace.errors import HeadraceError, RetryableError, WorkerError
from headrace.events.source_partition import SourcePartition
from headrace.kafka import KafkaConnection, project_connection
from headrace.kafka.broker_errors import unavailable
from headrace.kafka.topics import end_offsets
from headrace.plan import read_plan
from headrace.worker import failpoints
from headrace.worker.exit_reasons import explained
from headrace.worker.faust_driver import FaustWorker, StreamApp, create_app
from headrace.worker.heap import keep_heap
from headrace.worker.heartbeat import Heart
from headrace.worker.liveness import Life
from headrace.worker.startup import prepare
from headrace.worker.stats import WorkerStats
from headrace.worker.topic_identity import NOTHING_ACCEPTED, Accept
from headrace.worker.watchdog import Watchdog
from headrace.worker.worker import Worker

__all__ = ["run_worker", "what_is_wrong"]

logger = logging.getLogger(__name__)

_WATCH_S = 0.25
_START_S = 90.0
"""How long the group may take to give a worker its partitions, in seconds: it waits up to 60 s for silent members."""
_LOOP_S = 30.0
"""How long the event loop may stand still, in seconds: after that the group has given the worker's partitions to
others."""
_AWAY = 4
_GC_THRESHOLDS = 100_000, 20, 20
"""Events are freed by reference counting; with Python's default (700) the collector would walk a round's young objects
some thirty times."""


def run_worker(
    project: Project,
    *,
    until_end: bool = False,
    rebuild: bool = False,
    accept: Accept = NOTHING_ACCEPTED,
    watch: Callable[[WorkerStats], None] | None = None,
    watchdog: Watchdog | None = None,
) -> WorkerStats:
    """Run a worker until it is asked to stop, or has read everything.

    Args:
        project: The project.
        until_end: Stop once everything that the topics hold now has been applied and logged.
        rebuild: Fill the online store again from the log first.
        accept: What of a topic's losses a person has accepted.
        watch: Called a few times a second with the statistics, from another thread.
        watchdog: What ends the process if the worker does not end; None makes one for the time until this returns.

    Returns:
        What it did.

    Raises:
        ConfigError: `HEADRACE_FAILPOINT` names no failpoint.
        HeadraceError: What `prepare` raises, or what made the worker stop.
    """
    failpoints.arm(os.environ.get(failpoints.VARIABLE))
    plan = read_plan(project.plan_file)
    connection = project_connection(project)
    guard = watchdog or Watchdog(_say)
    heart = Heart(project.workers_path)
    life = Life(heart)
    logger.info("Worker %s starts: project %r, plan %s, broker %s.", heart.worker, plan.project, plan.hash, connection)
    try:
        opens = partial(prepare, project, plan, connection, rebuild=rebuild, accept=accept, on_step=life.recovering)
        stats = _run_until_it_ends(opens, project, connection, life, guard, watch, until_end=until_end)
    except Exception as error:
        reported = explained(error, project, connection)
        guard.end(reported)
        heart.end(reported.what)
        if reported is error:
            raise
        logger.debug("The worker ended:", exc_info=error)
        raise reported from error
    except BaseException:  # interrupted
        heart.end(None)
        raise
    finally:
        if watchdog is None:
            guard.done()
    heart.end(None)
    logger.info("Ended: %s events, %s dead letters.", f"{stats.events:,}", f"{stats.dead_letters:,}")
    return stats


def _run_until_it_ends(
    opens: Callable[[], Worker],
    project: Project,
    connection: KafkaConnection,
    life: Life,
    watchdog: Watchdog,
    watch: Callable[[WorkerStats], None] | None,
    *,
    until_end: bool,
) -> WorkerStats:
    worker = opens()
    try:
        worker.life = life
        if until_end:
            worker.until = _ends(connection, [source.topic for source in worker.plan.sources.values()])
            # Not the store's positions: a worker that was killed may have left events there that the log lacks.
            worker.resume(worker.until)
        app = create_app(project, plan=worker.plan, worker=worker)
        app.on_failure = lambda error: watchdog.end(explained(error, project, connection))
        with _watching(worker.stats, watch):
            _run(app, project, connection, watchdog)
        failure = app.failure or watchdog.error
        if failure is not None:
            raise failure
        worker.pipeline.flush()
    finally:
        worker.close()
    return worker.stats


def _say(error: HeadraceError) -> int:
    logger.error("%s", error)
    return _AWAY if isinstance(error, RetryableError) else 1


def _run(app: StreamApp, project: Project, connection: KafkaConnection, watchdog: Watchdog) -> None:
    keep_heap()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    runner = FaustWorker(app, on_leave=watchdog.end)
    watchdog.watch(partial(what_is_wrong, app, runner, project, connection))
    app.worker.life.joining(project.group)
    code: object = 0
    try:
        runner.execute_from_commandline()
    except SystemExit as ended:  # Faust ends its worker this way, whatever the reason
        code = ended.code
    except Exception as error:
        app.failure = app.failure or error
    finally:
        gc.unfreeze()  # DuckDB's binding complains of objects that are still frozen at the interpreter's end

    app.failure = app.failure or runner.crash_reason or app.crash_reason
    if app.failure is None and code:
        app.failure = WorkerError(f"Faust ended the worker with code {code}, and said no more.")


def what_is_wrong(
    app: StreamApp, runner: FaustWorker, project: Project, connection: KafkaConnection
) -> HeadraceError | None:
    """What the worker cannot recover from, as far as can be seen from outside its event loop."""
    if app.failure is not None:
        return explained(app.failure, project, connection)
    crashed = next((one for one in (app, runner) if one.crashed), None)
    if crashed is not None:
        reason = crashed.crash_reason or WorkerError("A part of the worker has crashed.")
        return explained(reason, project, connection)
    if app.pulse is not None and time.monotonic() - app.pulse > _LOOP_S:
        return WorkerError(f"The worker's event loop has stood still for {_LOOP_S:g} s.")
    life = app.worker.life
    if not life.was_assigned:
        if life.age_s > _START_S:
            why = f"the group {project.group!r} has given this worker no partitions in {_START_S:g} s"
            return unavailable(connection, why)
        life.still_joining()  # Faust starts its tasks, the beating one among them, with the first partitions
    return None


def _ends(connection: KafkaConnection, topics: list[str]) -> dict[SourcePartition, int]:
    return {SourcePartition(*source): end for source, end in end_offsets(connection, topics, committed=True).items()}


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
