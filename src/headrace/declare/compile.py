"""From a feature repo to a plan, or to everything that is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.declare.batch_views import compile_batch_views
from headrace.declare.on_demand_views import compile_on_demand_views
from headrace.declare.problems import Problems
from headrace.declare.services import compile_services
from headrace.declare.sources import compile_sources
from headrace.declare.views import compile_views
from headrace.plan import Plan

if TYPE_CHECKING:
    from headrace.declare.feature_repo import FeatureRepo

__all__ = ["compile_plan"]


def compile_plan(repo: FeatureRepo) -> Plan:
    """Compile a feature repo.

    Args:
        repo: The repo, still open: the models of events are imported.

    Returns:
        The plan: sources, views, on-demand views and services by name.

    Raises:
        DefinitionError: Something cannot work. The message lists every problem with file and line, the view or source,
            and what to write instead.
    """
    problems = Problems()
    sources = compile_sources(repo, problems)
    views = compile_views(repo, sources, problems)
    batch_views = compile_batch_views(repo, problems)
    on_demand_views = compile_on_demand_views(repo, {**views, **batch_views}, problems)
    others = {name: [one.name for one in view.features] for name, view in batch_views.items()}
    services = compile_services(repo, problems, others)
    problems.raise_any(repo.name)
    return Plan(
        project=repo.config.project,
        sources={name: source for name, source in sources.items() if source is not None},
        views=views,
        services=services,
        batch_views=batch_views,
        on_demand_views=on_demand_views,
    )
