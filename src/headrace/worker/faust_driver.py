"""The Faust app that drives a worker: its tasks call the plain object in `headrace.worker.worker`."""

from __future__ import annotations

import asyncio
import gc
import logging
import ssl
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import faust

from headrace.config import Clock, Project
from headrace.errors import HeadraceError, WorkerError
from headrace.kafka import KafkaConnection, project_connection
from headrace.plan import Plan, read_plan
from headrace.worker.faust_transport import RoundConsumer, RoundTransport
from headrace.worker.rounds import Round
from headrace.worker.startup import prepare
from headrace.worker.worker import Worker

__all__ = ["FaustWorker", "StreamApp", "create_app"]

logger = logging.getLogger(__name__)

_AHEAD = 4
"""How many rounds may wait to be applied: they are decoded meanwhile."""
_TICK_S, _TICK_TO_END_S = 0.1, 0.02
_BUILD_S = 0.01
_REQUESTS_S = 1.0
_BEAT_S = 0.5
_CHECK_S = 5.0
_LEAVE_S = 8.0
"""How long the last rounds may take to the log and their offsets to the broker, in seconds, before the group is left
without."""


class StreamApp(faust.App):
    """A worker's Faust app.

    Attributes:
        opens: Opens the worker when the app starts, unless it was given.
        connection: The broker.
        by_record_time: Whether rounds are cut at a common record time (the record clock).
        failure: Why it stopped by itself, if it did.
        on_end: What to call once everything asked for has been applied.
        on_failure: What to call at once, from any thread, with what makes the worker end.
        pulse: When its event loop last turned, on the monotonic clock.
    """

    logger = logging.getLogger("faust.headrace.app")
    opens: Callable[[], Worker]
    connection: KafkaConnection
    by_record_time: bool = False
    failure: BaseException | None = None
    on_end: Callable[[], None] = staticmethod(lambda: None)
    on_failure: Callable[[BaseException], None] = staticmethod(lambda _error: None)
    pulse: float | None = None

    def __init__(self, *args: Any, worker: Worker | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._worker = worker
        self._rounds: asyncio.Queue[Round] = asyncio.Queue()

    @property
    def worker(self) -> Worker:
        """The worker of an app that has started."""
        if self._worker is None:
            msg = "The worker has not started."
            raise HeadraceError(msg)
        return self._worker

    @property
    def rounds(self) -> RoundConsumer:
        """The consumer."""
        consumer = self.consumer
        if not isinstance(consumer, RoundConsumer):
            msg = f"The worker's consumer is a {type(consumer).__name__}; it must be headrace's."
            raise TypeError(msg)
        return consumer

    async def on_start(self) -> None:
        """Open both stores before the first round, where that has not been done."""
        if self._worker is None:
            self._worker = await asyncio.to_thread(self.opens)
        await super().on_start()

    async def on_stop(self) -> None:
        """Wait for nothing that is away."""
        if self._worker is not None:
            self._worker.end_waits()
        await super().on_stop()

    @property
    def has_room(self) -> bool:
        """Whether few enough rounds wait to be applied."""
        return self._rounds.qsize() < _AHEAD

    def queue(self, round_: Round) -> None:
        """A round was read: it is decoded while those before it are applied."""
        self.worker.pipeline.decode_ahead(round_)
        self._rounds.put_nowait(round_)

    async def apply_next(self) -> None:
        """Apply the round that comes next."""
        round_ = await self._rounds.get()
        if not await asyncio.to_thread(self.worker.apply, round_):
            await self.rounds.perform_seek()

    async def leave(self) -> None:
        """Bring both stores up to date, and let Kafka know, as long as the worker is in its group."""
        if self._worker is not None and self.failure is None:
            await asyncio.to_thread(self._worker.leave)
            if self._worker.life.was_assigned:
                await self.rounds.force_commit()

    def thread_is_gone(self, error: BaseException | None) -> None:
        """The consumer's thread has ended though nobody asked it to; called from that thread."""
        self.on_failure(error or WorkerError("The worker's connection to its consumer group has ended by itself."))

    async def fail(self, error: BaseException) -> None:
        """Stop the worker: going on would skip events."""
        self.failure = self.failure or error
        self.on_failure(self.failure)
        await self.crash(error)

    def _new_transport(self) -> RoundTransport:
        return RoundTransport(self.conf.broker_consumer, self, loop=self.loop)


def create_app(project: Project, *, plan: Plan | None = None, worker: Worker | None = None) -> StreamApp:
    """The Faust app of a project's worker.

    Args:
        project: The project.
        plan: Its plan; None reads it.
        worker: The worker; None opens one when the app starts (`faust -A streams.worker worker`).

    Returns:
        The app.

    Raises:
        PlanError: There is no plan.
        BrokerUnavailableError: No broker is configured or running.
    """
    plan = plan or read_plan(project.plan_file)
    connection = project_connection(project)
    app = StreamApp(
        project.group,
        worker=worker,
        broker=[f"kafka://{server}" for server in connection.bootstrap.split(",")],
        broker_client_id=connection.client_id,
        broker_credentials=_credentials(connection),
        store="memory://",
        datadir=project.state / "faust",
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        stream_wait_empty=False,
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=int(project.metadata_refresh * 1000),
        broker_session_timeout=project.session_timeout,
        broker_heartbeat_interval=project.session_timeout / 6,
        broker_commit_interval=0.5,
    )
    app.connection = connection
    app.opens = lambda: prepare(project, plan, connection)
    app.by_record_time = project.clock is Clock.RECORD
    app.topics.add(app.topic(*(source.topic for source in plan.sources.values())))

    @_task_of(app)
    async def apply_rounds() -> None:
        """Apply rounds in the order in which they were read."""
        while not app.should_stop:
            await app.apply_next()

    @_task_of(app)
    async def tick() -> None:
        """Flush when it is due, and end where an end was set."""
        while not app.should_stop:
            await app.sleep(_TICK_S if app.worker.until is None else _TICK_TO_END_S)
            await asyncio.to_thread(app.worker.tick)
            if app.worker.is_done:
                while await asyncio.to_thread(app.worker.hand_off):
                    pass
                await app.rounds.force_commit()
                app.on_end()
                return

    @_task_of(app)
    async def hand_off_when_asked() -> None:
        """Build versions of views that were asked for, beside the rounds."""
        more = False
        while not app.should_stop:
            await app.sleep(_BUILD_S if more else _REQUESTS_S)
            more = await asyncio.to_thread(app.worker.hand_off)

    @_task_of(app)
    async def check() -> None:
        """A broker that was replaced has other topics under the same names, and a store may be emptied."""
        while not app.should_stop:
            await app.sleep(_CHECK_S)
            await asyncio.to_thread(app.worker.check)

    @_task_of(app)
    async def beat() -> None:
        """Give a sign of life, as long as the rounds go on."""
        while not app.should_stop:
            app.pulse = time.monotonic()
            caught_up = app.worker.is_caught_up(app.rounds.rounds.end)
            app.worker.life.beat(
                is_moved=not app.rounds.flow_active,
                is_caught_up=caught_up,
                dead_letters=app.worker.stats.dead_letters,
                lag=app.worker.lag(app.rounds.rounds.end),
            )
            await app.sleep(_BEAT_S)

    return app


def _task_of(app: StreamApp) -> Callable[[Callable[[], Any]], None]:
    """Make a function a task of the app.

    Where it raises, the worker ends: Faust would restart it and skip what it had in hand.
    """

    def decorate(function: Callable[[], Any]) -> None:
        @wraps(function)
        async def run() -> None:
            try:
                await function()
            except Exception as error:
                await app.fail(error)
                raise

        app.task(run)

    return decorate


class FaustWorker(faust.Worker):
    """Faust's worker without its banner and spinner; it can be asked to end as a signal would.

    Args:
        app: The app.
        on_leave: What to call when it begins to end.
    """

    logger = logging.getLogger("faust.headrace.worker")
    app: StreamApp

    def __init__(self, app: StreamApp, on_leave: Callable[[], None]) -> None:
        super().__init__(app, quiet=True, override_logging=False, redirect_stdouts=False)
        self.spinner = None
        self._on_leave = on_leave
        self._left: asyncio.Future[None] | None = None
        app.on_end = self._on_sigterm

    async def on_startup_finished(self) -> None:
        """Leave what was made while starting (both stores, the plan, models) out of every later look for cycles."""
        await super().on_startup_finished()
        gc.collect()
        gc.freeze()

    def _on_sigint(self) -> None:
        self._on_sigterm()  # Faust's own shouts on standard error

    def _on_sigterm(self) -> None:
        if self._left is None:
            self._on_leave()
            self._left = asyncio.ensure_future(self._leave())

    async def _leave(self) -> None:
        try:
            await asyncio.wait_for(self.app.leave(), _LEAVE_S)
        except Exception as error:  # whatever it is, it must not keep the worker from ending
            logger.warning("The last rounds are left to the next start: %s: %s", type(error).__name__, error)
        super()._on_sigterm()


def _credentials(connection: KafkaConnection) -> faust.SASLCredentials | ssl.SSLContext | None:
    """How aiokafka encrypts and signs in."""
    context = connection.ssl_context()
    if not connection.uses_sasl:
        return context
    return faust.SASLCredentials(
        username=connection.username,
        password=connection.secret_password,
        mechanism=str(connection.sasl_mechanism),
        ssl_context=context,
    )
