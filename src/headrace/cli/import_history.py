"""`headrace import`: load existing history."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.output import AsJson, Folder, Yes, command, confirm, console, note, print_json, table
from headrace.config import Project
from headrace.errors import IngestError
from headrace.times import iso_time

if TYPE_CHECKING:
    from headrace.ingest import Imported
    from headrace.tabular.csv_file import Dialect
    from headrace.tabular.time_columns import TimeReader

__all__ = ["import_"]


@command
def import_(
    source: Annotated[
        str | None, typer.Argument(help="The source (or its topic) of the events.", show_default=False)
    ] = None,
    files: Annotated[
        str | None,
        typer.Option("--from", help="A Parquet or CSV file, or a glob of them, in quotes.", show_default=False),
    ] = None,
    query: Annotated[
        str | None, typer.Option(help="Instead: a query in DuckDB's SQL; its rows are the events.", show_default=False)
    ] = None,
    database: Annotated[
        Path | None,
        typer.Option(help="The DuckDB file for the query, opened read-only.", show_default=False),
    ] = None,
    known_at: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="When each event became known; the event time if left out.", show_default=False
        ),
    ] = None,
    mapped: Annotated[
        list[str] | None,
        typer.Option("--map", help="field=column, where their names differ; repeat for more.", show_default=False),
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option(
            help="CSV: the character between fields; the comma, or the only one of ; tab | in the header, if left out.",
            show_default=False,
        ),
    ] = None,
    quote: Annotated[str, typer.Option(help="CSV: the character around fields; none for no quotes.")] = '"',
    escape: Annotated[
        str | None,
        typer.Option(help="CSV: the character before a quote inside quotes; a quote if left out.", show_default=False),
    ] = None,
    encoding: Annotated[str, typer.Option(help="CSV: its encoding.")] = "utf-8",
    null: Annotated[
        str | None,
        typer.Option(help="CSV: the text that means no value, besides an empty field.", show_default=False),
    ] = None,
    zone: Annotated[
        str | None,
        typer.Option(help="The zone of times without one: UTC, Europe/Berlin …", show_default=False),
    ] = None,
    epoch: Annotated[
        str | None,
        typer.Option(
            help="The unit of times that are numbers since 1970: s, ms, us or ns; seconds or milliseconds if left out.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--id", help="A name for the import; a checksum of its events if left out.", show_default=False),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Import events again that were imported already.")] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out rows that are no events, and write them to a file.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and check everything, and import nothing.")] = False,
    undo: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Instead: undo the import with this id.", show_default=False),
    ] = None,
    yes: Yes = False,
    as_json: AsJson = False,
    folder: Folder = None,
) -> None:
    """Load existing history (Parquet, CSV, a query) into the log, as if it had been streamed; or undo an import."""
    from headrace.ingest import Origin, import_history

    project = Project.load(folder)
    if undo is not None:
        if files is not None or query is not None:
            msg = "--undo removes an import, and --from and --query make one."
            raise IngestError(msg, hint="Give --undo alone.")
        _undo(project, undo, source, dry_run=dry_run, yes=yes, as_json=as_json)
        return
    if source is None:
        msg = "The source of the events is not given."
        raise IngestError(msg, hint="Name the source: headrace import SOURCE --from FILE.")
    dialect = _dialect(delimiter, quote, escape, encoding, null)
    origin = Origin(files=files, query=query, database=database, dialect=dialect)
    with console.status("Importing …"):
        done = import_history(
            project,
            source,
            origin,
            known_at=known_at,
            mapped=_pairs(mapped or []),
            moments=_moments(zone, epoch),
            name=name,
            again=again,
            skip_bad=skip_bad,
            dry_run=dry_run,
        )
    if as_json:
        print_json(_as_json(done, dry_run=dry_run))
        return
    _show(done, dry_run=dry_run)


def _undo(project: Project, name: str, source: str | None, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    from headrace.ingest import find_import, undo_import

    _, found = find_import(project, name, source)
    if not as_json:
        table(
            f"Import {found.id}",
            ["", ""],
            [["topic", found.topic], ["imported at", found.begun_at], ["events", found.events]],
        )
        for manifest in found.datasets:
            console.print(
                f"A dataset was built with it, and is not changed: {manifest}", highlight=False, soft_wrap=True
            )
    if dry_run:
        if as_json:
            print_json({**asdict(found), "dry_run": True})
        return
    confirm("Remove it from the log and the online store?", yes=yes)
    done = undo_import(project, name, source)
    if as_json:
        print_json({**asdict(done), "dry_run": False})
        return
    console.print(f"Removed: {done.removed:,} events of the log, {done.records:,} online records.", highlight=False)


def _pairs(mapped: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for pair in mapped:
        field, equals, column = pair.partition("=")
        if not equals or not field or not column:
            msg = f"--map {pair} names no field and column."
            raise IngestError(msg, hint="Write --map field=column.")
        if field in pairs:
            msg = f"--map names the field {field!r} twice."
            raise IngestError(msg, hint="Give it one column.")
        pairs[field] = column
    return pairs


def _dialect(delimiter: str | None, quote: str, escape: str | None, encoding: str, null: str | None) -> Dialect:
    from headrace.tabular.csv_file import CsvError, Dialect

    signs = {"\\t": "\t", "tab": "\t"}
    try:
        return Dialect(
            delimiter=None if delimiter is None else signs.get(delimiter, delimiter),
            quote=None if quote == "none" else quote,
            escape=escape,
            encoding=encoding,
            null=null,
        )
    except CsvError as error:
        raise IngestError(error.what, hint=error.hint) from error


def _moments(zone: str | None, epoch: str | None) -> TimeReader:
    from zoneinfo import ZoneInfo

    from headrace.tabular.time_columns import EPOCH_UNITS, TimeReader

    if epoch is not None and epoch not in EPOCH_UNITS:
        msg = f"--epoch {epoch} is not a unit."
        raise IngestError(msg, hint=f"Write one of {', '.join(EPOCH_UNITS)}.")
    try:
        return TimeReader(None if zone is None else ZoneInfo(zone), epoch)
    except (KeyError, ValueError, OSError) as error:
        msg = f"There is no time zone {zone!r}."
        raise IngestError(msg, hint="Write UTC, or a name such as Europe/Berlin.") from error


def _as_json(done: Imported, *, dry_run: bool) -> dict[str, object]:
    return {
        "source": done.source,
        "id": done.id,
        "dry_run": dry_run,
        "partition": done.partition,
        "rows": done.rows,
        "events": done.events,
        "bad": done.bad,
        "first_bad": [row.to_json() for row in done.first_bad],
        "unmatched": [asdict(one) for one in done.unmatched],
        "quoted_query": done.quoted_query,
        "bad_file": done.bad_file,
        "repeated": done.repeated,
        "held": done.held,
        "erased": done.erased,
        "logged": done.logged,
        "imported_before": done.imported_at,
        "first": iso_time(done.first_us),
        "last": iso_time(done.last_us),
        "log_version": done.version,
        "online": None if done.online is None else {"applied": done.online.events, "note": done.online.note},
    }


def _show(done: Imported, *, dry_run: bool) -> None:
    rows: list[list[object]] = [["rows read", done.rows], ["events", done.events]]
    rows += [
        [what, n]
        for what, n in (
            ("bad rows", done.bad),
            ("repeated events", done.repeated),
            ("events already in the log", done.held),
        )
        if n
    ]
    if not dry_run:
        rows += [["events of erased entities", done.erased]] if done.erased else []
        rows.append(["logged", done.logged])
        if done.online is not None:
            rows.append(["applied online", done.online.events])
    table(done.source, ["", "count"], rows, numbers=["count"])
    console.print(f"Import {done.id}: {iso_time(done.first_us)} to {iso_time(done.last_us)}", highlight=False)
    for unmatched in done.unmatched:
        note(str(unmatched))
    if done.quoted_query is not None:
        note(f"Names that are SQL keywords were put in double quotes: {done.quoted_query}")
    if done.bad_file:
        console.print(f"Bad rows: {done.bad_file}", highlight=False, soft_wrap=True)
    if done.imported_at is not None:
        note(
            f"These events were imported already, on {done.imported_at}, and nothing was added. "
            f"`--again` counts them again; `headrace import --undo {done.id}` removes them."
        )
    if dry_run:
        for row in done.first_bad:  # a dry run writes no file of them
            note(f"Bad: {row}")
        note("Nothing was imported: this was a dry run.")
    elif done.online is not None and done.online.events is None:
        note(done.online.note)
