"""Draw how cost grows: of an event with keys, windows, tiles and partitions; of a join with the rows of its spine.

    python -m benchmarks.plots [--quick] [--rounds N] [--to docs/plots]

Each point is the median of the rounds: of an event in process (`cost.py`: decode, validate, apply, LMDB), of a join
over a million events in a process of its own (`point_in_time.py`). One SVG per question.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.cost import by_tiles, cost_us, now_ms
from benchmarks.point_in_time import one_run
from benchmarks.side_by_side import in_turns
from benchmarks.spines_data import make_events, make_spine
from benchmarks.workload import Payments

_ROOT = Path(__file__).parents[1]
_MINUTE_MS = 60_000


@dataclass(frozen=True)
class Plot:
    """A question, and what is measured for it.

    Attributes:
        name: The file's name.
        title: The question.
        along: What the horizontal axis is.
        points: By place on it, what to measure.
        unit: In what.
    """

    name: str
    title: str
    along: str
    points: Mapping[int, Callable[[], float]]
    unit: str = "µs per event"


def plots(quick: bool, home: Path) -> list[Plot]:
    """What to draw.

    Args:
        quick: Few and small.
        home: A folder for the events of joins.
    """
    keys = (100, 1_000) if quick else (100, 1_000, 10_000, 100_000, 1_000_000)
    windows = (1, 2) if quick else (1, 2, 4, 8, 16)
    tiles = (15, 60) if quick else (15, 60, 240, 1_440, 4_320)
    partitions = (1, 4) if quick else (1, 2, 4, 8, 16)
    rows = (100, 500) if quick else (1_000, 10_000, 100_000, 1_000_000)
    make_events(home, 5_000 if quick else 1_000_000)
    return [
        Plot("keys", "Cost per event by keys, uniform", "keys", {n: partial(_keys, n, quick) for n in keys}),
        Plot(
            "windows",
            "Cost per event by windows of five features",
            "windows",
            {n: partial(_windows, n, quick) for n in windows},
        ),
        Plot(
            "tiles",
            "Cost per event by tiles of the window, all filled",
            "tiles per record",
            {n: partial(by_tiles, n, quick) for n in tiles},
        ),
        Plot(
            "partitions",
            "Cost per event by source partitions",
            "partitions",
            {n: partial(_partitions, n, quick) for n in partitions},
        ),
        Plot(
            "spine",
            "Latest values of ten columns by rows of the spine",
            "rows",
            {n: partial(_join, "headrace", n, home) for n in rows},
            "seconds",
        ),
        Plot(
            "spine-windows",
            "Ten windows by rows of the spine",
            "rows",
            {n: partial(_join, "headrace windowed", n, home) for n in rows},
            "seconds",
        ),
    ]  # fmt: skip


def _keys(keys: int, quick: bool) -> float:
    # An event for each key before it is measured, and at least what fills a few rounds.
    measured = 5_000 if quick else 50_000
    return cost_us(Payments(max(keys, measured) + measured, keys, False, now_ms()), measured)


def _windows(windows: int, quick: bool) -> float:
    measured = 5_000 if quick else 50_000
    lengths = [(_MINUTE_MS, 60 * (n + 1)) for n in range(windows)]
    return cost_us(Payments(3 * measured, 1_000, True, now_ms()), measured, windows=lengths)


def _partitions(partitions: int, quick: bool) -> float:
    measured = 5_000 if quick else 50_000
    return cost_us(Payments(3 * measured, 1_000, True, now_ms()), measured, partitions=partitions)


def _join(side: str, rows: int, home: Path) -> float:
    spine = home / f"{rows}.parquet"
    if not spine.exists():
        make_spine(spine, rows)
    return one_run(side, home, spine).seconds


def draw(plot: Plot, rounds: int, folder: Path) -> Path:
    """Measure and draw one.

    Args:
        plot: What.
        rounds: How often each point is measured, in turns.
        folder: Where to.

    Returns:
        The file.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    found = in_turns({str(place): measure for place, measure in plot.points.items()}, rounds)
    places = list(plot.points)
    values = [median(found[str(place)]) for place in places]
    mpl.rcParams["svg.hashsalt"] = "headrace"  # the same numbers give the same file
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(places, values, marker="o", color="#1f5f8b")
    spread = [
        [value - min(found[str(place)]), max(found[str(place)]) - value]
        for place, value in zip(places, values, strict=True)
    ]
    axes.errorbar(
        places, values, yerr=list(zip(*spread, strict=True)), fmt="none", ecolor="#1f5f8b", capsize=3, alpha=0.6
    )
    axes.set_xscale("log")
    axes.set_xticks(places, [f"{place:,}" for place in places])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel(plot.along)
    axes.set_ylabel(plot.unit)
    axes.set_title(plot.title)
    axes.grid(alpha=0.3)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"cost-by-{plot.name}.svg"
    figure.savefig(file, metadata={"Date": None})
    print(
        f"{file.name}, {plot.unit}: "
        + ", ".join(f"{place:,}: {value:.2f}" for place, value in zip(places, values, strict=True)),
        file=sys.stderr,
    )
    return file


def main() -> None:
    """Measure and draw all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plots")
    parser.add_argument("--quick", action="store_true", help="few, small and once: to see that it works")
    parser.add_argument("--rounds", type=int, default=3, help="how often each point is measured (default: 3)")
    parser.add_argument("--to", type=Path, default=_ROOT / "docs" / "plots", help="the folder (default: docs/plots)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-plots-") as home:
        for plot in plots(given.quick, Path(home)):
            draw(plot, 1 if given.quick else given.rounds, given.to)


if __name__ == "__main__":
    main()
