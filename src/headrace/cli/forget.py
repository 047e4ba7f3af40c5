"""`headrace forget`: erase an entity."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.feature_commands import entity_row
from headrace.cli.output import AsJson, Folder, Yes, command, confirm, console, note, print_json, table
from headrace.config import Project
from headrace.errors import LookupRequestError, StoreLockedError, StoreMissingError
from headrace.plan import DType, Plan, View, read_plan
from headrace.times import as_stored, iso_time

if TYPE_CHECKING:
    from headrace.erasure import Entity, Forgotten, Inventory

__all__ = ["forget"]


@command
def forget(
    entity: Annotated[str | None, typer.Argument(help="A join key's name.", show_default=False)] = None,
    keys: Annotated[
        list[str] | None, typer.Argument(help="Its values; each is one entity.", show_default=False)
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", help="name=value; repeat for an entity of several keys.", show_default=False),
    ] = None,
    datasets: Annotated[
        Path | None,
        typer.Option(help="Where to look for exported datasets, if not in the project.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be erased.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
    folder: Folder = None,
) -> None:
    """Erase an entity permanently from online records, log and recorded lookups. No replay brings it back."""
    project = Project.load(folder)
    plan = read_plan(project.plan_file)
    folders = None if datasets is None else [datasets]
    entities = _entities(plan, entity, keys or [], key or [])
    exists, alone = _store_kind(project)
    if exists and alone and not dry_run:
        with _locked(project):
            pass  # where a worker runs, this fails before anybody is asked
    found = _held(project, plan, entities, folders)
    if dry_run:
        _show_inventories([inventory for _, inventory in found], as_json=as_json)
        return
    if not yes:
        _show_inventories([inventory for _, inventory in found], as_json=False)
    confirm("Erase all of this permanently?", yes=yes)
    try:
        done, stale = _erase(project, plan, [one for one, _ in found], folders, alone=alone)
    except KeyboardInterrupt as interrupt:
        interrupt.add_note("the erasure is not finished; run the same command again to finish it")
        raise
    if as_json:
        print_json({"forgotten": [asdict(one) for one in done], "made_anew": stale if alone else []})
        return
    for one in done:
        _show(one)
    if stale:
        names = ", ".join(stale)
        if alone:
            note(f"The online records were built again from the log: {names} had counted erased events.")
        else:
            note(f"{names} still count erased events: stop the workers and start one with `headrace stream --rebuild`.")


def _store_kind(project: Project) -> tuple[bool, bool]:
    """Whether there is a store, and whether one worker locks it: then none runs while this command has it open."""
    from headrace.stores import open_store

    try:
        with open_store(project.store_url, writable=False) as store:
            return True, not store.is_shared
    except StoreMissingError:
        return False, True


def _held(
    project: Project, plan: Plan, variants: list[list[Entity]], folders: list[Path] | None
) -> list[tuple[Entity, Inventory]]:
    """The data of each entity, in every type of its key; LookupRequestError where there never was any of one."""
    from headrace.erasure import inventory_of, places_of
    from headrace.erasure.forget import never_held
    from headrace.stores import open_store

    found: list[tuple[Entity, Inventory]] = []
    with console.status("Searching its data …"):
        try:
            store = open_store(project.store_url, writable=False)
        except StoreMissingError:
            store = None  # no worker has made one yet
        try:
            for entities in variants:
                looked = [
                    (one, inventory_of(project, plan, store, places_of(plan, store, one), folders)) for one in entities
                ]
                known = [(one, inventory) for one, inventory in looked if inventory.is_known]
                if not known:
                    raise never_held(plan, entities[0])
                found += known
        finally:
            if store is not None:
                store.close()
    return found


def _erase(
    project: Project, plan: Plan, entities: list[Entity], folders: list[Path] | None, *, alone: bool
) -> tuple[list[Forgotten], list[str]]:
    from headrace.erasure import forget_all
    from headrace.worker.startup import refill

    with _locked(project) as store, console.status("Erasing …"):
        fill_again = (lambda: refill(store, project, plan)) if alone else None
        done = forget_all(project, plan, store, entities, alone=alone, folders=folders, make_anew=fill_again)
    return done, sorted({name for one in done for name in one.stale_views})


@contextmanager
def _locked(project: Project) -> Iterator[Any]:
    from headrace.stores import open_store

    try:
        store = open_store(project.store_url, writable=True)
    except StoreLockedError as error:
        msg = f"{error.what} Nothing was erased."
        raise StoreLockedError(msg, hint="Stop the worker, forget again, and start the worker.") from error
    with store:
        yield store


def _entities(plan: Plan, entity: str | None, keys: list[str], pairs: list[str]) -> list[list[Entity]]:
    """The requested entities, each in every type that its keys have in views."""
    if bool(entity) == bool(pairs) or (entity and not keys):
        msg = "The entity to forget is not given."
        hint = (
            "Give a join key's name and values (`headrace forget carrier UA`), or --key name=value for each join key."
        )
        raise LookupRequestError(msg, hint=hint)
    views = list(plan.views.values())
    known = {key for view in views for key in view.join_keys}
    if entity and entity not in known:
        msg = f"{entity!r} is no join key of any view."
        raise LookupRequestError(msg, hint=f"Join keys are: {', '.join(sorted(known)) or 'none'}.")
    rows = [[f"{entity}={value}"] for value in keys] if entity else [pairs]
    return [_typed(row, views) for row in rows]


def _typed(pairs: list[str], views: list[View]) -> list[Entity]:
    """The entity of `name=value`, in every type that its keys have in views."""
    from headrace.lookup.wire_request import key_types

    names = {pair.partition("=")[0] for pair in pairs}
    kinds: dict[tuple[DType, ...], list[View]] = {}
    for view in views:
        types = {column.name: column.dtype for column in view.entities}
        if names <= set(types):
            kinds.setdefault(tuple(types[name] for name in sorted(names)), []).append(view)
    found: list[Entity] = []
    refused: LookupRequestError | None = None
    for alike in list(kinds.values()) or [views]:
        try:
            row = entity_row(pairs, key_types(alike))
        except LookupRequestError as error:
            refused = error
        else:
            found.append({name: as_stored(value) for name, value in row.items()})
    if not found and refused is not None:
        raise refused
    return found


def _show_inventories(found: list[Inventory], *, as_json: bool) -> None:
    if as_json:
        print_json({"dry_run": True, "would_forget": [_facts(inventory) for inventory in found]})
        return
    for inventory in found:
        rows: list[list[object]] = [[f"online records of {view}", count] for view, count in inventory.online.items()]
        rows += [[f"events in the log of {topic}", count] for topic, count in inventory.log.items()]
        rows += [
            [f"files of older versions of {topic}", count] for topic, count in inventory.old_files.items() if count
        ]
        rows.append(["recorded lookups", inventory.lookups])
        table(f"Would be erased: {' and '.join(inventory.names)}", ["", "count"], rows, numbers=["count"])
        for holder in inventory.datasets:
            note(f"A dataset has it and is not touched: {holder.manifest} ({_rows(holder.rows)}).")
        if inventory.made_anew:
            note(
                "Online records would be built again from the log: "
                f"{', '.join(inventory.made_anew)} counted its events."
            )
        if inventory.is_cut_short:
            note("An erasure of it was interrupted; this finishes it.")
        elif inventory.erasure is not None:
            note(f"It was erased before, at {iso_time(inventory.erasure.erased_us)}.")


def _facts(inventory: Inventory) -> dict[str, Any]:
    return {
        "names": list(inventory.names),
        "online": inventory.online,
        "log": inventory.log,
        "old_files": inventory.old_files,
        "lookups": inventory.lookups,
        "datasets": [asdict(holder) for holder in inventory.datasets],
        "made_anew": inventory.made_anew,
        "erased_before": None if inventory.erasure is None else iso_time(inventory.erasure.erased_us),
        "cut_short": inventory.is_cut_short,
    }


def _show(done: Forgotten) -> None:
    rows: list[list[object]] = [[f"online records of {view}", count] for view, count in done.online.items()]
    rows += [[f"events in the log of {topic}", count] for topic, count in done.log.items()]
    rows.append(["recorded lookups", done.lookups])
    table(f"Erased: {' and '.join(done.names)} {done.digest[:12]}…", ["", "removed"], rows, numbers=["removed"])
    for holder in done.datasets:
        line = f"[yellow]still has it:[/] {holder.manifest} ({_rows(holder.rows)})"
        console.print(line, highlight=False, soft_wrap=True)
    console.print(f"Receipt: {done.receipt}", highlight=False, soft_wrap=True)


def _rows(count: int | None) -> str:
    return "a file cannot be read" if count is None else f"{count:,} rows"
