"""What every benchmark here shares: its options, runs in turns, and the sides' numbers in one table.

A benchmark is `python -m benchmarks.NAME [--quick] [--rounds N] [--json]`. It asserts first that all sides give equal
answers. Then the sides take turns in one run, so that what slows the machine for a while slows all of them, and each
figure is the median of the rounds, told with the least and the most. What it concludes is a ratio: seconds depend on
the machine, ratios much less.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, TypeVar

__all__ = ["ROUNDS", "Measure", "Options", "Report", "Skipped", "command_line", "in_turns"]

ROUNDS = 5
"""How often each side runs."""

_QUICK_ROUNDS = 1

T = TypeVar("T")


class Skipped(Exception):  # noqa: N818 it is no error
    """The benchmark, or a side of it, cannot run here; the text says why and what would let it."""


@dataclass(frozen=True)
class Options:
    """How a benchmark was asked to run.

    Attributes:
        quick: Small sizes, to see that it works; what it measures then means little.
        rounds: How often each side runs.
        more: The benchmark's own options, by name.
    """

    quick: bool = False
    rounds: int = ROUNDS
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Measure:
    """One thing measured on several sides.

    Attributes:
        what: What was measured; unique in a report.
        unit: Its unit.
        sides: What each side measured, a number per round. A fixed limit is a side with one number.
        ours: Which side is ours.
        peer: Which side ours is compared with.
        more_is_better: True for rates, False for times and sizes.
        target: The ratio that ours should reach; None where none was set.
    """

    what: str
    unit: str
    sides: dict[str, list[float]]
    ours: str
    peer: str
    more_is_better: bool = False
    target: float | None = None

    def median(self, side: str) -> float:
        """The median of a side's rounds."""
        return median(self.sides[side])

    @property
    def ratio(self) -> float:
        """How many times better ours is, by the medians; below 1, the peer is better."""
        ours, peer = self.median(self.ours), self.median(self.peer)
        return ours / peer if self.more_is_better else peer / ours

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready account."""
        sides = {
            side: {"median": self.median(side), "min": min(rounds), "max": max(rounds), "rounds": rounds}
            for side, rounds in self.sides.items()
        }
        told = {"what": self.what, "unit": self.unit, "more_is_better": self.more_is_better, "sides": sides}
        return {**told, "ours": self.ours, "peer": self.peer, "ratio": self.ratio, "target": self.target}


@dataclass(frozen=True)
class Report:
    """What a benchmark found, after all sides gave equal answers.

    Attributes:
        name: The benchmark.
        sizes: What was worked on.
        measures: The numbers.
        notes: What a reader has to know: sides that were left out, what a peer cannot express.
    """

    name: str
    sizes: dict[str, int | str]
    measures: list[Measure]
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """One JSON object on one line, with `ratios` and `targets` by what was measured."""
        return json.dumps(
            {
                "benchmark": self.name,
                "sizes": self.sizes,
                "ratios": {one.what: one.ratio for one in self.measures},
                "targets": {one.what: one.target for one in self.measures if one.target is not None},
                "measures": [one.to_json() for one in self.measures],
                "notes": self.notes,
            }
        )

    def to_text(self) -> str:
        """A table to read: a line per measure and side, the ratio beside ours."""
        sizes = ", ".join(
            f"{size:,} {name}" if isinstance(size, int) else f"{name} {size}" for name, size in self.sizes.items()
        )
        lines = [f"{self.name}: {sizes}. Equal answers; median (min – max) of the rounds, in turns."]
        for one in self.measures:
            lines.append(f"{one.what} [{one.unit}, {'more' if one.more_is_better else 'less'} is better]")
            width = max(len(side) for side in one.sides) + 2
            lines += [
                f"  {side:{width}}{_spread(rounds):>34}{_beside(one, side)}" for side, rounds in one.sides.items()
            ]
        return "\n".join([*lines, *(f"Note: {note}" for note in self.notes)])


def in_turns(sides: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Run every side once per round; which one begins changes from round to round.

    Args:
        sides: What to run, by name.
        rounds: How often.

    Returns:
        What each side returned, by name, in the order of rounds.
    """
    found: dict[str, list[T]] = {name: [] for name in sides}
    names = list(sides)
    for turn in range(rounds):
        first = turn % len(names) if names else 0
        for name in (*names[first:], *names[:first]):
            found[name].append(sides[name]())
    return found


def command_line(
    name: str,
    run: Callable[[Options], Report],
    arguments: Sequence[str] | None = None,
    more: Callable[[argparse.ArgumentParser], object] | None = None,
) -> None:
    """A benchmark's command: run it and print what it found.

    Args:
        name: The benchmark's name.
        run: The benchmark; it raises `Skipped` where it cannot run.
        arguments: The command's arguments; None is `sys.argv`'s.
        more: Adds the benchmark's own options to the parser; they arrive in `Options.more`.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}")
    parser.add_argument("--quick", action="store_true", help="small and once: to see that it works")
    parser.add_argument("--rounds", type=_positive, help=f"how often each side runs (default: {ROUNDS})")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    if more is not None:
        more(parser)
    given = vars(parser.parse_args(arguments))
    quick, rounds, as_json = given.pop("quick"), given.pop("rounds"), given.pop("json")
    options = Options(quick, rounds or (_QUICK_ROUNDS if quick else ROUNDS), given)
    try:
        report = run(options)
    except Skipped as why:
        print(json.dumps({"benchmark": name, "skipped": str(why), "ratios": {}}) if as_json else f"skipped: {why}")
        return
    print(report.to_json() if as_json else report.to_text())
    sys.stdout.flush()


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        why = f"{text!r} is not a number from 1 up"
        raise argparse.ArgumentTypeError(why)
    return int(text)


def _beside(measure: Measure, side: str) -> str:
    """How much better ours is than this side, and for the peer whether that is what was to be reached."""
    if side == measure.ours:
        return ""
    ours, other = measure.median(measure.ours), measure.median(side)
    told = f"   ours {_number(ours / other if measure.more_is_better else other / ours)}×"
    if side != measure.peer or measure.target is None:
        return told
    return f"{told} (target {_number(measure.target)}×: {'met' if measure.ratio >= measure.target else 'MISSED'})"


def _spread(rounds: list[float]) -> str:
    if len(rounds) == 1:
        return _number(rounds[0])
    return f"{_number(median(rounds))} ({_number(min(rounds))} – {_number(max(rounds))})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
