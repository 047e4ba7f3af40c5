"""Ours as it is now beside ours at an earlier commit: whether a change made anything slower.

    python -m benchmarks.against REV [--benchmarks stream,lookup,...] [--rounds N] [--quick] [--json]

The earlier commit is checked out in a temporary folder. Each round runs every benchmark once in both trees, in turns,
so what slows the machine for a while slows both. Every benchmark asserts its answers itself. What is compared is our
own figure of each measure that both trees have. Both run in this environment, with its packages.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.side_by_side import Measure, Options, Report, Skipped, command_line, in_turns

ROOT = Path(__file__).parents[1]
GOAL = 0.95
"""How much of its speed a change may keep at the least."""

ARGUMENTS = {
    "stream": ["--sides", "headrace,headrace by the system clock,hand-written loop"],
    "lookup": [],
    "point_in_time": [],
    "audit": [],
    "log": [],
    "produce": [],
}
"""By benchmark, what it is run with: of `stream` our own sides and one peer, because the others take minutes."""

NAME, NOW, BEFORE = "against", "now", "before"


class Figures(NamedTuple):
    """One run of a benchmark in one tree: our figure of each measure, or why it cannot run here."""

    measures: dict[str, Any]
    skipped: str | None = None


def run(options: Options) -> Report:
    """Run the benchmarks in both trees.

    Args:
        options: Its own are `rev` and `benchmarks`.

    Raises:
        Skipped: None of the benchmarks has measured anything in both trees.
    """
    rev, names = options.more["rev"], options.more["benchmarks"]
    measures: list[Measure] = []
    notes: list[str] = []
    with _checkout(rev) as earlier:
        for name in names:
            sides = {
                side: partial(_figures, tree, name, options.quick) for side, tree in ((NOW, ROOT), (BEFORE, earlier))
            }
            found = in_turns(sides, options.rounds)
            compared = _compared(name, found[NOW], found[BEFORE])
            measures += compared
            notes += _notes(name, found, compared)
    if not measures:
        raise Skipped(" ".join(notes))
    return Report(NAME, {"commit": rev, "rounds": options.rounds}, measures, notes)


def _notes(name: str, found: dict[str, list[Figures]], compared: list[Measure]) -> list[str]:
    """What is not compared, and why."""
    skipped = {
        f"{name} was skipped ({side}): {one.skipped}" for side, runs in found.items() for one in runs if one.skipped
    }
    if not skipped and not compared:
        return [f"{name} measured nothing that both trees have."]
    return sorted(skipped)


def _compared(name: str, now: list[Figures], before: list[Figures]) -> list[Measure]:
    return [
        Measure(
            f"{name}: {what}",
            one["unit"],
            {side: [each.measures[what]["value"] for each in runs] for side, runs in ((NOW, now), (BEFORE, before))},
            NOW,
            BEFORE,
            one["more_is_better"],
            GOAL,
        )
        for what, one in now[0].measures.items()
        if what in before[0].measures
    ]


def _figures(tree: Path, name: str, quick: bool) -> Figures:
    """Our figure of each measure of one run of a benchmark."""
    command = [sys.executable, "-m", f"benchmarks.{name}", "--rounds", "1", "--json", *ARGUMENTS[name]]
    paths = os.pathsep.join([str(tree / "src"), str(tree)])
    done = subprocess.run(
        command + ["--quick"] * quick, cwd=tree, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True
    )
    if done.returncode:
        msg = f"The benchmark {name} failed in {tree}:\n{done.stderr[-4_000:]}"
        raise RuntimeError(msg)
    report = json.loads(done.stdout)
    measures = {
        one["what"]: {
            "value": one["sides"][one["ours"]]["median"],
            "unit": one["unit"],
            "more_is_better": one["more_is_better"],
        }
        for one in report.get("measures", [])
    }
    return Figures(measures, report.get("skipped"))


@contextmanager
def _checkout(rev: str) -> Iterator[Path]:
    """A commit's files in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", rev], cwd=ROOT, check=True, capture_output=True)
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        yield Path(folder)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rev", help="the earlier commit")
    parser.add_argument("--benchmarks", metavar="A,B", type=_names, default=list(ARGUMENTS), help=", ".join(ARGUMENTS))


def _names(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in ARGUMENTS]
    if unknown:
        why = f"there is no benchmark {unknown[0]!r}; there are: {', '.join(ARGUMENTS)}"
        raise argparse.ArgumentTypeError(why)
    return names


if __name__ == "__main__":
    # Not among those that `make bench` runs: it needs a commit.
    command_line(NAME, run, more=_options)
