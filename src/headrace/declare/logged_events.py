"""The check, before an apply, that changed models can still read the logged events."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from headrace.config import TableRoot
from headrace.declare.problems import Problems
from headrace.events.json_names import all_names
from headrace.events.model_schema import resolve_model

if TYPE_CHECKING:
    from headrace.declare.feature_repo import FeatureRepo
    from headrace.plan import Plan

__all__ = ["check_logged"]


def check_logged(repo: FeatureRepo, logs: TableRoot, plan: Plan, before: Plan | None) -> None:
    """Refuse a plan that cannot read what is logged.

    Args:
        repo: The feature repo, still open.
        logs: The folder of all logs.
        plan: The new plan.
        before: The plan that was applied last; None where there is none that can be read.

    Raises:
        DefinitionError: A field changed so that its log cannot be read with it. All such fields are listed.
        LogError: A log is damaged.
        LogUnavailableError: A log cannot be read just now.
    """
    problems = Problems()
    for source in plan.sources.values():
        was = None if before is None else before.sources.get(source.name)
        if was is not None and (was.topic, was.columns) == (source.topic, source.columns):
            continue
        if "://" not in logs.uri and not (Path(logs.uri) / source.topic).is_dir():
            continue
        from headrace.log.schema_evolution import (
            misfits,
        )  # importing Delta Lake is slow, and most applies do not need it

        model = resolve_model(source.model, repo.path)
        where = repo.locator.of_class(model.__name__)
        for field, what, instead in misfits(logs, source, was, all_names(model)):
            hint = f"{instead} Nothing was applied."
            problems.add(where, f"source {source.name!r}: {source.model}.{field} {what}.", hint)
    problems.raise_any(repo.name)
