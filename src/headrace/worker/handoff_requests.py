"""What people ask of the workers: to build a version of a view and serve it.

A request is stored in the project's state, which all workers share. It holds the version's definition and that of its
source, so that a worker that started under another plan knows what is meant.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

from headrace.errors import ConfigError
from headrace.plan import Source, View
from headrace.state import State, StateConflictError

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


def ask(state: State, request: Request) -> None:
    """Leave a request for the workers; it replaces an earlier one for the same view.

    Args:
        state: The requests of a project (`Project.requests`).
        request: What is asked for.

    Raises:
        ConfigError: It cannot be written.
    """
    name = _name(request.view.name)
    try:
        state.write(name, (request.model_dump_json(indent=2) + "\n").encode())
    except OSError as error:
        msg = f"The request {state.place(name)} cannot be written: {error}."
        raise ConfigError(msg, hint="Make the folder writable, or set `state` in headrace.toml to another.") from error


def read_requests(state: State) -> dict[str, Request]:
    """The requests, by view.

    Args:
        state: The requests of a project.

    Raises:
        ConfigError: One cannot be read.
    """
    found = [_read(state, name) for name in state.names() if name.endswith(".json")]
    return {one[0].view.name: one[0] for one in found if one is not None}


def withdraw(state: State, request: Request) -> None:
    """Remove a request that was met, unless another one has taken its place."""
    name = _name(request.view.name)
    found = _read(state, name)
    if found is not None and found[0].view.hash == request.view.hash:
        try:
            state.delete(name, expected=found[1])
        except StateConflictError:
            return  # another request has taken its place just now


def cancel(state: State, view: str) -> bool:
    """Take a request back, whether or not it has been begun.

    Args:
        state: The requests of a project.
        view: The view's name.

    Returns:
        Whether there was one.
    """
    return state.delete(_name(view))


def _name(view: str) -> str:
    return f"{view}.json"


def _read(state: State, name: str) -> tuple[Request, str] | None:
    """A request and its version; None where another worker has just removed it."""
    try:
        stored = state.read(name)
        return None if stored is None else (Request.model_validate_json(stored.data), stored.version)
    except (ValidationError, OSError) as error:
        msg = f"The request {state.place(name)} cannot be read: {str(error).splitlines()[0]}"
        raise ConfigError(msg, hint="Remove the file and ask again with `headrace backfill`.") from error
