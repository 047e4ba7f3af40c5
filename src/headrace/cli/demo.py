"""`headrace demo`: everything on the embedded broker and store, with a proof at the end."""

from __future__ import annotations

import logging
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from headrace.cli.demo_state import demo_project, demo_state
from headrace.cli.output import DIFFERENT, Folder, command, console
from headrace.cli.worker_log import set_up_logging
from headrace.config import Project
from headrace.extras import needing
from headrace.plan import read_plan

__all__ = ["demo"]

_LOOKUPS = 1_000
_LATE = 0.05


@command
def demo(
    late: Annotated[float, typer.Option(help="The share of events sent up to 10 minutes after they happened.")] = _LATE,
    lookups: Annotated[int, typer.Option(help="How many lookups to record and prove.")] = _LOOKUPS,
    limit: Annotated[
        int | None,
        typer.Option(help="About the first N events of each topic; all topics end at one time.", show_default=False),
    ] = None,
    folder: Folder = None,
) -> None:
    """Replay histories through Kafka, serve features meanwhile, export training sets, and prove that both agree."""
    set_up_logging(verbose=False, ours=logging.WARNING)
    _require_all()
    asked_for = Project.load(folder).state
    project = demo_project(folder)
    with demo_state(project):
        example, datasets, proven = _run(project, late, lookups, limit)
    elsewhere = project.state if project.state != asked_for else None
    _say_what_next(example, list(read_plan(project.plan_file).services), datasets, elsewhere)
    if not proven:
        raise typer.Exit(DIFFERENT)


def _require_all() -> None:
    """Say what is missing before anything is written."""
    with needing("all"):
        from headrace.declare.feast_import import require_feast
        from headrace.worker import run_worker  # noqa: F401

        require_feast()


def _run(project: Project, late: float, lookups: int, limit: int | None) -> tuple[dict[str, Any], list[Path], bool]:
    """The keys of a good example lookup, the training sets' folders, and whether the proof held."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from headrace.cli.demo_doors import ask_every_door
    from headrace.cli.demo_steps import (
        entities_of,
        export_datasets,
        produce_histories,
        prove,
        show_live,
        stream_and_look_up,
    )
    from headrace.declare import apply
    from headrace.kafka import EmbeddedBroker

    bar = (BarColumn(), MofNCompleteColumn()) if console.is_terminal else ()
    shown = (TextColumn("{task.description}"), *bar, TextColumn("{task.fields[more]}"), TimeElapsedColumn())
    with Progress(*shown, console=console) as progress:
        declaring = progress.add_task("apply (Feast)", total=1, more="")
        plan = apply(project).plan
        progress.update(declaring, completed=1, more=f"plan {plan.hash}: {len(plan.views)} views")
        with EmbeddedBroker(project.broker_state_path):
            produce_histories(project, plan, late, limit, progress)
            worker, recorded = stream_and_look_up(project, plan, lookups, progress)
    rates = ", ".join(f"{rate:,}" for rate in worker["events_per_second_by_quarter"])
    console.print(
        f"\nThe worker applied [bold]{worker['events']:,}[/] events at "
        f"[bold]{worker['events_per_second']:,} events/s[/] (by quarter of the events: {rates}), "
        f"{worker['dead_letters']:,} dead letters.\n",
        highlight=False,
    )
    show_live(project, plan)
    agree = ask_every_door(project, entities_of(project, plan))
    datasets = export_datasets(project)
    matches = prove(project, recorded)
    console.print(f"\n[bold]{matches}/{len(recorded)} lookups match[/]", highlight=False)
    return _example_keys(recorded), datasets, agree and matches == len(recorded) >= lookups


def _say_what_next(example: dict[str, Any], services: list[str], datasets: list[Path], elsewhere: Path | None) -> None:
    service = services[0] if services else "SERVICE"
    keys = " ".join(f"--key {name}={value}" for name, value in example.items())
    headrace = "headrace" if shutil.which("headrace") else str(_shown(Path(sys.executable).with_name("headrace")))
    commands = [
        ("features now, from the online store (add --json)", f"lookup --service {service} {keys}"),
        ("how far each source partition is", "status"),
        ("recompute from the log what was served", "audit"),
        ("what an edit under feature_repo/ would change", "plan"),
        *(
            ("build the training set again and compare the bytes", f"dataset verify {_shown(folder)}")
            for folder in datasets
        ),
    ]
    if elsewhere is not None:
        headrace = f"HEADRACE_STATE={shlex.quote(str(_shown(elsewhere)))} {headrace}"
    console.print(
        "\n[bold]Try next[/] (the broker has stopped; the store, the log and the training set stay):", highlight=False
    )
    for what, arguments in commands:
        console.print(f"  {headrace} {arguments}", highlight=False, soft_wrap=True)
        console.print(f"      {what}", style="dim", highlight=False)


def _example_keys(recorded: list[dict[str, Any]]) -> dict[str, Any]:
    """The keys of the newest lookup among those with the most values."""
    best = max(recorded, key=lambda one: (sum(value is not None for value in one["features"].values()), one["at_us"]))
    return dict(best["keys"])


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
