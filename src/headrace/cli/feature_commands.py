"""Commands that read features: lookup, history, dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from headrace.cli.output import FAILED, AsJson, Folder, command, console, note, print_json, table
from headrace.config import Project
from headrace.errors import ConfigError, LookupRequestError
from headrace.plan import DType, read_plan

if TYPE_CHECKING:
    from headrace.aggregates import Problem

__all__ = ["build", "dataset", "entity_row", "history", "lookup", "verify"]

Service = Annotated[
    str | None,
    typer.Option("--service", help="The feature service; the plan's only one if left out.", show_default=False),
]
Features = Annotated[
    list[str] | None,
    typer.Option(
        "--feature",
        help="view:feature, view:* or view@v2:feature (a version), instead of a service; repeat for more.",
        show_default=False,
    ),
]


@command
def lookup(
    key: Annotated[
        list[str], typer.Option("--key", help="A join key, or a field of the request, name=value; repeat for more.")
    ],
    service: Service = None,
    feature: Features = None,
    at: Annotated[
        str | None,
        typer.Option(
            help="The time of the lookup (ISO 8601; UTC if it has no zone); now if left out.", show_default=False
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help="Ask this server (http://host:port) instead of the store here.", show_default=False),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the token for the server.", show_default=False)
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(help="The certificates to trust (PEM), instead of the system's.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    folder: Folder = None,
) -> None:
    """Look up one entity's features in the online store, or at a server."""
    moment = _time(at)
    if url is None:
        _refuse_without_url(token_file, ca_file)
        project = Project.load(folder)
        answered_by = f"{project.clock} clock"
        record = _look_up_here(project, key, service, feature, moment)
    else:
        answered_by = url
        record = _look_up_at(url, token_file, ca_file, key, service, feature, moment)
    row = record["keys"]
    problems = record.get("problems", {})
    if as_json:
        print_json(record)
        return
    shown = ", ".join(f"{name}={value}" for name, value in row.items())
    features = [
        [cell.replace("__", ":", 1), "error" if cell in problems else value]
        for cell, value in record["features"].items()
    ]
    table(
        f"{shown} at {record['at']} ({answered_by})",
        ["feature", "value"],
        features,
        numbers=["value"],
        whole=["feature"],
    )
    seen = [[view, facts["status"], facts["newest_event"]] for view, facts in record["views"].items()]
    table("By view", ["view", "status", "newest event"], seen)
    for cell, reason in problems.items():
        note(f"{cell} is null: {reason}")


