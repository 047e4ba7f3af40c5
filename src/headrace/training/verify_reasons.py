"""Why a dataset does not come out again as it was: each reason with its name and what to do."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

__all__ = ["Problem", "Reason"]


class Reason(StrEnum):
    """A reason why a dataset does not come out again as it was.

    Attributes:
        hint: What to do about it.
    """

    hint: str

    def __new__(cls, name: str, hint: str) -> Reason:
        """A reason with its text."""
        made = str.__new__(cls, name)
        made._value_, made.hint = name, hint
        return made

    DIFFERS = (
        "differs",
        "Nothing explains it: somebody edited the dataset's manifest, or the log under it. Build the dataset again.",
    )
    FILES_CHANGED = ("files_changed", "Restore the dataset's files from a copy, or build the dataset again.")
    NEW_LOG = ("new_log", "The log that it was built from is gone. Restore it from a copy, or build the dataset again.")
    LOG_SET_BACK = ("log_set_back", "Restore a newer copy of the log, or build the dataset again.")
    LOG_DAMAGED = ("log_damaged", "Restore the log's folder from a copy.")
    ERASED = ("erased", "This is what an erasure means. Build the dataset again, without the entity.")
    IMPORT_UNDONE = ("import_undone", "Its events were taken back. Build the dataset again, without them.")
    VERSIONS_REMOVED = (
        "versions_removed",
        "Build the dataset again. `headrace log vacuum` keeps what datasets need; other tools do not.",
    )
    SPINE_CHANGED = ("spine_changed", "Give the definition the spine that it had, or build the dataset again.")
    CODE_CHANGED = ("code_changed", "Put the function back as it was, or build the dataset again.")
    LIBRARIES_CHANGED = ("libraries_changed", "The values can be the same all the same; it says so for each file.")
    NOT_BUILDABLE = ("not_buildable", "See what it says.")


class Problem(str):
    """What is not as it was, in words, with the reason by name."""

    __slots__ = ("reason",)
    reason: Reason

    def __new__(cls, reason: Reason, what: str) -> Self:
        """A problem for a reason."""
        made = super().__new__(cls, what)
        made.reason = reason
        return made
