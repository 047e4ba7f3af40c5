"""`headrace reset`: empty the online store and the log."""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.output import AsJson, Folder, Yes, command, confirm, console, print_json, table
from headrace.config import Project
from headrace.errors import ConfigError, HeadraceError, LogUnavailableError, StoreLockedError
from headrace.plan import Plan, read_plan
from headrace.worker.heartbeat import read_heartbeats

if TYPE_CHECKING:
    from headrace.stores import OnlineStore

__all__ = ["reset"]

_ASIDE = ".removed"


@dataclass(frozen=True)
class Removal:
    """Something that is removed.

    Attributes:
        what: What it is.
        where: Where it is.
        holds: Its contents, as text.
    """

    what: str
    where: str
    holds: str


@command
def reset(
    datasets: Annotated[bool, typer.Option("--datasets", help="Remove the datasets in the state folder, too.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
    folder: Folder = None,
) -> None:
    """Empty online store and log, and what depends on them. Definitions, plan and the ledger of erasures stay."""
    from headrace.stores import open_store

    project = Project.load(folder)
    plan = read_plan(project.plan_file)
    if project.log_root.uri != str(project.log_path):
        msg = f"The log is at {project.log_root.uri}, and only a log in the state folder is reset. Nothing was removed."
        raise ConfigError(
            msg, hint="Empty that place by its own tools, remove `uri` from [log], and run `headrace reset` again."
        )
    _refuse_beside_workers(project)
    # Opened to write: this locks an LMDB store, so no worker can start before the end.
    with open_store(project.store_url, writable=True, any_format=True) as store:
        folders = _folders(project, datasets=datasets)
        removals = [_of_store(project, store), *_of_log(project, plan), *_of_folders(folders)]
        if not as_json:
            table("To be removed", ["what", "where", "holds"], [[one.what, one.where, one.holds] for one in removals])
        confirm("Remove all of this permanently?", yes=yes)
        # The store first: the log can fill an empty store, but a store cannot fill an empty log.
        store.clear()
        store.sync()
        for path in [*folders.values(), project.log_path]:
            _remove(path)
    if as_json:
        print_json({"removed": [asdict(one) for one in removals]})
        return
    console.print(
        "Removed. `headrace stream` reads the topics again, from the oldest record that the broker has.",
        highlight=False,
    )


def _refuse_beside_workers(project: Project) -> None:
    """Refuse where a worker runs, because it would go on writing.

    On Redis only its sign of life shows it, there is no lock.
    """
    now = time.time()
    running = [one.worker for one in read_heartbeats(project.workers_path) if not one.is_gone and not one.is_stale(now)]
    if running:
        msg = f"A worker of this project runs: {', '.join(running)}. Nothing was removed."
        raise StoreLockedError(msg, hint="Stop the workers, and run `headrace reset` again.")


def _folders(project: Project, *, datasets: bool) -> dict[str, Path]:
    """The folders that depend on store and log, which are removed before the log."""
    found = {
        "recorded lookups": project.audit_path,
        "plans that they were served under": project.state / "plans",
        "requests to the workers": project.state / "requests",
        "notes on datasets' log versions": project.state / "pins",
    }
    if datasets:
        found["datasets"] = project.state / "datasets"
    return {what: path for what, path in found.items() if path.exists()}


def _of_store(project: Project, store: OnlineStore) -> Removal:
    offsets = sum(position.offset + 1 for position in store.positions().values())
    return Removal("online store", project.store_url, f"{offsets:,} offsets applied")


def _of_log(project: Project, plan: Plan) -> list[Removal]:
    from headrace.log import EventLog

    sources = {source.topic: source for source in plan.sources.values()}
    found = []
    for path in sorted(project.log_path.iterdir()) if project.log_path.exists() else []:
        if not path.is_dir():
            continue
        if path.name in sources:
            try:
                holds = f"{EventLog(project.log_root, sources[path.name]).snapshot().rows:,} events"
            except HeadraceError as error:  # a broken log is a reason for a reset
                holds = f"it cannot be read: {error.what}"
        else:
            holds = "a topic that the plan does not have"
        found.append(Removal("log", str(path), holds))
    return found


def _of_folders(folders: dict[str, Path]) -> list[Removal]:
    return [Removal(what, str(path), f"{_files(path):,} files") for what, path in folders.items()]


def _files(path: Path) -> int:
    return sum(1 for one in path.rglob("*") if one.is_file())


def _remove(path: Path) -> None:
    """Remove a folder. It is renamed first, so that an interrupted removal leaves no half of it in its place."""
    if path.is_symlink():
        msg = f"{path} is a link, and headrace does not remove the folder that it points to."
        raise ConfigError(msg, hint="Remove its contents, and run `headrace reset` again.")
    aside = path.with_name(f"{path.name}{_ASIDE}")
    try:
        if aside.exists():
            shutil.rmtree(aside)
        if path.exists():
            path.rename(aside)
            shutil.rmtree(aside)
    except OSError as error:
        msg = f"{path} cannot be removed: {error}."
        raise LogUnavailableError(msg, hint="Make the folder writable, and run `headrace reset` again.") from error
