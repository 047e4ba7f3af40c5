"""Records per second through Faust: headrace's transport, which reads rounds past Faust, beside stock Faust.

    python -m benchmarks.fetch_transport [--quick] [--json] [--rounds N]

Both read the same topic of raw bytes on the embedded broker with the same settings, each run in a process and a
consumer group of its own, and must count the records that they were given and the sum of their offsets; stock Faust is
given fewer. Nothing else is done, so this is what the transport costs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, cast

import faust
from confluent_kafka import Producer

from benchmarks.side_by_side import Measure, Options, Report, command_line, in_turns
from headrace.events.source_partition import SourcePartition
from headrace.kafka import EmbeddedBroker, KafkaConnection
from headrace.worker.faust_driver import StreamApp
from headrace.worker.liveness import Life
from headrace.worker.rounds import Round
from headrace.worker.worker import Place, Worker

_OURS, _STOCK = "headrace StreamApp", "stock Faust"
_ROOT = Path(__file__).parents[1]
_TOPIC = "numbers"
_VALUE = b"x" * 200
_CHILD = "--side"
_RUNS = count(1)


def run(options: Options) -> Report:
    """Compare the two transports.

    Args:
        options: How often, and how much.
    """
    # The first fetch only starts the clock, and one of ours may bring 50,000 records.
    sizes = {_OURS: 120_000, _STOCK: 1_000} if options.quick else {_OURS: 500_000, _STOCK: 30_000}
    with tempfile.TemporaryDirectory() as folder, EmbeddedBroker(Path(folder) / "broker.json") as broker:
        _fill(broker.address, sizes[_OURS])
        sides = {side: partial(_in_a_process, side, broker.address, events) for side, events in sizes.items()}
        found = in_turns(sides, options.rounds)
    for side, answers in found.items():
        right = sizes[side], sizes[side] * (sizes[side] - 1) // 2
        for answer in answers:
            counted = answer["records"], answer["offsets"]
            assert counted == right, f"{side} counted (records, sum of offsets) {counted}, not {right}"
    rates = {side: [answer["rate"] for answer in answers] for side, answers in found.items()}
    measure = Measure("records through Faust", "records/s", rates, _OURS, _STOCK, more_is_better=True)
    told: dict[str, int | str] = {f"records for {side}": events for side, events in sizes.items()}
    return Report("fetch_transport", {**told, "rounds": options.rounds}, [measure])


def _fill(broker: str, events: int) -> None:
    producer = Producer({"bootstrap.servers": broker, "linger.ms": 20, "queue.buffering.max.messages": events})
    for _ in range(events):
        producer.produce(_TOPIC, _VALUE, partition=0)
    assert producer.flush(60) == 0, "The broker has not taken all records."


def _in_a_process(side: str, broker: str, events: int) -> dict[str, Any]:
    """One run: a Faust worker takes over its process's signals and event loop, so it gets one of its own."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.fetch_transport",
        _CHILD,
        side,
        broker,
        f"{side.split()[0]}-{next(_RUNS)}",
        str(events),
    ]
    done = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _consume(side: str, broker: str, group: str, events: int) -> dict[str, Any]:
    """Read the topic to its end with one side."""
    settings: dict[str, Any] = {
        "broker": f"kafka://{broker}",
        "store": "memory://",
        "topic_disable_leader": True,
        "topic_allow_declare": False,
        "web_enabled": False,
        "stream_wait_empty": False,
        "consumer_auto_offset_reset": "earliest",
        "broker_max_poll_records": min(5_000, events // 5),  # several polls, as the first only starts the clock
        "broker_session_timeout": 3.0,
        "broker_heartbeat_interval": 0.5,
    }
    tally = _Tally(events)

    def add(records: int, offsets: int) -> None:
        if tally.add(records, offsets):
            worker.end()

    app: faust.App
    if side == _OURS:
        ours = _Counting(group, worker=cast(Worker, _FromTheBeginning()), **settings)
        ours.count, ours.connection, app = add, KafkaConnection.of(broker), ours
        app.topics.add(app.topic(_TOPIC))
    else:
        app = faust.App(group, **settings)

        async def read_records(stream: Any) -> None:
            async for event in stream.events():
                add(1, event.message.offset)

        app.agent(app.topic(_TOPIC, key_serializer="raw", value_serializer="raw"))(read_records)
    worker = _Worker(app, quiet=True, override_logging=False, redirect_stdouts=False)
    worker.spinner = None
    with suppress(SystemExit):  # Faust ends its worker this way
        worker.execute_from_commandline()
    return {"records": tally.records, "offsets": tally.offsets, "rate": tally.rate}


class _Counting(StreamApp):
    """Counts rounds as they are read."""

    count: Callable[[int, int], None]

    def queue(self, round_: Round) -> None:
        """Count a round."""
        self.count(len(round_), sum(int(read.records.offsets.sum()) for read in round_.reads.values()))


class _FromTheBeginning:
    """What the transport asks of a worker, where everything is read once from the beginning."""

    def __init__(self) -> None:
        self.life = Life()
        self.epoch = 0
        self.durable: dict[SourcePartition, int] = {}

    def assigned(self, sources: object) -> None:
        """They are read from their beginning."""

    revoked = assigned

    def resume(self, sources: Iterable[SourcePartition]) -> Place:
        """The beginning."""
        return Place(self.epoch, dict.fromkeys(sources, 0))

    def end_waits(self) -> None:
        """It waits for nothing."""


class _Worker(faust.Worker):
    def end(self) -> None:
        self._on_sigterm()


class _Tally:
    """Counts records. Its clock starts with the first message, whose records are left out of the rate."""

    def __init__(self, events: int) -> None:
        self.records = self.offsets = 0
        self._events = events
        self._first = 0
        self._began = self._ended = 0.0

    def add(self, records: int, offsets: int) -> bool:
        """Count a message; whether everything has been read."""
        if not self.records:
            self._began, self._first = time.perf_counter(), records
        self.records += records
        self.offsets += offsets
        if self.records < self._events:
            return False
        self._ended = time.perf_counter()
        return True

    @property
    def rate(self) -> float:
        """Records per second."""
        return (self.records - self._first) / (self._ended - self._began)


if __name__ == "__main__":
    if sys.argv[1:2] == [_CHILD]:
        print(json.dumps(_consume(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))))
    else:
        command_line("fetch_transport", run)
