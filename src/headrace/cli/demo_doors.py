"""A step of `headrace demo`: the same lookup through every door, and whether all give the same values."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from headrace.cli.output import table
from headrace.client import FeatureClient
from headrace.config import Project
from headrace.declare.feast_import import require_feast
from headrace.errors import HeadraceError
from headrace.lookup import OnlineFeatures
from headrace.lookup.wire import answer_from_json

__all__ = ["ask_every_door", "n_differing"]

Rows = Sequence[Mapping[str, Any]]
Columns = dict[str, list[Any]]
"""Features by `view__feature`, one value per row."""

_ROWS = 100
_STOPS_S = 30


class _Door(NamedTuple):
    """A way to ask.

    Attributes:
        name: What the user reads.
        ask: Gives the features of a service for some rows.
    """

    name: str
    ask: Callable[[str, Rows], Columns]


def ask_every_door(project: Project, entities: Mapping[str, Rows]) -> bool:
    """Look the same rows up in this process, over HTTP, by Feast and by curl, and print how they compare.

    Args:
        project: The project. Nothing writes its store meanwhile.
        entities: Rows by feature service.

    Returns:
        Whether all doors gave the same values.
    """
    require_feast()
    from headrace.feast.lookups import feast_lookups  # importing Feast takes seconds

    rows_of = {service: rows[:_ROWS] for service, rows in entities.items()}
    n_values = 0
    shown: list[list[object]] = []
    with _server(project) as url, FeatureClient(project) as here, FeatureClient(url) as there:
        doors = [_Door("the SDK in this process", _sdk(here)), _Door("the SDK over HTTP", _sdk(there))]
        feast = feast_lookups(project.repo)
        if feast is not None:
            doors.append(_Door("Feast's FeatureStore", feast))
        if shutil.which("curl"):
            doors.append(_Door("curl", _curl(url)))
        expected = {service: doors[0].ask(service, rows) for service, rows in rows_of.items()}
        n_values = sum(len(column) for columns in expected.values() for column in columns.values())
        for door in doors:
            begun = time.perf_counter()
            found = {service: door.ask(service, rows) for service, rows in rows_of.items()}
            took_ms = (time.perf_counter() - begun) * 1000
            shown.append([door.name, f"{took_ms:,.1f}", n_differing(expected, found)])
    title = f"{n_values:,} values of {', '.join(rows_of)}, through every door"
    table(title, ["door", "ms", "differ"], shown, numbers=["ms", "differ"], whole=["door"])
    return not any(differ for *_, differ in shown)


def n_differing(expected: Mapping[str, Columns], found: Mapping[str, Columns]) -> int:
    """How many values differ. `repr` tells apart what `==` does not: 0.0 and -0.0, 1 and 1.0; and NaN is like NaN."""
    return sum(
        repr(value) != repr(other)
        for service, columns in expected.items()
        for name, column in columns.items()
        for value, other in zip(column, found[service][name], strict=True)
    )


def _features(answer: OnlineFeatures) -> Columns:
    columns = answer.to_dict()
    return {name: columns[name] for name in answer.values}


def _sdk(client: FeatureClient) -> Callable[[str, Rows], Columns]:
    def ask(service: str, rows: Rows) -> Columns:
        return _features(client.get_online_features(service, list(rows)))

    return ask


def _curl(url: str) -> Callable[[str, Rows], Columns]:
    def ask(service: str, rows: Rows) -> Columns:
        body = {"features": service, "entity_rows": list(rows)}
        command = ["curl", "--silent", "--show-error", "--fail-with-body", "--json", "@-", f"{url}/v1/lookup"]
        done = subprocess.run(command, input=json.dumps(body), capture_output=True, text=True)
        if done.returncode:
            msg = f"curl ended with exit code {done.returncode}: {done.stderr}{done.stdout}"
            raise HeadraceError(msg)
        return _features(answer_from_json(json.loads(done.stdout)))

    return ask


@contextmanager
def _server(project: Project) -> Iterator[str]:
    """The URL of a `headrace serve` of the project, on a free port of the loopback."""
    command = [sys.executable, "-m", "headrace.cli", "serve", "--port", "0", "--project", str(project.root)]
    log = project.state / "serve.log"
    with log.open("wb") as server_log:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=server_log, text=True)
        try:
            yield _url(server, log)
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(_STOPS_S)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _url(server: subprocess.Popen[str], log: Path) -> str:
    for line in server.stdout or io.StringIO():
        url = next((word for word in line.split() if word.startswith("http://")), None)
        if url is not None:
            return url
    msg = f"The server ended before it listened:\n{log.read_text(encoding='utf-8', errors='replace').strip()}"
    raise HeadraceError(msg, hint=f"Its log is {log}.")
