"""Commands that change the served version of a view: backfill, rollback."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated

import typer

from headrace.cli.output import AWAY, AsJson, Folder, Yes, command, confirm, console, errors, note, print_json, table
from headrace.config import Project
from headrace.errors import (
    HeadraceError,
    LookupRequestError,
    PlanMismatchError,
    StoreLockedError,
    StoreUnavailableError,
)
from headrace.extras import needing
from headrace.plan import Plan, View, read_plan
from headrace.plan.view_versions import ViewVersions
from headrace.stores import Catalogue, open_store
from headrace.stores.catalogue import KeptVersion
from headrace.stores.served_plan import unreadable
from headrace.times import iso_time

__all__ = ["backfill", "rollback"]

_POLL_S = 0.25
_NOBODY_S = 15.0

ViewName = Annotated[str, typer.Argument(help="The view.", show_default=False)]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Only ask the workers; do not wait until it is live.")]


@command
def backfill(
    view: ViewName,
    no_wait: NoWait = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Cancel a request whose version is not live yet.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
    folder: Folder = None,
) -> None:
    """Build a new or changed view from the log while the stream runs, and serve it once it has caught up."""
    _require_log()
    from headrace.worker.handoff_requests import cancel as take_back

    project = Project.load(folder)
    plan = read_plan(project.plan_file)
    declared = _declared(plan, view)
    if cancel:
        _confirm_giving_up(project, plan, view, yes=yes)
        there = take_back(project.requests, view)
        if as_json:
            print_json({"view": view, "cancelled": there})
        else:
            console.print("Cancelled." if there else f"There is no request for {view}.", highlight=False)
        return
    _confirm_giving_up(project, plan, view, yes=yes, instead=declared)
    _hand_off(project, plan, declared, wait=not no_wait, as_json=as_json)


@command
def rollback(
    view: ViewName,
    to: Annotated[
        str | None,
        typer.Option("--to", help="The version to serve, by its hash or the hash's beginning.", show_default=False),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Only show the versions.")] = False,
    no_wait: NoWait = False,
    yes: Yes = False,
    as_json: AsJson = False,
    folder: Folder = None,
) -> None:
    """Serve the version that a view had before, after it has been brought up to date from the log."""
    _require_log()
    project = Project.load(folder)
    plan = read_plan(project.plan_file)
    declared = _declared(plan, view)
    versions = _catalogue(project).kept_versions(view)
    names = {one.view.hash: one.number_or_hash for one in ViewVersions(project.view_versions).of(plan, view)}
    if list_:
        _show_versions(view, versions, declared, names, as_json=as_json)
        return
    before = _before(view, versions) if to is None else _named(view, versions, to, names)
    why = unreadable(before, plan.source_of(declared))
    if why is not None:
        msg = f"{before.versioned_name} can no longer be computed: {why}, and the plan differs now."
        raise PlanMismatchError(msg, hint="Change the source back, apply, and roll back again.")
    _confirm_giving_up(project, plan, view, yes=yes, instead=before)
    _hand_off(project, plan, before, wait=not no_wait, as_json=as_json)
    if before.hash != declared.hash and not as_json:
        note(
            f"The plan still has {declared.versioned_name}, and training sets are made by the plan: change the "
            "definition back and apply it."
        )


def _require_log() -> None:
    """Fail at once where an extra is missing, before any request is made."""
    with needing("stream"):
        import headrace.log  # noqa: F401


def _before(view: str, versions: list[KeptVersion]) -> View:
    """The version before the live one, never one after it."""
    by_role = {one.role: one.view for one in versions}
    if "before" in by_role:
        return by_role["before"]
    if "undone" in by_role:
        undone = by_role["undone"]
        live = by_role["live"].versioned_name
        msg = f"{live} is the result of a rollback from {undone.versioned_name}, and no version before it is kept."
        raise LookupRequestError(
            msg, hint=f"`headrace rollback {view} --to {undone.hash}` serves {undone.versioned_name} again."
        )
    msg = f"The view {view!r} has had no other version in this store."
    raise LookupRequestError(msg, hint="Change its definition back, `headrace apply`, and `headrace backfill` it.")


def _named(view: str, versions: list[KeptVersion], to: str, names: Mapping[str, str]) -> View:
    wanted = to.rpartition("@")[2]
    kept_views = [one.view for one in versions if one.role != "building" and wanted]
    found = [one for one in kept_views if one.hash.startswith(wanted) or names.get(one.hash) == wanted]
    if len(found) != 1:
        kept = ", ".join(f"{one.view.versioned_name} ({one.role})" for one in versions)
        msg = f"The store has {'several versions' if found else 'no version'} {to!r} of {view!r}."
        raise LookupRequestError(msg, hint=f"It has: {kept or 'none'}.")
    return found[0]


def _show_versions(
    view: str, versions: list[KeptVersion], declared: View, names: Mapping[str, str], *, as_json: bool
) -> None:
    found = [
        {
            "version": one.view.hash,
            "name": f"{view}@{names.get(one.view.hash, one.view.hash)}",
            "role": one.role,
            "live_since": iso_time(one.since_us),
            "declared": one.view.hash == declared.hash,
        }
        for one in versions
    ]
    if as_json:
        print_json({"view": view, "versions": found})
        return
    rows = [
        [one["name"], one["version"], one["role"], one["live_since"], "yes" if one["declared"] else None]
        for one in found
    ]
    table(f"Versions of {view}", ["name", "version", "role", "first live", "declared"], rows, whole=["name", "version"])
    note("undone: a rollback replaced it; `headrace rollback VIEW --to VERSION` serves it again.")


def _confirm_giving_up(project: Project, plan: Plan, view: str, *, yes: bool, instead: View | None = None) -> None:
    """Ask before a version that is being built is discarded."""
    from headrace.log import EventLog

    try:
        catalogue = _catalogue(project)
    except StoreUnavailableError:
        return  # without a store, nothing is being built
    building = catalogue.definition(catalogue.building.get(view))
    if building is None or (instead is not None and building.hash == instead.hash):
        return
    source = plan.sources.get(building.source)
    ends = {} if source is None else EventLog(project.log_root, source).last_offsets()
    share = catalogue.built_share(building.hash, ends)
    confirm(f"{building.versioned_name} is being built ({share:.0%} done). Discard it?", yes=yes)


def _hand_off(project: Project, plan: Plan, target: View, *, wait: bool, as_json: bool) -> None:
    from headrace.worker.handoff_requests import Request, ask

    began = time.monotonic()
    if _catalogue(project).live.get(target.name) == target.hash:
        _done(target, began, as_json, already=True)
        return
    ask(project.requests, Request(view=target, source=plan.sources[target.source]))
    try:
        is_done = _done_alone(project, plan)
        if not is_done and wait:
            _wait(project, plan, target)
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(
            f"the request for {target.versioned_name} remains; run the same command again to continue, "
            f"or `headrace backfill {target.name} --cancel` to cancel it"
        )
        raise
    if not is_done and not wait:
        if as_json:
            print_json({"view": target.name, "version": target.hash, "live": False})
        else:
            console.print(f"Requested {target.versioned_name}; `headrace status` shows how far it is.", highlight=False)
        return
    _done(target, began, as_json, already=False)


def _done(target: View, began: float, as_json: bool, *, already: bool) -> None:
    if as_json:
        print_json(
            {"view": target.name, "version": target.hash, "live": True, "seconds": round(time.monotonic() - began, 3)}
        )
    elif already:
        console.print(f"{target.versioned_name} is live already.", highlight=False)
    else:
        console.print(f"[bold]{target.versioned_name}[/] is live.", highlight=False)


def _done_alone(project: Project, plan: Plan) -> bool:
    """Build it in this process, if the store is one that a worker locks and none runs."""
    from headrace.worker.startup import hand_off_alone

    try:
        store = open_store(project.store_url, writable=True)
    except StoreLockedError:
        return False
    with store:
        if store.is_shared:
            return False
        with console.status("No worker runs: building it here …"):
            return hand_off_alone(project, plan, store)


def _wait(project: Project, plan: Plan, target: View) -> None:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from headrace.log import EventLog

    log = EventLog(project.log_root, plan.sources[target.source])
    deadline = time.monotonic() + _NOBODY_S
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn()
    with (
        Progress(*columns, console=errors, transient=True) as progress,
        open_store(project.store_url, writable=False) as store,
    ):
        task = progress.add_task(f"building {target.versioned_name}", total=1.0)
        while True:
            catalogue = store.catalogue()
            if catalogue.live.get(target.name) == target.hash:
                return
            _give_up(catalogue, target, waited=time.monotonic() > deadline)
            if catalogue.building.get(target.name) == target.hash:
                progress.update(task, completed=catalogue.built_share(target.hash, log.last_offsets()))
            time.sleep(_POLL_S)


def _give_up(catalogue: Catalogue, target: View, *, waited: bool) -> None:
    begun = catalogue.building.get(target.name) == target.hash
    if not begun and target.hash in catalogue.refused:
        msg = f"The worker does not build {target.versioned_name} yet: {catalogue.refused[target.hash]}"
        raise HeadraceError(msg, hint="The request remains; `headrace backfill --cancel` cancels it.")
    if not begun and waited:
        note(
            f"No worker has begun to build {target.versioned_name}. The request remains: start one with "
            "`headrace stream`."
        )
        raise typer.Exit(AWAY)


def _declared(plan: Plan, view: str) -> View:
    if view not in plan.views:
        msg = f"The plan has no view named {view!r}."
        raise LookupRequestError(msg, hint=f"Views: {', '.join(plan.views) or 'none'}.")
    return plan.views[view]


def _catalogue(project: Project) -> Catalogue:
    with open_store(project.store_url, writable=False) as store:
        return store.catalogue()
