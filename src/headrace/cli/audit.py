"""The command that audits what was served."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.output import FAILED, AsJson, Folder, command, console, note, print_json, table
from headrace.config import Project

if TYPE_CHECKING:
    from headrace.audit import AuditReport

__all__ = ["audit"]

_SHOWN = 20


@command
def audit(
    since: Annotated[
        str | None,
        typer.Option(help="Only what was served in the last 30m, 1h, 7d; all if left out.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    folder: Folder = None,
) -> None:
    """Recompute recorded lookups from the log by their evidence. The exit code is 1 if any was served differently."""
    from headrace.audit import audit_lookups, since_us

    project = Project.load(folder)
    begin = None if since is None else since_us(since)
    with console.status("Recomputing what was served …"):
        report = audit_lookups(project, begin)
    if as_json:
        print_json(_json(report))
    else:
        _show(report, project, since)
    if not report.ok:
        raise typer.Exit(FAILED)


def _json(report: AuditReport) -> dict[str, Any]:
    from headrace.lookup.response import json_value

    facts = {name: value for name, value in asdict(report).items() if name not in {"apart", "skews"}}
    counts = {str(reason): count for reason, count in report.apart.items()}
    apart = {
        str(reason): {"lookups": count, "means": reason.means, "do": reason.hint}
        for reason, count in report.apart.items()
        if count
    }
    skews = [{name: json_value(value) for name, value in asdict(skew).items()} for skew in report.skews]
    features = [asdict(feature) for feature in report.by_feature()]
    return {
        "ok": report.ok,
        "compared": report.compared,
        **facts,
        **counts,
        "apart": apart,
        "features": features,
        "mismatches": skews,
    }


def _show(report: AuditReport, project: Project, since: str | None) -> None:
    when = f"in the last {since}" if since else "so far"
    if not report.lookups:
        console.print(f"No lookup was recorded {when}.", highlight=False)
        if not project.audit_sample:
            note("Set `sample` under [audit] in headrace.toml, or pass audit=0.01 to FeatureClient.")
        return
    rows = [
        ["lookups recorded", report.lookups],
        ["compared", report.compared],
        ["values compared", report.values],
        ["match", report.matches],
        ["differ", report.mismatched],
        *(["apart: " + str(reason).replace("_", " "), count] for reason, count in report.apart.items() if count),
        *([["apart, and match in another view", report.partly]] if report.partly else []),
        ["not recorded (queue full or table away)", report.unrecorded],
    ]
    table(f"Lookups served {when}", ["", "number"], rows, numbers=["number"])
    for reason, count in report.apart.items():
        if count:
            note(f"{str(reason).replace('_', ' ')}: {count:,} lookups {reason.means}. {reason.hint}")
    if report.skews:
        _show_skews(report)
    if report.share is not None:
        # Never rounded up to 100%.
        shown = "100" if report.ok else f"{int(report.share * 10_000) / 100:.2f}"
        colour = "green" if report.ok else "red"
        console.print(
            f"[bold {colour}]{shown}%[/] · {report.matches:,}/{report.compared:,} lookups match the log",
            highlight=False,
        )


def _show_skews(report: AuditReport) -> None:
    numbers = ["values", "largest skew", "relative"]
    features = [
        [one.feature.replace("__", ":"), one.mismatches, one.absolute, _percent(one.relative)]
        for one in report.by_feature()
    ]
    table("Features that differ", ["feature", *numbers], features, numbers=numbers)
    rows = [
        [
            skew.served_at,
            ", ".join(f"{name}={value}" for name, value in skew.keys.items()),
            skew.feature.replace("__", ":"),
            skew.served,
            skew.recomputed,
            skew.absolute,
            _percent(skew.relative),
        ]
        for skew in report.skews[:_SHOWN]
    ]
    columns = ["served at", "entity", "feature", "served", "recomputed", "skew", "relative"]
    table("Values that differ", columns, rows, numbers=columns[3:])
    if len(report.skews) > _SHOWN:
        console.print(f"… {len(report.skews) - _SHOWN:,} more; --json gives all.", highlight=False)


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.3%}"