@command
def history(
    spine: Annotated[
        Path | None,
        typer.Option(help="Parquet, CSV or JSON lines: join keys and times, one row per example.", show_default=False),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(help="Instead of a spine: all entities at this time (ISO 8601; UTC).", show_default=False),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="Instead of a spine: each entity at the times of its events, from this time on.", show_default=False
        ),
    ] = None,
    end: Annotated[str | None, typer.Option(help="Before this time.", show_default=False)] = None,
    service: Service = None,
    feature: Features = None,
    as_of: Annotated[
        str, typer.Option(help="known: what was known at that time; event: what an instant pipeline would have known.")
    ] = "known",
    time_column: Annotated[str, typer.Option(help="The column of times.")] = "event_timestamp",
    known_until: Annotated[
        str | None,
        typer.Option(help="Only see events that had become known by this time (ISO 8601; UTC).", show_default=False),
    ] = None,
    log_version: Annotated[
        list[str] | None,
        typer.Option(
            help="The version of the log to read: a number, or topic=number for each topic.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write here instead of printing: .parquet, .csv or .jsonl.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    folder: Folder = None,
) -> None:
    """Features as they were: at a spine's rows, for all entities at one time, or over a range; from the log."""
    from headrace.training import TrainingClient
    from headrace.training.output_files import check_ending, write_result

    project = Project.load(folder)
    wanted = _features(read_plan(project.plan_file).services, service, feature)
    if out is not None:
        check_ending(out)
    found = TrainingClient(project).get_historical_features(
        spine,
        wanted,
        as_of=as_of,
        time_column=time_column,
        at=_time(at),
        start=_time(start),
        end=_time(end),
        known_until=_time(known_until),
        log_version=_log_version(log_version or []),
    )
    result = found.to_arrow()
    if out is not None:
        write_result(result, out)
        console.print(f"Wrote {result.num_rows:,} rows to {out}", highlight=False)
        _note_problems(found.problems)
        return
    rows = [_json_row(row) for row in result.to_pylist()]
    if as_json:
        print_json({"rows": rows, "problems": [problem._asdict() for problem in found.problems]})
        return
    shown = rows[:20]
    table(f"{len(rows):,} rows, as of {as_of}", result.column_names, [list(row.values()) for row in shown])
    if len(shown) < len(rows):
        console.print(f"… {len(rows) - len(shown):,} more; --json or --out gives all.", highlight=False)
    _note_problems(found.problems)


@command
def build(
    name: Annotated[str, typer.Argument(help="The dataset: offline/datasets/<name>.py.")],
    out: Annotated[
        Path | None,
        typer.Option(help="The folder to write; datasets/<name> in the state folder if left out.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    folder: Folder = None,
) -> None:
    """Export a training set: Parquet shards by split, and a manifest with what is needed to build them again."""
    from headrace.cli.datasets import build_dataset

    project = Project.load(folder)
    built = build_dataset(project, name, out or project.state / "datasets" / name)
    if as_json:
        print_json(built)
        return
    rows = [[split, facts["rows"], facts["files"]] for split, facts in built["splits"].items()]
    table(f"{name} · plan {built['plan']}", ["split", "rows", "files"], rows, numbers=["rows", "files"])
    console.print(f"Wrote {built['manifest']}", highlight=False)
    for cell, reasons in built["problems"].items():
        for reason, count in reasons.items():
            note(f"{cell} is null in {count:,} {'row' if count == 1 else 'rows'}: {reason}")


@command
def verify(
    manifest: Annotated[Path, typer.Argument(help="A dataset's manifest.json, or its folder.")],
    as_json: AsJson = False,
    folder: Folder = None,
) -> None:
    """Build a dataset again from its manifest and compare the bytes. The exit code is 1 if they differ."""
    from headrace.cli.datasets import verify_dataset

    report = verify_dataset(Project.load(folder), manifest)
    if as_json:
        print_json(report)
    elif report["ok"]:
        console.print(f"The same bytes: {report['files']} files.", highlight=False)
        for remark in report["notes"]:
            note(remark)
    else:
        for found in report["reasons"]:
            for problem in found["problems"]:
                console.print("[red]differs:[/]", escape(problem), highlight=False, soft_wrap=True)
            hint = escape(f"{found['reason'].replace('_', ' ')}: {found['do']}")
            console.print("  [cyan]→[/]", hint, highlight=False, soft_wrap=True)
    if not report["ok"]:
        raise typer.Exit(FAILED)


def _look_up_here(
    project: Project, key: list[str], service: str | None, feature: list[str] | None, at: datetime | None
) -> dict[str, Any]:
    """The record of a lookup in the project's store."""
    from headrace.lookup import FeatureClient
    from headrace.lookup.wire_request import key_types

    with FeatureClient(project) as client:
        wanted = _features(client.plan.services, service, feature)
        plan = client.plan_for(wanted)
        refs = plan.resolve(wanted)
        fields = {name: field.dtype for name, field in plan.request_fields(refs).items()}
        types = fields | key_types(plan.stored_views(refs))
        return client.get_online_features(wanted, [entity_row(key, types)], at).records()[0]


def _look_up_at(
    url: str,
    token_file: Path | None,
    ca_file: Path | None,
    key: list[str],
    service: str | None,
    feature: list[str] | None,
    at: datetime | None,
) -> dict[str, Any]:
    """The record of a lookup at a server."""
    from headrace.client.http_client import HttpClient
    from headrace.client.http_settings import HttpSettings

    with closing(HttpClient(url, _token(token_file), HttpSettings(ca_file=ca_file))) as client:
        catalog = client.catalog()
        wanted = _features(catalog.services, service, feature)
        types = catalog.key_types(catalog.features([wanted] if isinstance(wanted, str) else wanted))
        return client.get_online_features(wanted, [entity_row(key, types)], at).records()[0]


def _token(file: Path | None) -> str | None:
    """The token in a file."""
    try:
        return None if file is None else file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"The token cannot be read: {error}."
        raise ConfigError(msg, hint="Give --token-file the file with what `headrace token create` printed.") from error


def _refuse_without_url(token_file: Path | None, ca_file: Path | None) -> None:
    for name, given in (("--token-file", token_file), ("--ca-file", ca_file)):
        if given is not None:
            msg = f"{name} is for a server, and no server is named."
            raise LookupRequestError(msg, hint="Give --url http://host:port too.")


def _features(services: Collection[str], service: str | None, features: list[str] | None) -> str | list[str]:
    if service and features:
        msg = "--service and --feature cannot be given together."
        raise LookupRequestError(msg, hint="Name a service, or the features one by one.")
    if features:
        return features
    if service:
        return service
    if len(services) == 1:
        return next(iter(services))
    msg = f"Which features? The plan has {len(services)} feature services."
    raise LookupRequestError(msg, hint=f"Give --service ({', '.join(services) or 'none'}) or --feature view:feature.")


def entity_row(keys: list[str], types: Mapping[str, DType]) -> dict[str, Any]:
    """The row of `--key name=value`, typed as the join keys; LookupRequestError where it names none of them."""
    row: dict[str, Any] = {}
    for pair in keys:
        name, equals, text = pair.partition("=")
        if not equals or name not in types:
            msg = f"--key {pair} names no join key of these features."
            raise LookupRequestError(msg, hint=f"Give {', '.join(f'--key {name}=…' for name in types)}.")
        row[name] = _typed(name, text, types[name])
    return row


def _time(text: str | None) -> datetime | None:
    from headrace.produce import parse_time

    return None if text is None else parse_time(text)


def _log_version(given: list[str]) -> int | dict[str, int | None] | None:
    """The version of the log that `--log-version` names, or by topic the versions."""
    found: dict[str, int | None] = {}
    for text in given:
        topic, _, number = text.rpartition("=")
        if not number.isdecimal() or topic in found or (not topic and len(given) > 1):
            msg = f"--log-version {text} is no version of the log."
            raise LookupRequestError(msg, hint="Write --log-version 12, or --log-version orders=12 for each topic.")
        found[topic] = int(number)
    return found.get("", found or None)


def _typed(name: str, text: str, dtype: DType) -> Any:
    try:
        match dtype:
            case DType.INT64:
                return int(text)
            case DType.FLOAT64:
                return float(text)
            case DType.BOOL:
                return {"true": True, "false": False}[text.lower()]
            case DType.TIMESTAMP:
                from headrace.produce import parse_time

                return parse_time(text)
            case DType.DATE:
                return date.fromisoformat(text)
            case _:
                return text
    except (ValueError, KeyError):
        msg = f"--key {name}={text} is not of the type {dtype}."
        raise LookupRequestError(msg) from None


def _note_problems(problems: Sequence[Problem]) -> None:
    """Print how many values of each feature are null because they cannot be given, and why."""
    counts = Counter((problem.feature, problem.reason) for problem in problems)
    for (feature, reason), rows in counts.items():
        note(f"{feature} is null in {rows:,} {'row' if rows == 1 else 'rows'}: {reason}")


def _json_row(row: dict[str, Any]) -> dict[str, Any]:
    from headrace.lookup.response import json_value

    return {name: json_value(value) for name, value in row.items()}


dataset = typer.Typer(
    help="Training sets: build them, and prove that they can be built again.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
dataset.command("build")(build)
dataset.command("verify")(verify)
