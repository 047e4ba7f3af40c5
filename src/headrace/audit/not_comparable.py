"""Why a recorded lookup is not held against the log: what each reason means, and what to do about it."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Apart"]


class Apart(StrEnum):
    """A reason to count a lookup apart. The most lasting come first; of several, the first is told.

    Attributes:
        means: What it means, after "lookups that".
        hint: What to do about it.
    """

    means: str
    hint: str

    def __new__(cls, name: str, means: str, hint: str) -> Apart:
        """A reason with its texts."""
        made = str.__new__(cls, name)
        made._value_, made.means, made.hint = name, means, hint
        return made

    OTHER_PLAN = (
        "other_plan",
        "were served under a plan that was not kept, or that the log no longer fits",
        "Keep the state folder's plans/. What is served from now on is compared.",
    )
    CODE_CHANGED = (
        "code_changed",
        "used a Python function that was edited or removed since",
        "Put the function back to compare them. Give a changed function a new name, then `headrace apply` and `headrace backfill`.",
    )
    NEW_LOG = (
        "new_log",
        "came from a log that was removed or made anew since",
        "The old log is gone, so nothing can be compared. If this goes on, `headrace stream --rebuild` fills the store from the new log.",
    )
    ERASED = (
        "erased",
        "may have counted events that were erased since (`headrace forget`)",
        "This is what an erasure means. If this goes on, `headrace stream --rebuild` makes the online records anew.",
    )
    IMPORT_UNDONE = (
        "import_undone",
        "counted events of an import that was taken back since",
        "Nothing to do. If this goes on, `headrace stream --rebuild` makes the online records anew.",
    )
    GAP = (
        "gap",
        "knew events that the log will never get, as they were lost before it had them: an accepted gap, or a topic made anew",
        "`headrace status` shows the gap. If this goes on, `headrace stream --rebuild` makes the online records anew.",
    )
    PENDING = (
        "pending",
        "knew events that the log does not hold yet",
        "Audit again once the worker has written them; start one if none runs (`headrace stream`).",
    )
