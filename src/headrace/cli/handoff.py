"""Commands that change which version of a view is served: backfill, rollback."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated

import typer

from headrace.cli.output import AWAY, AsJson, Folder, command, console, errors, note, print_json
from headrace.config import Project
from headrace.errors import HeadraceError, LookupRequestError, PlanMismatchError, StoreLockedError
from headrace.extras import needing
from headrace.online import open_store
from headrace.online.meta import building_fact, previous_fact, refused_fact, view_fact
from headrace.online.versions import built_share, definition_of, unreadable
from headrace.plan import Plan, View, read_plan

__all__ = ["backfill", "rollback"]

_POLL_S = 0.25
_NOBODY_S = 15.0

ViewName = Annotated[str, typer.Argument(help="The view.", show_default=False)]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Only ask the workers; do not wait until it is live.")]


@command
def backfill(
    view: ViewName,
    no_wait: NoWait = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Take back what was asked for and is not live yet.")] = False,
    as_json: AsJson = False,
    folder: Folder = None,
) -> None:
    """Build a new or changed view from the log while the stream runs, and serve it once it has caught up."""
    _require_log()
    from headrace.stream.requests import cancel as take_back

    project = Project.load(folder)
    plan = read_plan(project.plan_path)
    declared = _declared(plan, view)
    if cancel:
        there = take_back(project.requests_path, view)
        if as_json:
            print_json({"view": view, "cancelled": there})
        else:
            console.print("Cancelled." if there else f"Nothing was asked for {view}.", highlight=False)
        return
    _hand_off(project, plan, declared, wait=not no_wait, as_json=as_json)


@command
def rollback(view: ViewName, no_wait: NoWait = False, as_json: AsJson = False, folder: Folder = None) -> None:
    """Serve the version that a view had before, once it has been brought up to date from the log."""
    _require_log()
    project = Project.load(folder)
    plan = read_plan(project.plan_path)
    declared = _declared(plan, view)
    facts = _facts(project)
    before = definition_of(facts, facts.get(previous_fact(view)))
    if before is None:
        msg = f"The view {view!r} has had no other version in this store."
        raise LookupRequestError(msg, cure="Change its definition back, `headrace apply`, and `headrace backfill` it.")
    why = unreadable(before, plan.source_of(declared))
    if why is not None:
        msg = f"{before.versioned_name} can no longer be computed: {why}, and the plan says otherwise now."
        raise PlanMismatchError(msg, cure="Change the source back, apply, and roll back again.")
    _hand_off(project, plan, before, wait=not no_wait, as_json=as_json)
    if before.hash != declared.hash and not as_json:
        note(
            f"The plan still says {declared.versioned_name}, and training sets are made by the plan: change the definition back and apply it."
        )


def _require_log() -> None:
    """Say at once which extra is missing; nothing was asked of anybody yet."""
    with needing("stream"):
        import headrace.log  # noqa: F401


def _hand_off(project: Project, plan: Plan, target: View, *, wait: bool, as_json: bool) -> None:
    from headrace.stream.requests import Request, ask

    began = time.monotonic()
    if _facts(project).get(view_fact(target.name)) == target.hash:
        _done(target, began, as_json, already=True)
        return
    ask(project.requests_path, Request(view=target, source=plan.sources[target.source]))
    if not _done_alone(project, plan):
        if not wait:
            if as_json:
                print_json({"view": target.name, "version": target.hash, "live": False})
            else:
                console.print(
                    f"Asked for {target.versioned_name}; `headrace status` shows how far it is.", highlight=False
                )
            return
        _wait(project, plan, target)
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
    """Do it here and now, if the store is one that a worker locks and none runs."""
    if not project.store_url.startswith("lmdb:"):
        return False
    from headrace.stream.start import hand_off_alone

    try:
        store = open_store(project.store_url, writable=True)
    except StoreLockedError:
        return False
    with store, console.status("No worker runs: building it here …"):
        return hand_off_alone(project, plan, store)


def _wait(project: Project, plan: Plan, target: View) -> None:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from headrace.log import EventLog

    log = EventLog(project.log_path, plan.sources[target.source])
    deadline = time.monotonic() + _NOBODY_S
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn()
    with (
        Progress(*columns, console=errors, transient=True) as progress,
        open_store(project.store_url, writable=False) as store,
    ):
        task = progress.add_task(f"building {target.versioned_name}", total=1.0)
        while True:
            facts = store.meta()
            if facts.get(view_fact(target.name)) == target.hash:
                return
            _give_up(facts, target, waited=time.monotonic() > deadline)
            if facts.get(building_fact(target.name)) == target.hash:
                progress.update(task, completed=built_share(facts, target.hash, log.last_offsets()))
            time.sleep(_POLL_S)


def _give_up(facts: Mapping[str, str], target: View, *, waited: bool) -> None:
    begun = facts.get(building_fact(target.name)) == target.hash
    if not begun and refused_fact(target.hash) in facts:
        msg = f"The worker does not build {target.versioned_name} yet: {facts[refused_fact(target.hash)]}"
        raise HeadraceError(msg, cure="The request stands; `headrace backfill --cancel` takes it back.")
    if not begun and waited:
        note(
            f"No worker has begun to build {target.versioned_name}. The request stands: start one with `headrace stream`."
        )
        raise typer.Exit(AWAY)


def _declared(plan: Plan, view: str) -> View:
    if view not in plan.views:
        msg = f"The plan has no view named {view!r}."
        raise LookupRequestError(msg, cure=f"Views: {', '.join(plan.views) or 'none'}.")
    return plan.views[view]


def _facts(project: Project) -> dict[str, str]:
    with open_store(project.store_url, writable=False) as store:
        return store.meta()
