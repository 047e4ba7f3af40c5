"""What can be asked for, for people and programs that have no plan: services, views, keys and types."""

from __future__ import annotations

from typing import Any

from headrace.plan import OnDemandView, Plan

__all__ = ["catalog_of"]


def catalog_of(plan: Plan) -> dict[str, Any]:
    """A plan's services and views, for JSON.

    Args:
        plan: The plan.

    Returns:
        `project`; `plan`, its hash; `services`, by name their features as `view:feature`; `views`, by name their
        `version`, `keys` (join key to type) and `features` (name to type); on-demand views also `request`, the types
        of the fields of the request that they read.
    """
    return {
        "project": plan.project,
        "plan": plan.hash,
        "services": {name: [f"{ref.view}:{ref.feature}" for ref in refs] for name, refs in plan.services.items()},
        "views": {
            view.name: {
                "version": view.hash,
                "keys": {entity.name: entity.dtype.value for entity in view.entities},
                "features": {feature.name: feature.dtype.value for feature in view.features},
            }
            for view in plan.every_view
        }
        | {name: _on_demand(plan, view) for name, view in plan.on_demand_views.items()},
    }


def _on_demand(plan: Plan, view: OnDemandView) -> dict[str, Any]:
    read = plan.stored_views(one.ref for one in view.inputs)
    return {
        "version": view.hash,
        "keys": {entity.name: entity.dtype.value for one in read for entity in one.entities},
        "request": {field.name: field.dtype.value for field in view.request},
        "features": {feature.name: feature.dtype.value for feature in view.features},
    }
