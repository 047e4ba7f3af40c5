"""Up to when each batch view has been materialized: small notes in the project's state."""

from __future__ import annotations

import json
from typing import Any

from headrace.config import Project
from headrace.errors import StoreError, StoreUnavailableError
from headrace.plan import BatchView
from headrace.state import Note, State

__all__ = ["MaterializedTimes"]


class MaterializedTimes:
    """By view, the end of its last materialization that began at the beginning or where one before ended.

    Args:
        state: Where the notes are.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    @classmethod
    def of(cls, project: Project) -> MaterializedTimes:
        """The notes of a project."""
        return cls(project.state_files.below("materialized"))

    def until(self, view: BatchView) -> int | None:
        """The end in µs; None where the view's rows have not been materialized."""
        noted = self._note(view).read().get("until_us")
        return None if noted is None else int(noted)

    def note(self, view: BatchView, until_us: int) -> None:
        """Note an end; one that is earlier than the one noted changes nothing."""

        def later(noted: dict[str, Any]) -> dict[str, Any]:
            return {"view": view.name, "until_us": max(until_us, int(noted.get("until_us", until_us)))}

        self._note(view).update(later)

    def forget(self, view: BatchView) -> None:
        """Forget a view's end: its rows were removed."""
        self._note(view).update(lambda noted: {"view": view.name})

    def _note(self, view: BatchView) -> Note[dict[str, Any]]:
        file = self._state.file(f"{view.name}@{view.rows_hash}.json")

        def damaged(error: Exception) -> Exception:
            msg = f"The note {file} on what was materialized cannot be read: {error}."
            return StoreError(msg, hint="Delete it; the next run reads the whole source.")

        def unavailable(error: OSError) -> Exception:
            msg = f"The note {file} on what was materialized cannot be read or written: {error}."
            return StoreUnavailableError(msg, hint="Make the state folder writable.")

        return Note(file, dict, _checked, lambda value: value, damaged, unavailable)


def _checked(parsed: Any) -> dict[str, Any]:
    if not isinstance(parsed, dict):
        raise TypeError(json.dumps(parsed))
    return parsed
