"""Commands about definitions: init, apply, plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.output import DIFFERENT, AsJson, Folder, command, console, note, print_json, table
from headrace.config import Project

if TYPE_CHECKING:
    from headrace.declare import PlanDiff

__all__ = ["apply", "init", "plan"]


@command
def init(
    name: Annotated[str, typer.Argument(help="The project's name; a folder with that name is made here.")],
    template: Annotated[
        str, typer.Option(help="The example: shop (orders) or sensors (readings, with filters and event ids).")
    ] = "shop",
) -> None:
    """Make a small working project to change, with tests of its features."""
    from headrace.cli.scaffold import scaffold

    folder = Path(name)
    files = scaffold(folder, template=template)
    console.print(f"Made {folder}/ with {len(files)} files. Now:\n", highlight=False)
    console.print((folder / "README.md").read_text(encoding="utf-8"), highlight=False, markup=False)


@command
def apply(as_json: AsJson = False, folder: Folder = None) -> None:
    """Register the definitions with Feast and compile them into the plan."""
    from headrace.declare import apply as apply_definitions
    from headrace.declare.feast_import import require_feast

    project = Project.load(folder)
    with console.status("Reading the feature repo (importing Feast takes a few seconds) …"):
        require_feast()
        result = apply_definitions(project)
    if as_json:
        print_json({"plan": result.plan.hash, "path": str(result.plan_file), **result.diff.to_dict()})
        return
    _show_changes(result.diff)
    console.print(f"Applied: plan [bold]{result.plan.hash}[/] in {result.plan_file}", highlight=False)


@command
def plan(
    as_json: AsJson = False,
    check: Annotated[bool, typer.Option("--check", help=f"Exit with {DIFFERENT} if anything would change.")] = False,
    folder: Folder = None,
) -> None:
    """Show what `apply` would change, and change nothing."""
    from headrace.declare import plan_changes
    from headrace.declare.feast_import import require_feast

    project = Project.load(folder)
    with console.status("Reading the feature repo (importing Feast takes a few seconds) …"):
        require_feast()
        diff = plan_changes(project)
    if as_json:
        print_json(diff.to_dict())
    else:
        _show_changes(diff)
    if check and diff:
        raise typer.Exit(DIFFERENT)


def _show_changes(diff: PlanDiff) -> None:
    for remark in (diff.note, *diff.warnings):
        if remark:
            note(remark)
    if not diff:
        console.print("Nothing changes.")
        return
    rows = [[change.action, change.kind, change.name, "\n".join(change.details)] for change in diff.changes]
    table("Changes", ["", "what", "name", "how"], rows)
    if diff.replaced_views:
        names = ", ".join(diff.replaced_views)
        note(
            f"Changed views ({names}) are new to the online store: `headrace backfill VIEW` builds one from the log "
            "while the old version serves; `headrace stream --rebuild` fills the whole store again."
        )
