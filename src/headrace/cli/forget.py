"""The command that erases an entity."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.output import AsJson, Folder, command, console, note, print_json, table
from headrace.cli.read import entity_row
from headrace.config import Project
from headrace.errors import LookupRequestError, StoreLockedError
from headrace.plan import Plan, read_plan
from headrace.times import us_of

if TYPE_CHECKING:
    from headrace.erasure import Entity, Forgotten

__all__ = ["forget"]


@command
def forget(
    entity: Annotated[str | None, typer.Argument(help="A join key's name.", show_default=False)] = None,
    keys: Annotated[
        list[str] | None, typer.Argument(help="Its values: each is forgotten by itself.", show_default=False)
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", help="name=value; repeat: what has all of them is forgotten.", show_default=False),
    ] = None,
    datasets: Annotated[
        Path | None,
        typer.Option(help="Where to look for exported datasets, if not in the project.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    folder: Folder = None,
) -> None:
    """Erase an entity from online records, log and recorded lookups, for good; no replay brings it back."""
    from headrace.erasure import forget as erase
    from headrace.online import open_store

    project = Project.load(folder)
    plan = read_plan(project.plan_path)
    entities = _entities(plan, entity, keys or [], key or [])
    alone = project.store_url.startswith("lmdb:")
    try:
        store = open_store(project.store_url, writable=True)
    except StoreLockedError as error:
        msg = f"{error.what} Nothing was erased."
        raise StoreLockedError(msg, cure="Stop the worker, forget again, and start the worker.") from error
    with store, console.status("Erasing …"):
        folders = None if datasets is None else [datasets]
        done = [erase(project, plan, store, one, alone=alone, folders=folders) for one in entities]
        stale = sorted({name for one in done for name in one.stale_views})
        if stale and alone:
            from headrace.stream.start import refill

            refill(store, project, plan)
    if as_json:
        print_json({"forgotten": [asdict(one) for one in done], "made_anew": stale if alone else []})
        return
    for one in done:
        _show(one)
    if stale:
        names = ", ".join(stale)
        if alone:
            note(f"The online records were made anew from the log: {names} had counted erased events.")
        else:
            note(f"{names} still count erased events: stop the workers and start one with `headrace stream --rebuild`.")


def _entities(plan: Plan, entity: str | None, keys: list[str], pairs: list[str]) -> list[Entity]:
    if bool(entity) == bool(pairs) or (entity and not keys):
        msg = "Forget whom?"
        cure = (
            "Give a join key's name and values (`headrace forget carrier UA`), or --key name=value for each join key."
        )
        raise LookupRequestError(msg, cure=cure)
    views = list(plan.views.values())
    known = {key for view in views for key in view.join_keys}
    if entity and entity not in known:
        msg = f"{entity!r} is no join key of any view."
        raise LookupRequestError(msg, cure=f"Join keys are: {', '.join(sorted(known)) or 'none'}.")
    rows = [entity_row([f"{entity}={value}"], views) for value in keys] if entity else [entity_row(pairs, views)]
    return [{name: _as_held(value) for name, value in row.items()} for row in rows]


def _as_held(value: Any) -> Any:
    return us_of(value) if isinstance(value, datetime) else value


def _show(done: Forgotten) -> None:
    rows: list[list[object]] = [[f"online records of {view}", count] for view, count in done.online.items()]
    rows += [[f"events in the log of {topic}", count] for topic, count in done.log.items()]
    rows.append(["recorded lookups", done.lookups])
    table(f"Erased: {' and '.join(done.names)} {done.digest[:12]}…", ["", "removed"], rows, numbers=["removed"])
    if not any((*done.online.values(), *done.log.values(), done.lookups)):
        note("Nothing was held of it. It was noted all the same: older events of it stay out.")
    for holder in done.datasets:
        rows_held = "a file cannot be read" if holder.rows is None else f"{holder.rows:,} rows"
        console.print(f"[yellow]still holds it:[/] {holder.manifest} ({rows_held})", highlight=False, soft_wrap=True)
    console.print(f"Receipt: {done.receipt}", highlight=False, soft_wrap=True)
