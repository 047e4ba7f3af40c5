"""`headrace health`: whether a worker runs and makes progress, for health checks.

It asks no server and imports almost nothing.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from typing import Annotated

import typer

from headrace.cli.output import AWAY, FAILED, AsJson, Folder, command, console, note, print_json
from headrace.config import Project
from headrace.worker.heartbeat import Heartbeat, WorkerState, read_heartbeats

__all__ = ["health", "print_workers"]

_FORGOTTEN_S = 3_600.0
"""A worker on another machine that is silent for longer is not shown any more, in seconds."""


@command
def health(
    everywhere: Annotated[
        bool, typer.Option("--all", help="Check the workers of all machines that share the state folder.")
    ] = False,
    as_json: AsJson = False,
    folder: Folder = None,
) -> None:
    """Check that a worker runs here and makes progress: 0 yes, 1 none runs or one hangs, 4 it waits for a server."""
    now = time.time()
    beats = read_heartbeats(Project.load(folder).workers_path)
    if not everywhere:
        beats = [beat for beat in beats if beat.host == socket.gethostname()]
    running = [beat for beat in beats if not beat.is_gone]
    code, verdict = _verdict(running, now)
    if as_json:
        workers = [beat.to_json(now) for beat in running or beats[-1:]]
        print_json({"healthy": code == 0, "verdict": verdict, "exit_code": code, "workers": workers})
    else:
        print_workers(beats, now)
        if code:
            note(verdict)
    if code:
        raise typer.Exit(code)


def _verdict(running: Sequence[Heartbeat], now: float) -> tuple[int, str]:
    if not running:
        return FAILED, "No worker runs here: `headrace stream` starts one."
    hanging = [beat.worker for beat in running if beat.is_stale(now)]
    if hanging:
        return (
            FAILED,
            f"Gives no sign of life: {', '.join(hanging)}. A supervisor should start it again; nothing is lost.",
        )
    waiting = [beat.note or "something is away" for beat in running if beat.state is WorkerState.WAITING]
    if waiting:
        return AWAY, f"Waiting: {waiting[0]}"
    return 0, "Every worker makes progress."


def print_workers(beats: Sequence[Heartbeat], now: float) -> None:
    """Print a line for each worker that runs; if none runs, why the last one ended.

    Args:
        beats: The workers' signs of life.
        now: The time, in seconds since 1970.
    """
    for line in _lines(beats, now):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _lines(beats: Sequence[Heartbeat], now: float) -> list[str]:
    running = [beat for beat in beats if not beat.is_gone and beat.age_s(now) < _FORGOTTEN_S]
    if running:
        return [_line(beat, now) for beat in running]
    last = max(beats, key=lambda beat: beat.beat, default=None)
    if last is None:
        return ["No worker runs."]
    if last.state is WorkerState.FAILED:
        how = f"failed: {last.note}"
    elif last.state is WorkerState.ENDED:
        how = "ended normally"
    else:
        how = "was killed, or its machine went down"
    return [f"No worker runs. The last one, {last.worker}, {how} ({_ago(last.age_s(now))} ago)."]


def _line(beat: Heartbeat, now: float) -> str:
    doing = (
        f"hangs, or its machine is away: no sign of life for {_ago(beat.age_s(now))}"
        if beat.is_stale(now)
        else str(beat.state)
    )
    parts = [f"Worker {beat.worker} (process {beat.pid} on {beat.host}, since {_ago(now - beat.since)}): {doing}"]
    if beat.note:
        parts.append(beat.note.rstrip("."))
    parts.append(f"last round {_ago(now - beat.round_at)} ago" if beat.round_at else "no round yet")
    return "; ".join(parts) + "."


def _ago(seconds: float) -> str:
    for limit, unit, name in ((120, 1, "s"), (7_200, 60, "min"), (172_800, 3_600, "h")):
        if seconds < limit:
            return f"{max(seconds, 0) / unit:.0f} {name}"
    return f"{seconds / 86_400:.0f} days"
