"""`headrace serve` beside `feast serve`: requests per second, and how long they take at a fixed rate.

    python -m benchmarks.serve [--quick] [--rounds N] [--json]

Both servers have one worker process, and look up the same features of the same users on the same machine: ours are
windows over tiles, computed at the request's now; Feast's are finished numbers. Both answer each request of the run
once before it is timed, and the answers are compared with what is right.

1×10 is measured as fast as 8 connections get answers. The table of 1, 10, 50 and 100 rows of 50 features is measured at
a fixed rate, the same for both sides: half of what Feast answers per second at that size. The load comes from a process
of its own (`benchmarks.http_load`).
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.http_load import Load, Measured, measure
from benchmarks.lookup_feast import feast_repo
from benchmarks.lookup_store import PLAN, Payments, columns_of, filled, names_of, user_id
from benchmarks.side_by_side import Measure, Options, Report, command_line, in_turns
from headrace.plan import write_plan
from headrace.state import LocalState

__all__ = ["run"]

_START_S = 120.0
_BODIES = 100
"""How many different requests are asked in turn."""
_CONNECTIONS = 8

_Body = Mapping[str, Any]
"""A request, as JSON-ready values."""

_FEASTS_FORMAT = {"full_feature_names": True}

Right = Mapping[tuple[str, str], Sequence[float | None]]
"""By view and user the features that are right."""


@dataclass(frozen=True)
class _Side:
    """A server.

    Attributes:
        port: Its port.
        path: The path that looks features up.
        values: The features of each row, from an answer, by column.
        more: Further fields of each request.
    """

    port: int
    path: str
    values: Callable[[Any], Mapping[str, Sequence[Any]]]
    more: Mapping[str, Any] = field(default_factory=dict)

    def load(self, bodies: Sequence[_Body], seconds: float, rate: float | None = None) -> Measured:
        texts = [json.dumps({**body, **self.more}) for body in bodies]
        return measure(Load(self.port, self.path, texts, seconds, _CONNECTIONS, rate))

    def ask(self, body: _Body) -> Mapping[str, Sequence[Any]]:
        text = json.dumps({**body, **self.more})
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request("POST", self.path, text, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status == 200, content
            return self.values(json.loads(content))


def run(options: Options) -> Report:
    """Compare the servers.

    Args:
        options: How.
    """
    events, users, seconds = (3_000, 100, 0.5) if options.quick else (200_000, 1_000, 5.0)
    payments = Payments(events, users, time.time_ns() // 1000)
    right = {
        (view, user_id(user)): payments.features(view, user) for view in PLAN.views for user in range(payments.users)
    }
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace")))
        sides = {
            **stack.enter_context(_ours(folder / "ours", payments)),
            "feast serve": stack.enter_context(_feast(folder / "feast", right)),
        }
        measures = [*_fastest(sides, right, users, seconds, options.rounds)]
        for rows in (1, 10, 50, 100):
            measures += _at_a_rate(sides, right, rows, users, seconds, options.rounds)
    sizes: dict[str, int | str] = {"events": events, "users": users, "connections": _CONNECTIONS, "workers": 1}
    return Report("serve", sizes, measures)


def _fastest(sides: Mapping[str, _Side], right: Right, users: int, seconds: float, rounds: int) -> Iterator[Measure]:
    bodies = _bodies("ten", 1, users)
    _assert_right(sides, "ten", bodies, right)
    found = in_turns({name: partial(side.load, bodies, seconds) for name, side in sides.items()}, rounds)
    rates = {name: [one.per_second for one in measured] for name, measured in found.items()}
    slowest = {name: [one.p99_ms for one in measured] for name, measured in found.items()}
    yield Measure(
        "1×10 features, 8 connections",
        "requests/s",
        rates,
        "headrace serve",
        "feast serve",
        more_is_better=True,
        target=3,
    )
    yield Measure("1×10 features, 8 connections: p99", "ms", slowest, "headrace serve", "feast serve", target=1)


def _at_a_rate(
    sides: Mapping[str, _Side], right: Right, rows: int, users: int, seconds: float, rounds: int
) -> Iterator[Measure]:
    bodies = _bodies("fifty", rows, users)
    _assert_right(sides, "fifty", bodies, right)
    rate = sides["feast serve"].load(bodies, seconds).per_second / 2
    found = in_turns({name: partial(side.load, bodies, seconds, rate) for name, side in sides.items()}, rounds)
    for what in ("p50", "p99"):
        times = {name: [getattr(one, f"{what}_ms") for one in measured] for name, measured in found.items()}
        name = f"{rows}×50 features at {rate:,.0f} requests/s: {what}"
        yield Measure(name, "ms", times, "headrace serve", "feast serve", target=1)


def _bodies(view: str, rows: int, users: int) -> list[_Body]:
    dice = np.random.default_rng(rows)
    features = [f"{view}:{name}" for name in names_of(view)]
    return [
        {
            "features": features,
            "entities": {"user_id": [user_id(user) for user in dice.choice(users, rows, replace=False).tolist()]},
        }
        for _ in range(_BODIES)
    ]


def _assert_right(sides: Mapping[str, _Side], view: str, bodies: Sequence[_Body], right: Right) -> None:
    """Refuse a side that does not answer every request as the payments say."""
    for side, server in sides.items():
        for body in bodies:
            found = server.ask(body)
            for number, user in enumerate(body["entities"]["user_id"]):
                got = [found[column][number] for column in columns_of(view)]
                wanted = right[view, user]
                assert all(map(_same, got, wanted)), f"{side}: {user} has {got}, and {wanted} is right."


def _same(found: Any, right: float | None) -> bool:
    # Feast is written from a data frame, where what is missing is NaN; in its JSON that is the text "NaN".
    missing = found in (None, "NaN") or found != found
    return missing if right is None else not missing and abs(found - right) <= 1e-9 * abs(right)


@contextmanager
def _ours(folder: Path, payments: Payments) -> Iterator[dict[str, _Side]]:
    """`headrace serve` with LMDB: its own route, and the one in Feast's format."""
    folder.mkdir()
    (folder / "headrace.toml").write_text('[headrace]\nclock = "record"\n')
    write_plan(PLAN, LocalState(folder / ".headrace").file("plan.json"))
    port = _free_port()
    command = [sys.executable, "-m", "headrace.cli", "serve", "--project", str(folder), "--port", str(port)]
    with (
        filled(f"lmdb:{folder / '.headrace' / 'online'}", payments, "record"),
        _running(command, folder, port, "/ready"),
    ):
        yield {
            "headrace serve": _Side(port, "/v1/lookup", lambda answer: answer["features"]),
            "headrace serve, in Feast's format": _Side(port, "/get-online-features", _feast_values, _FEASTS_FORMAT),
        }


