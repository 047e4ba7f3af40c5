"""What a lookup over HTTP costs the process that asks: our clients beside Feast's RemoteOnlineStore.

    python -m benchmarks.client [--quick] [--rounds N] [--json]

All ask one `headrace serve`, in a process of its own, for the same features of the same users, to Python values
(`to_dict()`); ours in our format, Feast's FeatureStore in Feast's. Every answer is first compared with a lookup in
process, to the bit. What is measured is the CPU time of the process that asks, per request: what a model server pays
for each prediction, whatever the server and the network do.
"""

from __future__ import annotations

import asyncio
import re
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
from headrace import AsyncFeatureClient, FeatureClient, Project
from headrace.config import Clock
from headrace.lookup import FeatureClient as InProcessClient
from headrace.plan import write_plan

__all__ = ["run"]

_OURS, _ASYNC, _FEASTS = "FeatureClient", "AsyncFeatureClient", "Feast RemoteOnlineStore"
_ASKED = {view: [f"{view}:{name}" for name in names_of(view)] for view in PLAN.views}
_LISTENING = re.compile(r"http://[0-9.]+:[0-9]+")


@dataclass(frozen=True)
class _Size:
    """A size of request.

    Attributes:
        rows: Its rows.
        view: The view whose features are asked for.
        calls: How many requests a round has.
        target: How many times less CPU than Feast's ours should take.
    """

    rows: int
    view: str
    calls: int
    target: float | None

    @property
    def name(self) -> str:
        return f"{self.rows}×{len(_ASKED[self.view])}"


_SIZES = (_Size(1, "ten", 400, 5), _Size(10, "ten", 200, None), _Size(100, "fifty", 30, None))


def run(options: Options) -> Report:
    """Compare the clients.

    Args:
        options: How.
    """
    events, users = (3_000, 100) if options.quick else (50_000, 1_000)
    payments = Payments(events, users, time.time_ns() // 1000)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace")))
        project = _project(folder, payments)
        url = stack.enter_context(_server(folder))
        here = stack.enter_context(InProcessClient(project))
        sides: dict[str, Lookup] = {
            _OURS: partial(_ours, stack.enter_context(FeatureClient(url))),
            _ASYNC: stack.enter_context(_asynchronous(url)),
            _FEASTS: _feast(folder, url, users),
        }
        measures = []
        for size in _SIZES:
            requests = _requests(size, users, options.quick)
            _assert_equal(sides, here, size, requests)
            measures.append(_measured(sides, size, requests, options.rounds))
    sizes: dict[str, int | str] = {"events": events, "users": users, "connections": 1}
    return Report("client", sizes, measures)


def _project(folder: Path, payments: Payments) -> Project:
    """A project whose store holds the payments."""
    (folder / "headrace.toml").write_text('[headrace]\nclock = "record"\n')
    project = Project.load(folder)
    write_plan(PLAN, project.plan_file)
    filled(project.store_url, payments, Clock.RECORD).close()
    return project


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    """`headrace serve` of a project, in a process of its own."""
    command = [sys.executable, "-m", "headrace", "serve", "--project", str(folder), "--port", "0"]
    with (
        (folder / "server.log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as server,
    ):
        assert server.stdout is not None
        listening = _LISTENING.search(server.stdout.readline())
        try:
            assert listening is not None, (folder / "server.log").read_text()
            yield listening[0]
        finally:
            server.terminate()
            server.wait()


def _ours(client: FeatureClient, view: str, rows: list[dict[str, Any]]) -> Mapping[str, Sequence[Any]]:
    return client.get_online_features(_ASKED[view], rows).to_dict()


@contextmanager
def _asynchronous(url: str) -> Iterator[Lookup]:
    with asyncio.Runner() as runner:

        async def made() -> AsyncFeatureClient:
            return AsyncFeatureClient(url)

        client = runner.run(made())

        async def asked(view: str, rows: list[dict[str, Any]]) -> Mapping[str, Sequence[Any]]:
            return (await client.get_online_features(_ASKED[view], rows)).to_dict()

        yield lambda view, rows: runner.run(asked(view, rows))
        runner.run(client.close())


def _feast(folder: Path, url: str, users: int) -> Lookup:
    """Feast's FeatureStore with its remote online store, which asks the same server."""
    try:
        import pandas as pd
    except ImportError as error:
        why = "Feast is not installed: pip install 'headrace[feast]'"
        raise Skipped(why) from error
    empty = {
        view: pd.DataFrame({"user_id": [user_id(0)], **{name: [0.0] for name in names_of(view)}}) for view in PLAN.views
    }
    return feast_lookup(folder / "feast", {"type": "remote", "path": url}, empty, write=False)


def _requests(size: _Size, users: int, quick: bool) -> list[list[dict[str, Any]]]:
    dice = np.random.default_rng(size.rows)
    return [
        [{"user_id": user_id(user)} for user in dice.choice(users, size.rows, replace=False).tolist()]
        for _ in range(3 if quick else size.calls)
    ]


def _assert_equal(
    sides: Mapping[str, Lookup], here: InProcessClient, size: _Size, requests: list[list[dict[str, Any]]]
) -> None:
    """Refuse a side that does not answer every request as a lookup in process."""
    for rows in requests:
        right = here.get_online_features(_ASKED[size.view], rows).to_dict()
        for side, look_up in sides.items():
            found = look_up(size.view, rows)
            for column in columns_of(size.view):
                assert list(found[column]) == right[column], f"{side}: {column} is {found[column]}, not {right[column]}"


def _measured(sides: Mapping[str, Lookup], size: _Size, requests: list[list[dict[str, Any]]], rounds: int) -> Measure:
    timed: dict[str, Callable[[], float]] = {
        name: partial(_cpu_us, look_up, size.view, requests) for name, look_up in sides.items()
    }
    what = f"{size.name} features, CPU of the process that asks, per request"
    return Measure(what, "µs", in_turns(timed, rounds), _OURS, _FEASTS, target=size.target)


def _cpu_us(look_up: Lookup, view: str, requests: list[list[dict[str, Any]]]) -> float:
    began = time.process_time()
    for rows in requests:
        look_up(view, rows)
    return (time.process_time() - began) * 1e6 / len(requests)


if __name__ == "__main__":
    command_line("client", run)
