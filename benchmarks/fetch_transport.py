"""Records per second through a Faust agent: stock Faust, one event per record, and headrace's transport, one message per fetch.

    python benchmarks/fetch_transport.py [--events 100000] [--json]

Both read the same topic on the embedded broker, in turns, and must count the same records and the same sum of offsets before times are
compared. Absolute rates mean little on a shared machine; the ratio does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

_ROUNDS = 3


def main() -> None:
    """Run both sides in turns and print them side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--side", nargs=4, metavar=("SIDE", "BROKER", "GROUP", "EVENTS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        side, broker, group, events = arguments.side
        print(json.dumps(_consume(side, broker, group, int(events))))
        return
    found = _compare(arguments.events)
    if arguments.json:
        print(json.dumps(found))
        return
    for side in ("stock", "fetch"):
        print(f"{side:>6}: {found[side]:>12,.0f} records/s")
    print(f" ratio: {found['ratio']:>12.1f}")


def _compare(events: int) -> dict[str, float]:
    from kafka import KafkaProducer

    from headrace.broker import EmbeddedBroker

    best = {"stock": 0.0, "fetch": 0.0}
    with tempfile.TemporaryDirectory() as folder, EmbeddedBroker(Path(folder) / "broker.json") as broker:
        producer = KafkaProducer(bootstrap_servers=broker.address, batch_size=1 << 18, linger_ms=20)
        for _ in range(events):
            producer.send("numbers", b"x" * 200, partition=0)
        producer.flush()
        producer.close()
        for turn in range(_ROUNDS):
            answers = {side: _in_a_process(side, broker.address, f"{side}-{turn}", events) for side in best}
            counts = {side: (answer["records"], answer["sum"]) for side, answer in answers.items()}
            assert set(counts.values()) == {(events, events * (events - 1) // 2)}, f"the sides disagree: {counts}"
            for side, answer in answers.items():
                best[side] = max(best[side], events / answer["seconds"])
    return {**best, "ratio": best["fetch"] / best["stock"]}


def _in_a_process(side: str, broker: str, group: str, events: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--side", side, broker, group, str(events)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _consume(side: str, broker: str, group: str, events: int) -> dict[str, Any]:
    import time

    import faust

    from headrace.stream.transport import FetchApp

    kind = FetchApp if side == "fetch" else faust.App
    app = kind(
        group,
        broker=f"kafka://{broker}",
        store="memory://",
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        stream_wait_empty=False,
        consumer_auto_offset_reset="earliest",
        broker_max_poll_records=5_000,
        broker_session_timeout=6.0,
        broker_heartbeat_interval=1.0,
    )
    numbers = app.topic("numbers", key_serializer="raw", value_serializer="raw")
    seen: dict[str, Any] = {"records": 0, "sum": 0, "seconds": 0.0}
    begun: list[float] = []

    @app.agent(numbers)
    async def count(stream: Any) -> None:
        async for event in stream.events():
            if not begun:
                begun.append(time.monotonic())
            offsets = [record.offset for record in event.value.records] if side == "fetch" else [event.message.offset]
            seen["records"] += len(offsets)
            seen["sum"] += sum(offsets)
            if seen["records"] >= events:
                seen["seconds"] = time.monotonic() - begun[0]
                worker.end()

    class Worker(faust.Worker):
        """A worker that can be told to end."""

        def end(self) -> None:
            self._on_sigterm()

    worker = Worker(app, quiet=True, override_logging=False, redirect_stdouts=False)
    worker.spinner = None
    with suppress(SystemExit):  # Faust ends its worker this way
        worker.execute_from_commandline()
    return seen


if __name__ == "__main__":
    main()
