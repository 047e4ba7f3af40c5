"""Latency of online lookups: headrace on LMDB and on Redis beside Feast on SQLite and on Redis.

    python -m benchmarks.lookup [--quick] [--rounds N] [--json]

All sides look up the same features of the same users, to Python values (`to_dict()`). Ours are windows over tiles,
computed at the lookup's now; Feast's are finished numbers that were written to its online store, as many as are asked
for. Every answer is first compared with what is right by an independent computation. Both use one redis-server, on a
port of the loopback and in databases of their own. Notes say what bare round trips to it take.

The last measure is how long the slowest lookup in a hundred takes while a worker's store half writes to the same store
at full speed, from a process of its own.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.lookup_feast import Lookup, feast_lookup
from benchmarks.lookup_store import PLAN, Payments, columns_of, filled, names_of, user_id
from benchmarks.side_by_side import Measure, Options, Report, Skipped, command_line, in_turns
from headrace.config import Clock
from headrace.errors import HeadraceError
from headrace.lookup import FeatureClient
from headrace.records.entity_keys import entity_key
from headrace.stores import open_store

__all__ = ["run"]

_WORKERS_SHARE_OF_CALLS = 10
_ROUND_TRIPS = 200
_OURS = {"SQLite": "LMDB", "Redis": "Redis"}
"""Which store of ours stands beside which of Feast's."""


@dataclass(frozen=True)
class _Size:
    """A size of request.

    Attributes:
        rows: Its rows.
        view: The view whose features are asked for.
        features: How many those are.
        calls: How many requests a round has.
        target: How many times faster than Feast ours should be.
    """

    rows: int
    view: str
    features: int
    calls: int
    target: float

    @property
    def name(self) -> str:
        return f"{self.rows}×{self.features}"


_SIZES = (_Size(1, "ten", 10, 400, 3), _Size(100, "ten", 10, 60, 15), _Size(100, "fifty", 50, 25, 15))


