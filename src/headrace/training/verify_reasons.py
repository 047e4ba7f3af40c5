"""Why a dataset cannot be built again with the same bytes: each reason by name, and what to do about it."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

__all__ = ["NamedReason", "Problem", "Reason"]


class NamedReason(StrEnum):
    """A reason that has a name, for programs, and texts, for people.

    Attributes:
        hint: What to do about it.
        means: What it means; empty where each case says so itself.
    """

    hint: str
    means: str

    def __new__(cls, name: str, hint: str, means: str = "") -> Self:
        """A reason with its texts."""
        made = str.__new__(cls, name)
        made._value_, made.hint, made.means = name, hint, means
        return made


class Reason(NamedReason):
    """A reason why a dataset cannot be built again with the same bytes."""

    DIFFERS = (
        "differs",
        "Nothing explains it: somebody edited the dataset's manifest, or the log under it. Build the dataset again.",
    )
    FILES_CHANGED = ("files_changed", "Restore the dataset's files from a copy, or build the dataset again.")
    NEW_LOG = ("new_log", "The log that it was built from is gone. Restore it from a copy, or build the dataset again.")
    LOG_SET_BACK = ("log_set_back", "Restore a newer copy of the log, or build the dataset again.")
    LOG_DAMAGED = ("log_damaged", "Restore the log's folder from a copy.")
    ERASED = ("erased", "This is expected after an erasure. Build the dataset again, without the entity.")
    IMPORT_UNDONE = ("import_undone", "The import was undone. Build the dataset again, without its events.")
    VERSIONS_REMOVED = (
        "versions_removed",
        "Build the dataset again. `headrace log vacuum` keeps what datasets need; other tools do not.",
    )
    SPINE_CHANGED = ("spine_changed", "Give the definition the spine that it had, or build the dataset again.")
    CODE_CHANGED = ("code_changed", "Restore the function, or build the dataset again.")
    LIBRARIES_CHANGED = ("libraries_changed", "The values may still be equal; the report says so for each file.")
    NOT_BUILDABLE = ("not_buildable", "The problem says what to do.")


class Problem(str):
    """What differs, as a sentence, with the reason by name."""

    __slots__ = ("reason",)
    reason: Reason

    def __new__(cls, reason: Reason, what: str) -> Self:
        """A problem for a reason."""
        made = super().__new__(cls, what)
        made.reason = reason
        return made
