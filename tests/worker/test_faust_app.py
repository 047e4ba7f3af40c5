"""What the app does when its consumer is moved: rounds of before are left, for they come again."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from headrace.config import Project
from headrace.errors import StaleWriteError
from headrace.events.raw_records import RawRecords
from headrace.events.source_partition import SourcePartition
from headrace.worker.faust_app import StreamApp
from headrace.worker.faust_setup import create_app
from headrace.worker.pipeline import RoundSummary
from headrace.worker.rounds import Fetch
from headrace.worker.startup import Runtime
from tests.worker.shop import PLAN, record

SALES = SourcePartition("sales", 0)


@dataclass
class KeptPipeline:
    """Takes down what it is given; refuses rounds once, where told to."""

    calls: list[str] = field(default_factory=list)
    refuses: bool = False
    unlogged_events: int = 0
    has_unlogged: bool = False

    def flush(self) -> dict[SourcePartition, int]:
        return {}

    def process(self, fetches: list[Fetch]) -> RoundSummary:
        self.calls.append(f"round {fetches[0].round}")
        if self.refuses:
            self.refuses = False
            msg = "The write was refused."
            raise StaleWriteError(msg)
        return RoundSummary(len(fetches[0].records), 0, 0)

    def reload(self) -> None:
        self.calls.append("reload")


class ReadyHandoff:
    """A handoff with a partition that waits to be joined."""

    is_ready = True

    def __init__(self) -> None:
        self.joined = 0

    def resume(self) -> None:
        pass

    def build(self, _owns: Any) -> bool:
        return False

    def join(self, _owns: Any) -> None:
        self.joined += 1

    def settle(self, _owns: Any) -> None:
        pass


class MovedConsumer:
    """A consumer as the app knows it: moving it asks for the offsets to resume at."""

    epoch = 3

    def __init__(self, app: StreamApp) -> None:
        self._app = app

    def assignment(self) -> set[SourcePartition]:
        return {SALES}

    def rebalance(self) -> None:
        self.epoch += 1

    async def perform_seek(self) -> None:
        self.epoch += 1
        await self._app.resume_offsets([SALES])
        self.epoch += 1


@pytest.fixture
def pipeline() -> KeptPipeline:
    return KeptPipeline()


@pytest.fixture
def app(tmp_path: Path, pipeline: KeptPipeline, monkeypatch: pytest.MonkeyPatch) -> StreamApp:
    (tmp_path / "headrace.toml").write_text("[headrace]\n")
    runtime = SimpleNamespace(
        bootstrap="127.0.0.1:9",
        pipeline=pipeline,
        handoff=ReadyHandoff(),
        resume_offsets=lambda sources: dict.fromkeys(sources, 0),
    )
    made = create_app(Project.load(tmp_path), plan=PLAN, runtime=cast(Runtime, runtime))
    consumer = MovedConsumer(made)
    monkeypatch.setattr(StreamApp, "fetches", property(lambda _: consumer))
    return made


def fetched(number: int, epoch: int, follows: int | None = None) -> list[Fetch]:
    records = RawRecords.of([record(number, "a", number)])
    return [Fetch(SALES, records, number, ends_round=True, epoch=epoch, follows=follows)]


def run(*steps: Any) -> None:
    async def one_after_another() -> None:
        for step in steps:
            await step()

    asyncio.run(one_after_another())


def test_round_read_before_a_rebalance_is_left_for_it_comes_again(app: StreamApp, pipeline: KeptPipeline) -> None:
    run(
        lambda: app.apply_round(fetched(1, epoch=3)),
        lambda: app.fetches.perform_seek(),
        lambda: app.apply_round(fetched(2, epoch=3)),  # was on its way when the consumer was moved
        lambda: app.apply_round(fetched(3, epoch=4)),  # was fetched while it was being moved
        lambda: app.apply_round(fetched(4, epoch=5)),
    )
    assert pipeline.calls == ["round 1", "reload", "round 4"]


def test_refused_round_has_the_consumer_moved_and_is_counted(app: StreamApp, pipeline: KeptPipeline) -> None:
    pipeline.refuses = True
    run(
        lambda: app.apply_round(fetched(1, epoch=3)),
        lambda: app.apply_round(fetched(2, epoch=3)),
        lambda: app.apply_round(fetched(1, epoch=5)),
    )
    assert pipeline.calls == ["round 1", "reload", "round 1"]
    assert app.stats.to_json()["refused_writes"] == 1
    assert app.stats.events == 1


def test_fetch_behind_a_hole_is_read_again(app: StreamApp, pipeline: KeptPipeline) -> None:
    run(
        lambda: app.apply_round(fetched(1, epoch=3)),
        lambda: app.apply_round(fetched(2, epoch=3, follows=1)),
        lambda: app.apply_round(fetched(4, epoch=3, follows=3)),  # the fetch with offset 3 was dropped on its way
        lambda: app.apply_round(fetched(3, epoch=5)),
        lambda: app.apply_round(fetched(4, epoch=5, follows=3)),
    )
    assert pipeline.calls == ["round 1", "round 2", "reload", "round 3", "round 4"]


def test_first_fetch_of_an_epoch_that_was_dropped_is_missed(app: StreamApp, pipeline: KeptPipeline) -> None:
    run(
        lambda: app.apply_round(fetched(1, epoch=3)),
        lambda: app.fetches.perform_seek(),
        lambda: app.apply_round(fetched(2, epoch=5, follows=1)),
        lambda: app.apply_round(fetched(1, epoch=7)),
    )
    assert pipeline.calls == ["round 1", "reload", "reload", "round 1"]


def test_nothing_is_read_anew_from_the_log_while_a_round_is_being_applied(
    app: StreamApp, pipeline: KeptPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = pipeline.process

    def slowly(fetches: list[Fetch]) -> RoundSummary:
        time.sleep(0.1)
        return process(fetches)

    monkeypatch.setattr(pipeline, "process", slowly)

    async def both() -> None:
        applying = asyncio.create_task(app.apply_round(fetched(1, epoch=3)))
        await asyncio.sleep(0.02)
        await app.fetches.perform_seek()
        await applying

    asyncio.run(both())
    assert pipeline.calls == ["round 1", "reload"]


def test_version_joins_no_rounds_until_it_is_settled_where_reading_starts(app: StreamApp) -> None:
    handoff, consumer = cast(ReadyHandoff, app.running.handoff), cast(MovedConsumer, app.fetches)

    async def steps() -> None:
        await app.hand_off()
        assert handoff.joined == 0  # its partitions' worker before may yet log what it has applied
        await app.fetches.perform_seek()
        await app.hand_off()
        assert handoff.joined == 1
        consumer.rebalance()
        await app.hand_off()
        assert handoff.joined == 1

    asyncio.run(steps())