def run(options: Options) -> Report:
    """Compare the stores.

    Args:
        options: How.
    """
    events, users = (3_000, 100) if options.quick else (200_000, 1_000)
    payments = Payments(events, users, time.time_ns() // 1000)
    right = {
        (view, user_id(user)): payments.features(view, user) for view in PLAN.views for user in range(payments.users)
    }
    notes: list[str] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace")))
        port = _started(stack, partial(_redis_server, folder), notes)
        sides = _our_sides(stack, folder, port, payments) | _feasts(stack, folder, port, right, notes)
        requests = {size: _requests(size, users, options.quick) for size in _SIZES}
        for name, look_up in sides.items():
            _assert_right(name, look_up, right, requests)
        if port is not None:
            notes += [_bare_round_trips(port, size, requests[size]) for size in _SIZES[:2]]
        measures = [one for size in _SIZES for one in _beside_feast(size, sides, requests[size], options.rounds)]
        for store, url in _beside_a_writer(folder, port).items():
            measures += _disturbed(store, url, payments, requests, options, notes)
    sizes: dict[str, int | str] = {"events": events, "users": users, "partitions": 4}
    return Report("lookup", sizes, measures, notes)


def _our_sides(stack: ExitStack, folder: Path, port: int | None, payments: Payments) -> dict[str, Lookup]:
    urls = {"LMDB": f"lmdb:{folder / 'online'}"} | ({} if port is None else {"Redis": f"redis://127.0.0.1:{port}/1"})
    sides: dict[str, Lookup] = {}
    for name, url in urls.items():
        client = FeatureClient(plan=PLAN, store=stack.enter_context(filled(url, payments, Clock.RECORD)))
        sides[f"headrace {name}"] = partial(_our_lookup, client)
    return sides


def _our_lookup(client: FeatureClient, view: str, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Sequence[Any]]:
    return client.get_online_features(_ASKED[view], rows).to_dict()


Right = Mapping[tuple[str, str], Sequence[float | None]]
"""By view and user the features that are right."""

_ASKED = {view: [f"{view}:{name}" for name in names_of(view)] for view in PLAN.views}


def _feasts(stack: ExitStack, folder: Path, port: int | None, right: Right, notes: list[str]) -> dict[str, Lookup]:
    stores = {"SQLite": {"type": "sqlite", "path": str(folder / "feast.db")}}
    if port is not None:
        stores["Redis"] = {"type": "redis", "connection_string": f"127.0.0.1:{port},db=0"}
    try:
        import pandas as pd
    except ImportError:
        notes.append("Feast is not installed: pip install 'headrace[feast]'.")
        return {}
    finished = {
        view: pd.DataFrame(
            [
                {"user_id": user, **dict(zip(names_of(view), row, strict=True))}
                for (of, user), row in right.items()
                if of == view
            ]
        )
        for view in PLAN.views
    }
    sides: dict[str, Lookup] = {}
    for name, settings in stores.items():
        made = _started(stack, partial(_feast, folder / f"feast-{name}", settings, finished), notes)
        if made is not None:
            sides[f"Feast {name}"] = made
    return sides


@contextmanager
def _feast(folder: Path, settings: Mapping[str, str], finished: Mapping[str, Any]) -> Iterator[Lookup]:
    yield feast_lookup(folder, settings, finished)


def _started(stack: ExitStack, start: Any, notes: list[str]) -> Any:
    """What a block gives, kept until the stack ends; None, with a note, where it cannot run here."""
    try:
        return stack.enter_context(start())
    except Skipped as why:
        notes.append(f"{why}.")
        return None


def _requests(size: _Size, users: int, quick: bool) -> list[list[dict[str, Any]]]:
    dice = np.random.default_rng(size.rows)
    calls = 3 if quick else size.calls
    return [
        [{"user_id": user_id(user)} for user in dice.choice(users, size.rows, replace=False).tolist()]
        for _ in range(calls)
    ]


def _assert_right(
    side: str, look_up: Lookup, right: Right, requests: Mapping[_Size, list[list[dict[str, Any]]]]
) -> None:
    """Refuse a side that does not answer every request as the payments say."""
    for size, asked in requests.items():
        for rows in asked:
            found = look_up(size.view, rows)
            columns = [found[column] for column in columns_of(size.view)]
            for number, row in enumerate(rows):
                got = [column[number] for column in columns]
                same = all(_same(one, other) for one, other in zip(got, right[size.view, row["user_id"]], strict=True))
                assert same, f"{side}: {row} has {got}, and {right[size.view, row['user_id']]} is right."


def _same(found: Any, right: float | None) -> bool:
    if right is None or found is None:
        # Feast is written from a data frame, where what is missing is NaN.
        return right is None and (found is None or found != found)
    return bool(abs(found - right) <= 1e-9 * abs(right))


def _beside_feast(
    size: _Size, sides: Mapping[str, Lookup], requests: list[list[dict[str, Any]]], rounds: int
) -> Iterator[Measure]:
    timed = {name: partial(_median_ms, look_up, size.view, requests) for name, look_up in sides.items()}
    found = in_turns(timed, rounds)
    for feasts, ours in _OURS.items():
        pair = {name: found[name] for name in (f"headrace {ours}", f"Feast {feasts}") if name in found}
        if len(pair) == 2:
            what = f"{size.name} features, {ours} beside Feast on {feasts}"
            yield Measure(what, "ms", pair, f"headrace {ours}", f"Feast {feasts}", target=size.target)


def _bare_round_trips(port: int, size: _Size, requests: list[list[dict[str, Any]]]) -> str:
    """What no lookup from this Redis can be faster than: a PING, and a GET of as many bytes as a lookup reads."""
    import redis

    view = PLAN.views[size.view].hash
    asked = [entity_key([row["user_id"]]) for row in requests[0]]
    with open_store(f"redis://127.0.0.1:{port}/1", writable=False) as store:
        found = store.lookup({view: asked}).records[view]
    read = sum(map(len, found.records))
    with redis.Redis(port=port, db=3) as client:
        client.set("as-large", bytes(read))
        ping, get = (_median_call_ms(call) for call in (client.ping, partial(client.get, "as-large")))
        client.delete("as-large")
    return (
        f"Bare round trips to this Redis: PING {ping:.3f} ms; a GET of {read / 1000:,.1f} kB, as {size.name} features "
        f"read, {get:.3f} ms."
    )


def _median_call_ms(call: Callable[[], object]) -> float:
    found: list[float] = []
    for _ in range(_ROUND_TRIPS):
        began = time.perf_counter()
        call()
        found.append((time.perf_counter() - began) * 1000)
    return float(np.median(found))


def _median_ms(look_up: Lookup, view: str, requests: list[list[dict[str, Any]]]) -> float:
    return float(np.median(_times_ms(look_up, view, requests)))


def _times_ms(look_up: Lookup, view: str, requests: list[list[dict[str, Any]]]) -> list[float]:
    found: list[float] = []
    for rows in requests:
        began = time.perf_counter()
        look_up(view, rows)
        found.append((time.perf_counter() - began) * 1000)
    return found


def _beside_a_writer(folder: Path, port: int | None) -> dict[str, str]:
    lmdb = {"LMDB": f"lmdb:{folder / 'written'}"}
    return lmdb if port is None else lmdb | {"Redis": f"redis://127.0.0.1:{port}/2"}


def _disturbed(
    store: str,
    url: str,
    payments: Payments,
    requests: Mapping[_Size, list[list[dict[str, Any]]]],
    options: Options,
    notes: list[str],
) -> Iterator[Measure]:
    """The slowest lookup in a hundred beside three times the middle one, while a worker writes."""
    repeat = 1 if options.quick else _WORKERS_SHARE_OF_CALLS
    with filled(url, payments, Clock.SYSTEM) as opened, _writer(url, payments) as stop:
        look_up = partial(_our_lookup, FeatureClient(plan=PLAN, store=opened))
        measures = []
        for size, asked in requests.items():
            times = [_times_ms(look_up, size.view, asked * repeat) for _ in range(options.rounds)]
            limit, slowest = f"3 × p50, {store}", f"p99, {store}"
            sides = {
                slowest: [float(np.percentile(one, 99)) for one in times],
                limit: [3 * float(np.median(one)) for one in times],
            }
            what = f"{size.name} features while a worker writes to {store}: p99 beside 3 × p50"
            measures.append(Measure(what, "ms", sides, slowest, limit, target=1))
        notes.append(f"The worker beside the lookups on {store} applied {stop():,.0f} events/s.")
    yield from measures


@contextmanager
def _writer(url: str, payments: Payments) -> Iterator[Any]:
    """A process that writes to a store. Call the result to end it; it returns the events applied per second."""
    command = [sys.executable, "-m", "benchmarks.lookup_writer", url, str(payments.users), str(payments.events)]
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n", "The writer did not start."
        yield lambda: float(worker.communicate("\n")[0])
        worker.kill()


@contextmanager
def _redis_server(folder: Path) -> Iterator[int]:
    """A redis-server without persistence, on a free port of the loopback: Feast cannot use a Unix socket."""
    program = shutil.which("redis-server")
    if program is None:
        why = "redis-server is not installed; on Debian: apt-get install redis-server"
        raise Skipped(why)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    log = folder / "redis.log"
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    server = subprocess.Popen([*command, "--dir", str(folder), "--loglevel", "warning", "--logfile", str(log)])
    try:
        _wait_for(port, server, log)
        yield port
    finally:
        server.kill()
        server.wait()


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    from headrace.stores.redis.store import RedisStore

    deadline = time.monotonic() + 10
    while True:
        try:
            RedisStore(f"redis://127.0.0.1:{port}/0").close()
        except HeadraceError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text()) from None
            time.sleep(0.02)
        else:
            return


if __name__ == "__main__":
    command_line("lookup", run)
