"""`headrace log`: the files of the logs and of the recorded lookups."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.output import AsJson, Folder, Yes, command, confirm, console, errors, note, print_json, table
from headrace.config import Project
from headrace.errors import TopicError
from headrace.plan import Plan, Source, read_plan
from headrace.times import iso_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.log import EventLog, LookupTable

__all__ = ["compact", "head", "log", "show", "vacuum"]

_LOOKUPS = "recorded lookups"
_MB = 1_000_000

Topics = Annotated[
    list[str] | None,
    typer.Argument(help="Topics or sources; all of them, and the recorded lookups, if left out.", show_default=False),
]


@command
def show(topics: Topics = None, as_json: AsJson = False, folder: Folder = None) -> None:
    """Show the files, rows and bytes of the logs, and what compact and vacuum could change."""
    project = Project.load(folder)
    rows = [
        {"table": name, **logged.facts()._asdict(), "pinned": sorted(_pins(project, logged, []))}
        for name, logged in _tables(project, topics)
    ]
    if as_json:
        print_json({"tables": rows})
        return
    names = ["version", "rows", "dates", "files", "small", "MB", "old files", "old MB", "commits", "pinned"]
    drawn = [
        [row["table"], row["version"], row["rows"], row["dates"], row["files"], row["small_files"]]
        + [row["size_bytes"] / _MB, row["old_files"], row["old_bytes"] / _MB, row["commits"], len(row["pinned"])]
        for row in rows
    ]
    table("Files", ["table", *names], drawn, numbers=names, whole=["table"])


@command
def head(
    topic: Annotated[str, typer.Argument(help="The topic or source.", show_default=False)],
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="How many.")] = 10,
    oldest: Annotated[bool, typer.Option("--oldest", help="The oldest instead of the newest.")] = False,
    as_json: AsJson = False,
    folder: Folder = None,
) -> None:
    """Show the newest logged events, by event time, with their position and when they became known."""
    from headrace.log import EventLog, log_head
    from headrace.log.log_columns import KNOWN_AT, OFFSET, PARTITION, RECORD_TS, TS
    from headrace.lookup.response import json_value

    project = Project.load(folder)
    source = _sources(read_plan(project.plan_file), [topic])[0]
    snapshot = EventLog(project.log_root, source).snapshot()
    found = [
        {name: json_value(value) for name, value in row.items()}
        for row in log_head(snapshot, source, rows, oldest=oldest).to_pylist()
    ]
    for row in found:
        row["position"] = f"{row.pop(PARTITION)}@{row.pop(OFFSET)}"
        row["known_at"] = iso_time(row.pop(KNOWN_AT))
        row["record_time"] = iso_time(row.pop(RECORD_TS, None))
        row.pop(TS)
    if as_json:
        print_json({"topic": source.topic, "total": snapshot.rows, "rows": found})
        return
    if not found:
        console.print(
            f"No event of {source.topic} is logged yet: `headrace stream` logs what it applies.", highlight=False
        )
        return
    columns = list(found[0])
    which = "oldest" if oldest else "newest"
    title = f"{source.topic}: the {which} {len(found):,} of {snapshot.rows:,} events, by {source.timestamp_field}"
    table(title, columns, [list(row.values()) for row in found])


@command
def compact(
    topics: Topics = None,
    target_mb: Annotated[
        float | None,
        typer.Option(
            min=0.01, help="The wanted size of a file, in megabytes; the project's if left out.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
    folder: Folder = None,
) -> None:
    """Merge small files into larger ones, while workers and readers run. No row changes."""
    project = Project.load(folder)
    rows: list[dict[str, Any]] = []
    for name, logged in _tables(project, topics):
        with _progress(name) as report:
            done = logged.compact(project.log_target_bytes if target_mb is None else int(target_mb * _MB), report)
        rows.append({"table": name, **done._asdict()})
    if as_json:
        print_json({"tables": [{name: value for name, value in row.items() if name != "is_short"} for row in rows]})
        return
    names = ["files before", "files now", "rows written", "MB read", "MB written"]
    drawn = [
        [row["table"], row["before"], row["after"], row["rows"], row["read_bytes"] / _MB, row["written_bytes"] / _MB]
        for row in rows
    ]
    table("Compacted", ["table", *names], drawn, numbers=names, whole=["table"])
    if any(row["rows"] for row in rows):
        note("The files that were replaced stay for readers of older versions, until `headrace log vacuum`.")


@command
def vacuum(
    topics: Topics = None,
    retention: Annotated[
        float, typer.Option(min=0, help="How long replaced versions can still be read, in hours.")
    ] = 24.0,
    datasets: Annotated[
        list[Path] | None,
        typer.Option(help="Another folder of datasets whose versions to keep; repeat for more.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
    folder: Folder = None,
) -> None:
    """Remove files and commits that are older than the retention and that no dataset's manifest needs."""
    from headrace.log import EventLog, forget_pins

    project = Project.load(folder)
    rows: list[dict[str, Any]] = []
    broken = {
        name: _broken(project, logged, retention * 3600, datasets or []) for name, logged in _tables(project, topics)
    }
    for name, versions in broken.items():
        for version, manifests in versions.items():
            note(
                f"{', '.join(manifests)} is missing. It was built from version {version} of {name}, which this "
                "removes. If the dataset was moved, name its folder with --datasets."
            )
    given_up = [path for versions in broken.values() for paths in versions.values() for path in paths]
    if given_up and not dry_run:
        confirm("Remove what those datasets need to be built again?", yes=yes)
    for name, logged in _tables(project, topics):
        with console.status(f"Vacuuming {name} …"):
            if isinstance(logged, EventLog):
                pins = _pins(project, logged, datasets or [])
                done = logged.vacuum(retention_s=retention * 3600, pinned=pins, dry_run=dry_run)
                lost = {version: pins[version] for version in done.lost}
            else:
                done, lost = logged.vacuum(retention_s=retention * 3600, dry_run=dry_run), {}
        rows.append({"table": name, **done._asdict(), "lost": lost, "breaks": broken[name]})
    if not dry_run:
        forget_pins(project.pins, given_up)
    if as_json:
        print_json({"dry_run": dry_run, "tables": rows})
        return
    names = ["files", "MB", "commits", "readable from", "and pinned"]
    drawn = [
        [row["table"], row["files"], row["freed_bytes"] / _MB, row["commits"], row["oldest"], len(row["kept"])]
        for row in rows
    ]
    table("Would be removed" if dry_run else "Removed", ["table", *names], drawn, numbers=names, whole=["table"])
    for row in rows:
        for version, manifests in row["lost"].items():
            note(f"Version {version} of {row['table']} was already missing: {', '.join(manifests)} needs it.")


