"""What people ask of the workers: to build a version of a view and serve it.

A request is a file in the project's state folder, which workers, as they share the log, share as well. It holds the version's definition and that
of its source, so that a worker that started under another plan knows what is meant.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from headrace.errors import ConfigError
from headrace.plan import Source, View

__all__ = ["Request", "ask", "cancel", "read_requests", "withdraw"]


class Request(BaseModel):
    """Build a version of a view from the log, and serve it once it has caught up.

    Attributes:
        view: The version.
        source: The source it is computed from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    view: View
    source: Source


def ask(folder: Path, request: Request) -> None:
    """Leave a request for the workers; it takes the place of one for the same view.

    Args:
        folder: The folder of requests.
        request: What is asked for.

    Raises:
        ConfigError: The folder cannot be written.
    """
    path = _path(folder, request.view.name)
    draft = path.with_suffix(".new")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft.write_text(request.model_dump_json(indent=2) + "\n", encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        msg = f"The request {path} cannot be written: {error}."
        raise ConfigError(msg, hint="Make the folder writable, or set `state` in headrace.toml to another.") from error


def read_requests(folder: Path) -> dict[str, Request]:
    """What is asked for, by view.

    Args:
        folder: The folder of requests.

    Raises:
        ConfigError: A file there does not read.
    """
    found: dict[str, Request] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            request = Request.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            continue  # another worker has just done it
        except (ValidationError, OSError) as error:
            msg = f"The request {path} does not read: {str(error).splitlines()[0]}"
            raise ConfigError(msg, hint="Remove the file and ask again with `headrace backfill`.") from error
        found[request.view.name] = request
    return found


def withdraw(folder: Path, request: Request) -> None:
    """Remove a request that was met, unless another one has taken its place."""
    path = _path(folder, request.view.name)
    current = read_requests(folder).get(request.view.name)
    if current is not None and current.view.hash == request.view.hash:
        path.unlink(missing_ok=True)


def cancel(folder: Path, view: str) -> bool:
    """Take a request back, whether or not it has been begun.

    Args:
        folder: The folder of requests.
        view: The view's name.

    Returns:
        Whether there was one.
    """
    path = _path(folder, view)
    there = path.exists()
    path.unlink(missing_ok=True)
    return there


def _path(folder: Path, view: str) -> Path:
    return folder / f"{view}.json"
