"""Commands that show what is declared: list, show."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from headrace.cli.output import AsJson, Folder, command, console, note, print_json, table
from headrace.cli.project_facts import KINDS, everything, facts_of
from headrace.config import Project
from headrace.errors import LookupRequestError
from headrace.plan import read_plan

__all__ = ["list_", "show"]

_PARTS = {"features": ["feature", "is", "type"], "columns": ["column", "type"], "derived": ["derived column", "as"]}
"""The parts that have their own table."""


@command
def list_(as_json: AsJson = False, folder: Folder = None) -> None:
    """Show what is declared: sources, views, feature services and datasets."""
    project = Project.load(folder)
    found = everything(project, read_plan(project.plan_file))
    if as_json:
        print_json(found)
        return
    console.print(f"{found['project']} · plan {found['plan']} · {found['clock']} clock", highlight=False)
    for kind in KINDS:
        rows = found[f"{kind}s"]
        if rows:
            cells = [[", ".join(cell) if isinstance(cell, list) else cell for cell in row.values()] for row in rows]
            table(f"{kind}s", list(rows[0]), cells, numbers=["features"], whole=[kind])
    note("`headrace show NAME` shows more about each.")


@command
def show(
    name: Annotated[str, typer.Argument(help="A view, a source (or its topic), a feature service or a dataset.")],
    kind: Annotated[
        str | None,
        typer.Option(help="view, source, service or dataset, where several have the name.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    folder: Folder = None,
) -> None:
    """Explain one thing: its definition, its size, its freshness, its versions, and a command to try."""
    if kind is not None and kind not in KINDS:
        msg = f"--kind is {kind!r}."
        raise LookupRequestError(msg, hint=f"It is one of {', '.join(KINDS)}.")
    project = Project.load(folder)
    found = facts_of(project, read_plan(project.plan_file), name, kind)
    if as_json:
        print_json(found)
        return
    console.print(f"[bold]{found['name']}[/]: {found['is']}", highlight=False)
    lines = [
        [key.replace("_", " "), _shown(value)]
        for key, value in found.items()
        if key not in (*_PARTS, "kind", "name", "is", "example", "notes")
    ]
    table("", ["", ""], lines, headed=False)
    for part, columns in _PARTS.items():
        if found.get(part):
            rows = [
                [key, *(value.values() if isinstance(value, dict) else [value])] for key, value in found[part].items()
            ]
            table(part, columns, rows)
    for remark in found["notes"]:
        note(remark)
    console.print(f"Try: {found['example']}", highlight=False, soft_wrap=True)


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(one)}" for key, one in value.items()) or None
    if isinstance(value, list):
        return ", ".join(str(one) for one in value) or None
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value