def _tables(project: Project, topics: list[str] | None) -> Iterator[tuple[str, EventLog | LookupTable]]:
    from headrace.log import EventLog, LookupTable, Upkeep

    plan, rule = read_plan(project.plan_file), Upkeep(target_bytes=project.log_target_bytes)
    for source in _sources(plan, topics):
        yield source.topic, EventLog(project.log_root, source, rule)
    if not topics:
        yield _LOOKUPS, LookupTable(project.audit_root, rule)


def _sources(plan: Plan, topics: list[str] | None) -> list[Source]:
    sources = list(plan.sources.values())
    known = {source.topic for source in sources} | {source.name for source in sources}
    unknown = [topic for topic in topics or [] if topic not in known]
    if unknown:
        msg = f"The plan has no topic or source named {unknown[0]!r}."
        raise TopicError(msg, hint=f"Its topics: {', '.join(sorted(source.topic for source in sources)) or 'none'}.")
    return [source for source in sources if not topics or {source.topic, source.name} & set(topics)]


def _pins(project: Project, logged: EventLog | LookupTable, folders: list[Path]) -> dict[int, list[str]]:
    from headrace.log import EventLog, pinned_versions

    if not isinstance(logged, EventLog):
        return {}
    where = [project.root, project.state, *folders]
    return pinned_versions(project.pins, where, logged.source.topic, logged.table_id())


def _broken(
    project: Project, logged: EventLog | LookupTable, retention_s: float, folders: list[Path]
) -> dict[int, list[str]]:
    """The versions that a vacuum would remove although a dataset was built from them: its manifest is missing."""
    from headrace.log import EventLog, missing_pins

    if not isinstance(logged, EventLog):
        return {}
    missing = missing_pins(project.pins, logged.source.topic, logged.table_id())
    if not missing:
        return {}
    kept = _pins(project, logged, folders)
    found = logged.vacuum(retention_s=retention_s, pinned={*missing, *kept}, dry_run=True)
    return {version: missing[version] for version in found.kept if version in missing and version not in kept}


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task(f"Merging files of {name}", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


log = typer.Typer(
    help="The log's files: show them, merge small ones, remove old ones.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
log.command("show")(show)
log.command("head")(head)
log.command("compact")(compact)
log.command("vacuum")(vacuum)
