"""What a part of the proof runs on: a broker, a store, producers and a project, all of its own and gone afterwards."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from headrace.config import Project
from headrace.events.dead_letter import DeadLetter, dead_letter_topic
from headrace.kafka import EmbeddedBroker, KafkaConnection, end_offsets, ensure_topics
from headrace.kafka.committed_records import read_records
from headrace.plan import write_plan
from headrace.worker.handoff_requests import Request, ask
from proofs.crash_check import Findings, check_all, truth_of
from proofs.crash_producers import Producers
from proofs.crash_project import PARTITIONS, PLAN, TOPIC, plan_of, write_project
from proofs.crash_workers import CrashError, Workers, wait_for

__all__ = ["CrashBed"]

SESSION_TIMEOUT_S = 2.0


class CrashBed:
    """A deployment to crash.

    Args:
        seed: What the producers draw from.
        rate: Events per second.
        on_redis: Whether the store is a Redis server, for several workers, instead of LMDB.
        keep: Where to leave the project's folder; None removes it.
    """

    def __init__(self, seed: int, rate: float, *, on_redis: bool = False, keep: Path | None = None) -> None:
        self._seed = seed
        self._rate = rate
        self._on_redis = on_redis
        self._keep = keep
        self.longer = 1

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = self._keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-crash-")))
            root = folder / "project"
            broker = stack.enter_context(EmbeddedBroker(folder / "broker.json"))
            store = stack.enter_context(_RedisServer(folder)).url if self._on_redis else "lmdb"
            write_project(root, broker.address, store, SESSION_TIMEOUT_S)
            ensure_topics(broker.connection, PLAN.sources.values(), PARTITIONS)
            self.bootstrap = broker.address
            self.root = root
            self.producers = Producers(broker.address, self._seed, self._rate)
            stack.callback(self.producers.stop)
            self.workers = Workers(root, store if self._on_redis else f"lmdb:{root / '.headrace' / 'online'}")
            stack.callback(self.workers.close)
            self.producers.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def all_move(self, timeout_s: float = 240.0) -> None:
        """Wait until every partition has applied something from now on: each has a worker, and the group is stable."""
        before = self.workers.applied()

        def has_moved() -> bool:
            applied = self.workers.applied()
            return len(applied) == PARTITIONS and all(applied[at] > before.get(at, -1) for at in applied)

        wait_for(has_moved, "Not every partition was read on", timeout_s)

    def change(self, longer: int) -> None:
        """Apply other definitions of the views, and ask for them to be built and served.

        Args:
            longer: Which; see `crash_project.meanings_of`.
        """
        self.longer = longer
        plan = plan_of(longer)
        project = Project.load(self.root)
        write_plan(plan, project.plan_file)
        for view in plan.views.values():
            ask(project.requests, Request(view=view, source=plan.source_of(view)))

    def wait_live(self, timeout_s: float = 240.0) -> None:
        """Wait until what was asked for last is served."""
        wanted = {view.name: view.hash for view in plan_of(self.longer).views.values()}
        wait_for(lambda: wanted.items() <= self.workers.live().items(), "The views did not go live", timeout_s)

    def settle(self) -> Findings:
        """Stop producing, let a last worker drain the topic alone, and check everything."""
        self.producers.stop()
        self.workers.start(None, "--until-end").finish(240)
        truth = truth_of(self.bootstrap)
        return check_all(self.root, truth, self.producers.ledger, self._letters(), self._seed, self.longer)

    def _letters(self) -> list[tuple[int, int]]:
        """The position of each dead letter, as often as it was written."""
        ends = end_offsets(KafkaConnection.of(self.bootstrap), [dead_letter_topic(TOPIC)])
        found: list[tuple[int, int]] = []
        for record in read_records(
            KafkaConnection.of(self.bootstrap), {place: (0, end) for place, end in ends.items()}
        ):
            letter = DeadLetter.from_record(
                key=record.key, value=record.value, headers=record.headers, timestamp_ms=record.timestamp
            )
            found.append((letter.partition, letter.offset))
        return found


class _RedisServer:
    """A Redis server on a free port of the loopback, with an append-only file as a deployment has it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Self:
        binary = shutil.which("redis-server")
        if binary is None:
            msg = "redis-server is not installed, and several workers need one; on Debian: apt-get install redis-server"
            raise CrashError(msg)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{port}/0"
        log = self._folder / "redis.log"
        options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "yes"]
        files = ["--dir", str(self._folder), "--logfile", str(log), "--loglevel", "warning"]
        self._process = subprocess.Popen([binary, *options, *files])  # noqa: S603 our own command
        wait_for(self._answers, "redis-server did not start", 15)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url) as client:
                return bool(client.ping())
        except redis.exceptions.ConnectionError:
            return False
