"""Declare: from Feast definitions to a plan. Only this package imports Feast, and only when something in it is used."""

from headrace.extras import needing

with needing("feast"):
    from headrace.declare.apply import ApplyResult, apply, compile_repo, plan_changes
    from headrace.declare.builders import aggregation, event_source, query_source, stream_view
    from headrace.declare.plan_diff import Change, PlanDiff, compare

__all__ = [
    "ApplyResult",
    "Change",
    "PlanDiff",
    "aggregation",
    "apply",
    "compare",
    "compile_repo",
    "event_source",
    "plan_changes",
    "query_source",
    "stream_view",
]
