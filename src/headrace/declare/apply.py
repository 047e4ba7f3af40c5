"""`headrace apply` and `headrace plan`: a feature repo becomes Feast's registry and headrace's plan."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.declare.compile import compile_plan
from headrace.declare.feature_repo import open_repo
from headrace.declare.logged_events import check_logged
from headrace.declare.on_demand_trial import try_on_demand_views
from headrace.declare.plan_diff import PlanDiff, compare
from headrace.declare.problems import Problems
from headrace.declare.transform_trial import try_transforms
from headrace.errors import ConfigError, DefinitionError, PlanError
from headrace.events.repo_modules import forget_modules
from headrace.plan import Plan, read_plan, write_plan
from headrace.plan.view_versions import ViewVersions
from headrace.state import StateFile

if TYPE_CHECKING:
    from collections.abc import Collection

    from headrace.config import Project
    from headrace.declare.feature_repo import FeatureRepo

__all__ = ["ApplyResult", "apply", "compile_repo", "is_registering", "plan_changes", "write_plan_of"]

_REGISTERING: ContextVar[bool] = ContextVar("registering", default=False)


@dataclass(frozen=True)
class ApplyResult:
    """What an apply did.

    Attributes:
        plan: The plan that was written.
        plan_file: Where to.
        diff: What changed against the plan that was there before.
    """

    plan: Plan
    plan_file: StateFile
    diff: PlanDiff


def apply(project: Project) -> ApplyResult:
    """Compile a project's definitions, register them with Feast and write the plan.

    Everything is compiled first, so definitions that cannot work change neither the registry nor the plan. A second
    apply changes nothing. The current folder, `sys.path` and `sys.modules` are restored at the end.

    Args:
        project: The project.

    Returns:
        The plan, and what changed.

    Raises:
        ConfigError: The feature repo or its feature_store.yaml is missing or wrong, Feast is not installed, or the
            registry or plan cannot be written.
        DefinitionError: A file cannot be imported, definitions cannot work, or a changed model cannot read the events
            that are logged; all of them are listed.
        LogError: The log of a source that changed is damaged.
        LogUnavailableError: It cannot be read just now.
    """
    with open_repo(project.repo) as repo:
        plan, warnings = _tried_plan(repo)
        diff = replace(_compare_with_disk(project, plan, repo), warnings=warnings)
        _register(repo)
    return _written(project, plan, diff)


def write_plan_of(project: Project, views: Collection[str]) -> ApplyResult:
    """Compile a project's definitions and write the plan, where Feast registers them itself (`feast apply`).

    Args:
        project: The project.
        views: The stream views that Feast registers.

    Returns:
        The plan, and what changed.

    Raises:
        ConfigError: As `apply`.
        DefinitionError: As `apply`; or a view is in no file of the repo.
    """
    with open_repo(project.repo) as repo:
        plan, warnings = _tried_plan(repo)
        missing = [name for name in views if name not in plan.views]
        if missing:
            msg = f"{repo.name}: {missing[0]!r} is applied, and no file of the repo defines it."
            hint = "Write stream views in files of the feature repo: workers and training read the same definitions."
            raise DefinitionError(msg, hint=hint)
        diff = replace(_compare_with_disk(project, plan, repo), warnings=warnings)
    return _written(project, plan, diff)


def is_registering() -> bool:
    """Whether `apply` registers definitions with Feast just now: it writes the plan itself, afterwards."""
    return _REGISTERING.get()


def plan_changes(project: Project) -> PlanDiff:
    """What an apply would change. Nothing is written.

    Args:
        project: The project.

    Returns:
        The difference from the plan on disk; it is false where there is none.

    Raises:
        ConfigError: As `apply`.
        DefinitionError: As `apply`.
    """
    with open_repo(project.repo) as repo:
        plan, warnings = _tried_plan(repo)
        return replace(_compare_with_disk(project, plan, repo), warnings=warnings)


def compile_repo(repo: Path) -> Plan:
    """Compile a feature repo, and do nothing else.

    Args:
        repo: Its folder.

    Returns:
        The plan.

    Raises:
        ConfigError: As `apply`.
        DefinitionError: As `apply`.
    """
    with open_repo(repo) as loaded:
        return compile_plan(loaded)


def _tried_plan(repo: FeatureRepo) -> tuple[Plan, tuple[str, ...]]:
    """The plan of a repo, and warnings. Its transforms and on-demand views are tried on made events and rows."""
    plan, problems = compile_plan(repo), Problems()
    warnings = [*try_transforms(repo, plan, problems), *try_on_demand_views(repo, plan, problems)]
    problems.raise_any(repo.name)
    return plan, tuple(warnings)


def _compare_with_disk(project: Project, plan: Plan, repo: FeatureRepo) -> PlanDiff:
    before, note = None, None
    if project.plan_file.exists():
        try:
            before = read_plan(project.plan_file)
        except PlanError as error:  # damaged, or of another version: an apply writes it again
            note = error.what
    check_logged(repo, project.log_root, plan, before)
    return compare(before, plan, note=note)


def _written(project: Project, plan: Plan, diff: PlanDiff) -> ApplyResult:
    before = _plan_before(project)
    write_plan(plan, project.plan_file)
    _note_versions(project, [plan] if before is None else [before, plan])
    forget_modules(project.repo)  # they may have been imported before this apply
    return ApplyResult(plan, project.plan_file, diff)


def _plan_before(project: Project) -> Plan | None:
    """The plan that was applied last; None where there is none that can be read."""
    try:
        return read_plan(project.plan_file) if project.plan_file.exists() else None
    except PlanError:  # damaged, or of another version: an apply writes it again
        return None


def _note_versions(project: Project, plans: Sequence[Plan]) -> None:
    """Number the versions of views. The plan before may have been applied when nobody noted versions yet."""
    versions, now_us = ViewVersions(project.view_versions), time.time_ns() // 1000
    for plan in plans:
        versions.note(plan, now_us)


def _register(repo: FeatureRepo) -> None:
    """What `feast apply` does."""
    from feast import FeatureStore
    from feast.repo_operations import apply_total_with_repo_instance

    output, token = io.StringIO(), _REGISTERING.set(True)
    try:
        with contextlib.redirect_stdout(output):
            store = FeatureStore(config=repo.config)
            apply_total_with_repo_instance(
                store, repo.config.project, store.registry, repo.contents, skip_source_validation=False
            )
            for view in repo.contents.stream_feature_views:
                # With SQLite as its online store, Feast compares stream views without their aggregations, and would
                # keep the old windows.
                store.registry.apply_feature_view(view, repo.config.project)
    except OSError as error:
        msg = f"Feast's registry cannot be written: {error}"
        raise ConfigError(msg, hint=f"Correct `registry` in {repo.path / 'feature_store.yaml'}.") from error
    except (Exception, SystemExit) as error:
        printed = f" ({output.getvalue().strip()})" if isinstance(error, SystemExit) else ""
        msg = f"{repo.name}: Feast refuses the definitions: {type(error).__name__}: {error}{printed}"
        raise DefinitionError(
            msg, hint="Correct what Feast names; `feast apply` in the folder says the same."
        ) from error
    finally:
        _REGISTERING.reset(token)
