"""A compute engine for repos whose stream views headrace computes: `feast materialize` skips those.

Feast's own engine fails at the first view with windows. It is needed only where `feast materialize` is called without
naming views:

    batch_engine:
      type: headrace.feast.HeadraceComputeEngine
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.local.compute import LocalComputeEngine
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.repo_config import FeastConfigBaseModel

from headrace.feast.repo_project import computed_by_headrace

if TYPE_CHECKING:
    from feast.infra.common.materialization_job import MaterializationJob
    from feast.infra.registry.base_registry import BaseRegistry

__all__ = ["HeadraceComputeEngine", "HeadraceComputeEngineConfig"]


class HeadraceComputeEngineConfig(FeastConfigBaseModel):
    """What feature_store.yaml says about the engine.

    Attributes:
        type: The engine's class.
        backend: The frames that Feast's local engine works on, such as `pandas`.
    """

    type: Literal["headrace.feast.HeadraceComputeEngine"] = "headrace.feast.HeadraceComputeEngine"
    backend: str | None = None


class HeadraceComputeEngine(LocalComputeEngine):
    """Feast's local engine, for the views that headrace does not compute."""

    def materialize(
        self, registry: BaseRegistry, tasks: MaterializationTask | list[MaterializationTask], **kwargs: Any
    ) -> list[MaterializationJob]:
        """Materialize views. For a stream view there is nothing to do: `headrace stream` keeps it fresh.

        Args:
            registry: Feast's registry.
            tasks: The views and time ranges.
            kwargs: What Feast passes on.
        """
        jobs: list[MaterializationJob] = []
        for task in [tasks] if isinstance(tasks, MaterializationTask) else tasks:
            if computed_by_headrace(task.feature_view):
                name = f"{task.feature_view.name}-{task.start_time}-{task.end_time}"
                jobs.append(LocalMaterializationJob(job_id=name, status=MaterializationJobStatus.SUCCEEDED))
            else:
                jobs += super().materialize(registry, task, **kwargs)
        return jobs
