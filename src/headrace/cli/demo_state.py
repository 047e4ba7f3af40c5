"""Where a demo may write: an empty state folder, or one with only the data of an earlier demo, unchanged since."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace.cli.output import note
from headrace.config import Project
from headrace.errors import ConfigError

__all__ = ["demo_project", "demo_state"]

_MARKER = "demo.json"

_MADE_AGAIN = {"plan.json", "registry.db", "broker.json", "broker.log", "worker.log", "faust", ".lock", _MARKER}
"""Files that commands write again; removing them loses no data."""

_OPENED = {"lock.mdb", "worker.lock", ".lock"}
"""Files that change when a store is merely opened."""


def demo_project(start: Path | None) -> Project:
    """The project for the demo: on the embedded broker and LMDB, in a state folder that the demo may empty.

    Where the project's own state folder has other data, it is a folder beside that one, whose name ends with -demo.

    Args:
        start: A folder in the project.

    Returns:
        The project. $HEADRACE_STATE names the folder from here on, for the worker that the demo starts.

    Raises:
        ConfigError: The project is set to another broker or store, a broker runs in its state folder, or neither folder
            is free.
    """
    project = Project.load(start)
    if project.broker is not None:
        msg = f"The demo runs on the embedded broker; the project is set to {project.broker}."
        raise ConfigError(msg, hint='Unset HEADRACE_BROKER, or set broker = "embedded" in headrace.toml.')
    if project.store_url != f"lmdb:{project.state / 'online'}":
        msg = f"The demo fills a store of its own; the project is set to {project.store_url}."
        raise ConfigError(msg, hint="Run it with HEADRACE_STORE=lmdb.")
    why = _not_free(project)
    if why is None:
        os.environ["HEADRACE_STATE"] = str(project.state)
        return project
    beside = project.state.with_name(f"{project.state.name}-demo")
    os.environ["HEADRACE_STATE"] = str(beside)
    own = Project.load(start)
    also = _not_free(own)
    if also is not None:
        msg = f"The demo empties the folder that it runs in, and {why}. In {beside}, {also}."
        raise ConfigError(msg, hint=f"Move {beside} away, or name another folder: HEADRACE_STATE=FOLDER headrace demo")
    note(f"{why[0].upper()}{why[1:]}: it is not touched, and the demo runs in {beside}.")
    return own


@contextmanager
def demo_state(project: Project) -> Iterator[None]:
    """Remove the data of an earlier demo. At the end, also after an error, note what this demo wrote.

    Args:
        project: The project from `demo_project`.

    Yields:
        Nothing.
    """
    for path in _data(project.state):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    project.state.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        written = {"made_by": "headrace demo", "wrote": _fingerprint(project.state)}
        (project.state / _MARKER).write_text(json.dumps(written) + "\n", encoding="utf-8")


def _not_free(project: Project) -> str | None:
    """Why a demo must not run in a project's state folder; None where it may."""
    from headrace.kafka import running_broker

    if running_broker(project.broker_state_path) is not None:
        return f"an embedded broker (`headrace dev`) runs in {project.state}"
    if not _data(project.state):
        return None
    try:
        noted = json.loads((project.state / _MARKER).read_text(encoding="utf-8"))["wrote"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"{project.state} has data that no demo made"
    if noted != _fingerprint(project.state):
        return f"{project.state} has data that was written after the demo"
    return None


def _data(state: Path) -> list[Path]:
    if not state.is_dir():
        return []
    return sorted(path for path in state.iterdir() if path.name not in _MADE_AGAIN)


def _fingerprint(state: Path) -> dict[str, list[int]]:
    """Every data file with its size and the time of its last change."""
    files = [found for path in _data(state) for found in ([path] if path.is_file() else path.rglob("*"))]
    facts = {str(file.relative_to(state)): file.lstat() for file in files if not file.is_dir()}
    return {
        name: [found.st_size, found.st_mtime_ns]
        for name, found in sorted(facts.items())
        if Path(name).name not in _OPENED
    }
