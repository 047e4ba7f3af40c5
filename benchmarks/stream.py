"""Events per second from Kafka to readable features: headrace's worker, a hand-written loop, Python's stream engines.

    python -m benchmarks.stream [--quick] [--json] [--rounds N] [--broker HOST:PORT] [--sides A,B,…]

All sides read the same topics (`workload.py`) and keep count, sum, mean, min and max per user over an hour by the
minute and a day by the quarter of an hour. The clock runs from the first fetch consumed to the last feature readable in
the store. Each run's answers for a sample of users are compared with numpy's before any rate is told. Ours validates
every event with pydantic, writes LMDB (or Redis) and the Delta log; what each peer does is in its file under `peers/`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path

from redis import Redis

from benchmarks import servers, workers
from benchmarks.peers.protocol import PACKED, Job, Run
from benchmarks.side_by_side import Measure, Options, Report, Skipped, command_line, in_turns
from benchmarks.workload import PARTITIONS, VIEW, Payments, assert_features, fill, payments_plan, user_id, write_project
from headrace import FeatureClient, Project
from headrace.config import Clock

_ROOT = Path(__file__).parents[1]
_SAMPLE = 50
_TIMEOUT_S = 900
_RUNS = count(1)

OURS = "headrace"
HANDWRITTEN = "hand-written loop"


@dataclass(frozen=True)
class Side:
    """One side.

    Attributes:
        module: Its file under `peers/`.
        needs: The package without which it cannot run.
        size: Which topic it reads: all events, fewer, or very few.
        store: For ours, where the features go.
        clock: For ours, the project's clock.
        target: How many times faster ours should be.
    """

    module: str
    needs: str
    size: str = "full"
    store: str = "lmdb"
    clock: Clock = Clock.RECORD
    target: dict[str, float] | None = None

    @property
    def is_ours(self) -> bool:
        """Whether headrace runs it."""
        return self.module == "ours"

    @property
    def needs_redis(self) -> bool:
        """Whether its features go to Redis: ours as asked for, those of every peer."""
        return not self.is_ours or self.store == "redis"


SIDES = {
    OURS: Side("ours", "faust"),
    f"{OURS} by the system clock": Side("ours", "faust", clock=Clock.SYSTEM),
    f"{OURS} on Redis": Side("ours", "faust", store="redis"),
    HANDWRITTEN: Side("handwritten", "orjson", target={"1k": 1.0, "100k": 1.2}),
    "Bytewax": Side("bytewax", "bytewax"),
    "Pathway": Side("pathway", "pathway"),
    "Quix Streams": Side("quix", "quixstreams", size="short"),
    "Faust with Tables": Side("faust_tables", "faust", size="tiny", target={"1k": 1000.0, "100k": 1000.0}),
}

NOTES = [
    "Ours runs on the record clock, so that windows and pruning go by the stream's own time, as they do for the peers. "
    "On the system clock, tiles older than the windows are pruned at once, and the journal of known_at is written.",
    "The hand-written loop, Bytewax, Pathway and Quix Streams keep the same tiles by hand: the engines' own sliding "
    "windows put every event into 60 + 96 windows, and some finish none before it has closed. The topic of Quix "
    "Streams has fewer events, and so fewer tiles; Pathway's clock begins when its first rows reach Python.",
    "A peer's features are those at its newest event when the user was last touched, and are compared with numpy's at "
    "that time: a number that was finished when it was written ages in the store. Ours are computed at the lookup.",
]


def run(options: Options) -> Report:
    """Run the benchmark.

    Args:
        options: Its options; `broker` and `sides` are its own.

    Raises:
        Skipped: None of the sides can run.
    """
    wanted: list[str] | None = options.more.get("sides")
    sides, notes = runnable(wanted or list(SIDES))
    if not sides:
        raise Skipped(" ".join(notes))
    with _bench(options, with_redis=any(side.needs_redis for side in sides.values())) as bench:
        measures: list[Measure] = []
        for label, keys, skewed in (("1k", 1_000, True), ("100k", 100_000, False)):
            topics = bench.topics(label, keys, skewed, {side.size for side in sides.values()})
            runs = {name: partial(bench.rate, name, side, topics[side.size]) for name, side in sides.items()}
            found = in_turns(runs, options.rounds)
            measures += compared(label, found)
            if label == "1k" and not wanted and bench.socket:
                measures.append(
                    workers.two_against_one(bench.scratch, bench.broker, bench.socket, topics["full"][1], options)
                )
    sizes: dict[str, int | str] = {"events": bench.sizes["full"], "partitions": PARTITIONS, "rounds": options.rounds}
    sizes |= {"broker": options.more.get("broker") or "the embedded Tansu"}
    return Report("stream", sizes, measures, [*NOTES, *notes])


def compared(label: str, found: dict[str, list[float]]) -> Iterator[Measure]:
    """Ours against each peer, and our other sides against the loop, or against ours if the loop is not there."""
    for name, rates in found.items():
        target = (SIDES[name].target or {}).get(label)
        if not SIDES[name].is_ours and OURS in found:
            yield _against(f"headrace ÷ {name}, {label} keys", {OURS: found[OURS], name: rates}, target)
        elif name not in (OURS, HANDWRITTEN) and HANDWRITTEN in found:
            target = 0.6 if SIDES[name].store == "redis" else None
            sides = {name: rates, HANDWRITTEN: found[HANDWRITTEN]}
            yield _against(f"{name} ÷ {HANDWRITTEN}, {label} keys", sides, target)
        elif name not in (OURS, HANDWRITTEN) and OURS in found:
            yield _against(f"{name} ÷ {OURS}, {label} keys", {name: rates, OURS: found[OURS]}, None)
            yield _against(f"{OURS} ÷ {name}, {label} keys", {OURS: found[OURS], name: rates}, None)


def _against(what: str, sides: dict[str, list[float]], target: float | None) -> Measure:
    ours, peer = sides
    return Measure(what, "events/s", sides, ours, peer, more_is_better=True, target=target)


def runnable(names: list[str]) -> tuple[dict[str, Side], list[str]]:
    """The sides that can run here, and a note for each that cannot."""
    sides: dict[str, Side] = {}
    notes: list[str] = []
    for name in names:
        try:
            if SIDES[name].needs_redis:
                servers.redis_program()
            interpreter(SIDES[name])
        except Skipped as why:
            notes.append(f"{name} was left out: {why}")
        else:
            sides[name] = SIDES[name]
    return sides, notes


def interpreter(side: Side) -> str:
    """The Python that runs a side: one of its own, where its packages conflict with ours, or this one.

    Args:
        side: The side.

    Raises:
        Skipped: Its package is in neither.
    """
    own = Path(sys.prefix) / "peers" / side.module / "bin" / "python"
    if own.exists():
        return str(own)
    if side.needs not in sys.modules and importlib.util.find_spec(side.needs) is None:
        why = f"{side.needs} is not installed; `make bench` sets up an environment that has it."
        raise Skipped(why)
    return sys.executable


@dataclass
class _Bench:
    """A broker, a Redis (its socket is "" if no side needs one), and what is measured on them."""

    scratch: Path
    broker: str
    socket: str
    sizes: dict[str, int]
    quick: bool

    def topics(self, label: str, keys: int, skewed: bool, sizes: set[str]) -> dict[str, tuple[str, Payments]]:
        """Fill a topic of each size."""
        keys = keys // 10 if self.quick else keys
        filled: dict[str, tuple[str, Payments]] = {}
        for size in sizes | {"full"}:
            payments = Payments(self.sizes[size], keys, skewed, end_ms=int(time.time() * 1000))
            topic = f"payments-{label}-{size}-{next(_RUNS)}"
            fill(self.broker, topic, payments)
            filled[size] = topic, payments
        return filled

    def rate(self, name: str, side: Side, filled: tuple[str, Payments]) -> float:
        """Run a side and check its answers; its events per second."""
        topic, payments = filled
        number = next(_RUNS)
        folder = self.scratch / f"run-{number}"
        if self.socket:
            with Redis(unix_socket_path=self.socket) as redis:
                redis.flushall()
        job = Job(self.broker, topic, PARTITIONS, payments.events, f"bench-{time.time_ns()}", self.socket, str(folder))
        if side.is_ours:
            store = "lmdb" if side.store == "lmdb" else f"unix://{self.socket}?db=0"
            plan = payments_plan(topic)
            write_project(
                folder, plan, self.broker, clock=side.clock, store=store, group=job.group, session_timeout=2.0
            )
        else:
            folder.mkdir()
        done = _in_a_process(name, side, job)
        assert done.events == payments.events, f"{name} has counted {done.events:,} events of {payments.events:,}."
        if side.is_ours:
            _check_ours(name, folder, payments)
        elif not done.more.get("checked"):
            self._check_peer(name, payments)
        shutil.rmtree(folder)
        rate = done.events / done.seconds
        print(f"{topic}: {name}: {rate:,.0f} events/s {done.more or ''}", file=sys.stderr, flush=True)
        return rate

    def _check_peer(self, name: str, payments: Payments) -> None:
        users = payments.sample(_SAMPLE)
        with Redis(unix_socket_path=self.socket) as redis:
            found: list[bytes | None] = redis.mget([user_id(user) for user in users])
        newest = 0
        for user, packed in zip(users, found, strict=True):
            assert packed is not None, f"{name} has no features of {user_id(user)}."
            now_ms, *values = PACKED.unpack(packed)
            assert_features(name, payments, user, now_ms, values)
            newest = max(newest, now_ms)
        assert newest == payments.end_ms, f"{name} has not come to the last event."


def _in_a_process(name: str, side: Side, job: Job) -> Run:
    command = [interpreter(side), "-m", f"benchmarks.peers.{side.module}", json.dumps(asdict(job))]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=_TIMEOUT_S)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        msg = f"{name} has failed:\n{done.stderr[-4_000:]}"
        raise RuntimeError(msg)
    ran = Run(**json.loads(done.stdout.splitlines()[-1]))
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return replace(ran, more={**ran.more, "process_cpu_s": round(cpu, 2)})


def _check_ours(name: str, folder: Path, payments: Payments) -> None:
    users = payments.sample(_SAMPLE)
    with FeatureClient(Project.load(folder)) as client:
        served = client.get_online_features([f"{VIEW}:*"], {"user_id": [user_id(user) for user in users]})
    columns = [values for column, values in served.to_dict().items() if column.startswith(f"{VIEW}__")]
    for row, user in enumerate(users):
        assert_features(name, payments, user, served.at_us // 1000, [column[row] for column in columns])


@contextmanager
def _bench(options: Options, *, with_redis: bool) -> Iterator[_Bench]:
    sizes = {"full": 500_000, "short": 100_000, "tiny": 200}
    if options.quick:
        sizes = {"full": 8_000, "short": 4_000, "tiny": 10}
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        servers.redis_server(Path(folder)) if with_redis else nullcontext("") as socket,
        servers.broker(Path(folder), options.more.get("broker")) as address,
    ):
        yield _Bench(Path(folder), address, socket, sizes, options.quick)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--broker", metavar="HOST:PORT", help="an Apache Kafka that runs; else the embedded broker")
    parser.add_argument("--sides", metavar="A,B", type=_sides, help=f"only these: {', '.join(SIDES)}")


def _sides(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in SIDES]
    if unknown:
        why = f"there is no side {unknown[0]!r}; there are: {', '.join(SIDES)}"
        raise argparse.ArgumentTypeError(why)
    return names


if __name__ == "__main__":
    command_line("stream", run, more=_options)
