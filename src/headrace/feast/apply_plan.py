"""`feast apply` writes headrace's plan too."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from headrace.declare.apply import is_registering, write_plan_of
from headrace.errors import ConfigError
from headrace.feast.repo_project import computed_by_headrace

if TYPE_CHECKING:
    from headrace.config import Project

__all__ = ["apply_plan"]

logger = logging.getLogger(__name__)

_TOML = '[headrace]\nrepo = "."'


def apply_plan(project: Project, views: Iterable[Any]) -> None:
    """Compile the project's definitions and write the plan, as `headrace apply` does; Feast registers them itself.

    Within `headrace apply`, which writes the plan at its end, this does nothing.

    Args:
        project: The project.
        views: The views that Feast applies.

    Raises:
        ConfigError: There are stream views, and no headrace.toml.
        DefinitionError: Definitions cannot work, or a stream view is in no file of the repo.
    """
    if is_registering():
        return
    streams = [view.name for view in views if computed_by_headrace(view)]
    if not (project.root / "headrace.toml").is_file():
        if streams:
            msg = f"{', '.join(streams)}: stream views need a headrace project, and there is no headrace.toml."
            hint = f"Write one beside feature_store.yaml, with at least: {_TOML}. Workers read it too."
            raise ConfigError(msg, hint=hint)
        return
    result = write_plan_of(project, streams)
    for remark in result.diff.warnings:
        logger.warning(remark)
    if result.diff.replaced_views:
        names = ", ".join(result.diff.replaced_views)
        logger.warning("Changed views (%s) are served as before until `headrace backfill VIEW` has built them.", names)
