"""Versions of stream views: Feast numbers them in its registry, and headrace by what `apply` noted.

The two counts need not agree: Feast counts changes of a schema or a function, headrace changes of anything that changes
a value. So a version of Feast's is found by what it defines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.aggregates import parse_function
from headrace.declare.durations import to_us
from headrace.declare.features import feature_name
from headrace.errors import LookupRequestError
from headrace.plan.view_versions import ViewVersions

if TYPE_CHECKING:
    from headrace.config import Project
    from headrace.plan import Plan, View

__all__ = ["stream_view_name"]

_Defined = frozenset[tuple[Any, ...]]


def stream_view_name(project: Project, plan: Plan, view: Any, version: int | None) -> str:
    """What headrace calls a version of a stream view: `view`, or `view@HASH`.

    Args:
        project: The headrace project.
        plan: The plan that was applied last.
        view: Feast's view, as the version defines it.
        version: The version that the request names; None is the view as it is.

    Raises:
        LookupRequestError: No version that headrace knows defines the same features.
    """
    if version is None:
        return str(view.name)
    defined = _by_feast(view)
    known = ViewVersions(project.view_versions).of(plan, view.name)
    for one in reversed(known):
        if _by_headrace(one.view, with_slides=not view.enable_tiling) == defined:
            return f"{view.name}@{one.view.hash}"
    msg = f"headrace knows no version of the view {view.name!r} that is {view.name}@v{version} of Feast's registry."
    there = ", ".join(one.name for one in known) or "none"
    raise LookupRequestError(msg, hint=f"`feast apply` notes a version when it is applied. headrace knows: {there}.")


def _by_feast(view: Any) -> _Defined:
    found = []
    for one in view.aggregations:
        function, params = parse_function(one.function)
        window = None if one.time_window is None else to_us(one.time_window)
        slide = None if one.slide_interval is None or view.enable_tiling else to_us(one.slide_interval)
        found.append((feature_name(one), function, tuple(params), one.column, window, slide))
    return frozenset(found)


def _by_headrace(view: View, *, with_slides: bool) -> _Defined:
    return frozenset(
        (one.name, one.function, tuple(one.params), one.column, one.window_us, one.slide_us if with_slides else None)
        for one in view.features
    )
