"""Setting the Faust app up: its settings, the agent that applies rounds, and the tasks beside it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from headrace.config import Project
from headrace.events.source_partition import SourcePartition
from headrace.kafka import broker_address
from headrace.plan import Plan, read_plan
from headrace.worker.faust_app import StreamApp
from headrace.worker.rounds import Fetch
from headrace.worker.startup import Runtime

__all__ = ["create_app"]

_REQUESTS_S = 1.0
_BEAT_S = 0.5
_CHECK_S = 5.0


def create_app(
    project: Project,
    *,
    plan: Plan | None = None,
    runtime: Runtime | None = None,
    until: Mapping[SourcePartition, int] | None = None,
) -> StreamApp:
    """The Faust app of a project's worker.

    Args:
        project: The project.
        plan: Its plan; None reads it.
        runtime: What to run on; None opens it when the app starts (`faust -A streams.worker worker`).
        until: Stop once every partition has been read to these next offsets; None runs for good.

    Returns:
        The app.

    Raises:
        PlanError: There is no plan.
        BrokerUnavailableError: No broker is configured or running.
    """
    plan = plan or read_plan(project.plan_file)
    bootstrap = runtime.bootstrap if runtime else broker_address(project)
    app = StreamApp(
        project.group,
        broker=[f"kafka://{server}" for server in bootstrap.split(",")],
        store="memory://",
        datadir=project.state / "faust",
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        stream_wait_empty=False,
        stream_buffer_maxsize=16,
        consumer_auto_offset_reset="earliest",
        broker_max_poll_records=5_000,
        consumer_max_fetch_size=4 << 20,
        consumer_metadata_max_age_ms=int(project.metadata_refresh * 1000),
        broker_session_timeout=project.session_timeout,
        broker_heartbeat_interval=project.session_timeout / 6,
        broker_commit_interval=0.5,
    )
    app.set_up(project, plan, runtime, until)
    events = app.topic(
        *(source.topic for source in plan.sources.values()), key_serializer="raw", value_serializer="raw"
    )

    @app.agent(events, name="apply")
    async def apply(stream: Any) -> None:
        """Gather each round's fetches and apply them in one commit."""
        gathered: list[Fetch] = []
        async for event in stream.events():
            fetch: Fetch = event.value
            try:
                if gathered and gathered[0].round != fetch.round:
                    # A rebalance swallowed the end of that round; what it holds is applied, what it lacks comes again.
                    await app.apply_round(gathered)
                    gathered = []
                gathered.append(fetch)
                if fetch.ends_round:
                    await app.apply_round(gathered)
                    gathered = []
            except Exception as error:
                # Faust would restart the agent and go on behind the lost round.
                await app.fail(error)
                raise

    @app.task  # type: ignore[untyped-decorator]
    async def flush_when_due() -> None:
        """Append to the log, and stop at the end where one was set."""
        try:
            while not app.should_stop:
                await app.sleep(0.02 if app.until is not None else 0.1)
                if app.runtime is None:
                    continue
                await app.refuse_gap()
                await app.note_others()
                if not app.flush_is_due:
                    continue
                await app.flush()
                if app.at_end and not app.running.pipeline.has_unlogged:
                    while await app.hand_off():
                        pass
                    await app.fetches.force_commit()
                    app.on_end()
                    return
        except Exception as error:
            await app.fail(error)
            raise

    @app.task  # type: ignore[untyped-decorator]
    async def hand_off_when_asked() -> None:
        """Build versions of views that were asked for, beside the rounds."""
        more = False
        try:
            while not app.should_stop:
                await app.sleep(0.01 if more else _REQUESTS_S)
                more = app.runtime is not None and await app.hand_off()
        except Exception as error:
            await app.fail(error)
            raise

    @app.task  # type: ignore[untyped-decorator]
    async def beat() -> None:
        """Give a sign of life, as long as the rounds go on."""
        while not app.should_stop:
            app.pulse = time.monotonic()
            app.life.beat(is_moved=not app.fetches.flow_active, is_caught_up=app.is_caught_up)
            await app.sleep(_BEAT_S)

    @app.timer(_CHECK_S)  # type: ignore[untyped-decorator]
    async def check() -> None:
        """A broker that was replaced has other topics under the same names, and a store may be emptied."""
        try:
            await app.check_topics()
            await app.check_store()
        except Exception as error:
            await app.fail(error)
            raise

    return app
