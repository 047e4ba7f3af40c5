"""Why the log cannot judge a recorded lookup: each reason by name, what it means, and what to do about it."""

from __future__ import annotations

from headrace.training.verify_reasons import NamedReason

__all__ = ["NotComparable"]


class NotComparable(NamedReason):
    """A reason to count a lookup apart. The most permanent reasons come first; of several, the first is reported.

    Each has its name, what to do about it, and what it means, after "lookups that".
    """

    OTHER_PLAN = (
        "other_plan",
        "Keep the state folder's plans/. Lookups that are served from now on can be compared.",
        "were served under a plan that was not kept, or that the log no longer fits",
    )
    CODE_CHANGED = (
        "code_changed",
        "Restore the function to compare them. Give a changed function a new name, then run `headrace apply` and "
        "`headrace backfill`.",
        "used a Python function that was changed or removed since",
    )
    NEW_LOG = (
        "new_log",
        "The old log is gone, so nothing can be compared. If this continues, `headrace stream --rebuild` fills the "
        "store from the new log.",
        "came from a log that was removed or created again since",
    )
    ERASED = (
        "erased",
        "This is expected after an erasure. If it continues, `headrace stream --rebuild` creates the online records "
        "again.",
        "may have counted events that were erased since (`headrace forget`)",
    )
    IMPORT_UNDONE = (
        "import_undone",
        "Nothing to do. If this continues, `headrace stream --rebuild` creates the online records again.",
        "counted events of an import that was undone since",
    )
    GAP = (
        "gap",
        "`headrace status` shows the gap. If this continues, `headrace stream --rebuild` creates the online records "
        "again.",
        "knew events that were lost before the log had them: an accepted gap, or a topic that was created again",
    )
    SOURCE_CHANGED = (
        "source_changed",
        "Nothing to do where a job replaces old rows, or where rows are pushed. A source that keeps its rows can be "
        "compared.",
        "were served a row of a batch view that its source does not have any more, or has written again since",
    )
    PENDING = (
        "pending",
        "Audit again when the worker has written them. If no worker runs, start one (`headrace stream`).",
        "knew events that the log does not have yet",
    )