@contextmanager
def _feast(folder: Path, right: Right) -> Iterator[_Side]:
    """`feast serve` with its SQLite store: no access log, and a worker that is not replaced every 1,000 requests."""
    import pandas as pd

    finished = {
        view: pd.DataFrame(
            {"user_id": user, **dict(zip(names_of(view), row, strict=True))}
            for (of, user), row in right.items()
            if of == view
        )
        for view in PLAN.views
    }
    feast_repo(folder, {"type": "sqlite", "path": str(folder / "online.db")}, finished)
    port = _free_port()
    command = [sys.executable, "-m", "feast.cli.cli", "--chdir", str(folder), "serve", "--port", str(port)]
    command += ["--workers", "1", "--no-access-log", "--max-requests", "0", "--registry_ttl_sec", "3600"]
    with _running(command, folder, port, "/health"):
        yield _Side(port, "/get-online-features", _feast_values, _FEASTS_FORMAT)


def _feast_values(answer: Any) -> dict[str, list[Any]]:
    names = answer["metadata"]["feature_names"]
    return {name: result["values"] for name, result in zip(names, answer["results"], strict=True)}


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def _running(command: Sequence[str], folder: Path, port: int, path: str) -> Iterator[None]:
    """A server process, ready to answer."""
    log = folder / "server.log"
    with log.open("w") as out:
        server = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + _START_S
        while not _answers(port, path):
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text())
            time.sleep(0.05)
        yield
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def _answers(port: int, path: str) -> bool:
    try:
        with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            connection.request("GET", path)
            return connection.getresponse().status == 200
    except OSError:
        return False


if __name__ == "__main__":
    command_line("serve", run)
