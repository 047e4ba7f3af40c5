"""The command that replays a history: `headrace produce TOPIC`, and `python -m streams.<topic>` in a project."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from headrace.config import Project
from headrace.errors import HeadraceError, RetryableError
from headrace.produce.replay_options import ReplayOptions, ReplayProgress, ReplaySummary, Report, parse_time

__all__ = ["main", "produce_command"]

_FAILED, _AWAY, _INTERRUPTED = 1, 4, 130  # as of `headrace`


def produce_command(
    topic: Annotated[str, typer.Argument(help="The topic (or source) to produce; streams/<topic>.py has its history.")],
    speed: Annotated[
        float | None,
        typer.Option(help="How much faster than it happened; as fast as it goes if left out.", show_default=False),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="Only events from this date or time on (UTC).", show_default=False),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only events before this date or time (UTC).", show_default=False)
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N of these.", show_default=False)] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an earlier run: send only what the topic does not hold yet.")
    ] = False,
    late: Annotated[
        float, typer.Option(help="The share of events that is sent up to 10 minutes after it happened.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Decides which events are late, and how much.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
    folder: Annotated[
        Path | None, typer.Option("--project", help="The project's folder, if not the current one.", show_default=False)
    ] = None,
) -> None:
    """Replay a history of events into its Kafka topic.

    Events are validated by their model, sent in the order in which they happened (late ones later), and confirmed by
    the broker. What the topic has already stays. Without --resume all events are sent again, and count again.
    """
    from headrace.produce.replayer import produce  # needs Kafka's client, which the command line as a whole does not

    project = Project.load(folder)
    options = ReplayOptions(
        speed=speed,
        start=None if start is None else parse_time(start),
        until=None if until is None else parse_time(until),
        limit=limit,
        resume=resume,
        late=late,
        seed=seed,
    )
    with progress_bar(topic) as report:
        summary = produce(project, topic, options, report)
    if summary.already and not resume:
        _note(f"{summary.topic} had {summary.already:,} records before; these were added.")
        _note("(--resume continues an earlier run instead.)")
    typer.echo(json.dumps(asdict(summary)) if as_json else _summary_text(summary))


def main(topic: str) -> NoReturn:
    """Be the command line of ``streams/<topic>.py``: `headrace produce` with the topic given.

    Args:
        topic: The topic.
    """
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(_for_topic(topic))
    app(prog_name=f"python -m streams.{topic}")
    sys.exit(0)


@contextmanager
def progress_bar(topic: str) -> Iterator[Report | None]:
    """Draw a replay's progress on stderr, if that is a terminal.

    Args:
        topic: What is replayed.

    Yields:
        What `produce` and `replay` take as `report`; None where there is no terminal.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[simulated]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(topic, total=None, rate="", simulated="")

        def report(at: ReplayProgress) -> None:
            speed = progress.tasks[0].speed
            rate = "" if speed is None else f"{speed:,.0f} events/s"
            progress.update(
                task, completed=at.sent, total=at.total, rate=rate, simulated=f"{at.simulated:%Y-%m-%d %H:%M}"
            )

        yield report


def _for_topic(topic: str) -> Any:
    """`produce_command` without its first argument."""

    @wraps(produce_command)
    def command(**values: Any) -> None:
        try:
            produce_command(topic, **values)
        except HeadraceError as error:
            _note(f"error: {error}")
            raise typer.Exit(_AWAY if isinstance(error, RetryableError) else _FAILED) from None
        except KeyboardInterrupt as interrupt:
            lines = [
                "interrupted: what was sent stays, and --resume continues from there.",
                *getattr(interrupt, "__notes__", []),
            ]
            _note("\n".join(lines))
            raise typer.Exit(_INTERRUPTED) from None

    signature = inspect.signature(produce_command, eval_str=True)
    parameters = [parameter for name, parameter in signature.parameters.items() if name != "topic"]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return command


def _summary_text(summary: ReplaySummary) -> str:
    late = f", {summary.late:,} of them late" if summary.late else ""
    skipped = f"; {summary.skipped:,} were there already" if summary.skipped else ""
    rate = f" in {summary.seconds:.1f} s ({summary.events_per_second:,.0f} events/s)"
    return f"{summary.topic}: {summary.sent:,} events sent and confirmed{late}{rate}{skipped}"


def _note(text: str) -> None:
    typer.echo(text, err=True)
