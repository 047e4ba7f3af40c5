"""What a caller may read: a view is granted by its name; a service grants the features that it contains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.plan import AskedFeatures, FeatureRef, Plan
from headrace.plan.feature_references import asked_names
from headrace.serving.identity import ALL, Caller, Permission

__all__ = ["require_features", "visible_catalog"]

_REMEMBERED = 1_000
"""How many answers are remembered of each caller."""

_MOST_NAMES, _MOST_CHARACTERS = 64, 4_096
"""How large a request may be whose answer is remembered. Its names are the caller's: nobody knows yet if they exist."""


def require_features(caller: Caller, permission: Permission, plan: Plan, features: AskedFeatures) -> None:
    """Refuse features that a caller may not read. Call it before the names are looked up in the plan.

    A feature is granted by its view, or by a service that contains it, however it is asked for. A name that is not
    granted is refused in the same words whether it exists or not.

    Args:
        caller: Who asks.
        permission: `read-online` or `read-history`.
        plan: The plan.
        features: What they ask for, as `Plan.resolve` takes it.

    Raises:
        PermissionDeniedError: They may not.
    """
    names = (features,) if isinstance(features, str) else asked_names(features)[0]
    is_small = len(names) <= _MOST_NAMES and sum(map(len, names)) <= _MOST_CHARACTERS
    key = (permission, plan.hash, names)
    if is_small and key in caller.remembered:
        return
    if not names:
        caller.require(permission)
    for name in names:
        if not _is_granted(caller, permission, plan, name):
            raise caller.denied(permission, repr(name))
    if not is_small:
        return
    if len(caller.remembered) >= _REMEMBERED:
        caller.remembered.clear()
    caller.remembered[key] = True


def _is_granted(caller: Caller, permission: Permission, plan: Plan, name: str) -> bool:
    versioned, colon, feature = name.partition(":")
    if not colon:
        if caller.has(permission, service=name) or caller.has(permission, view=ALL):
            return True
        refs = plan.services.get(name, ())
        return bool(refs) and all(_may_read(caller, permission, plan, ref) for ref in refs)
    view, at, _ = versioned.partition("@")
    if caller.has(permission, view=view):
        return True
    if at or feature == ALL:
        return False  # a service contains single features, of the version that is served
    return _may_read(caller, permission, plan, FeatureRef(view=view, feature=feature))


def _may_read(caller: Caller, permission: Permission, plan: Plan, ref: FeatureRef) -> bool:
    if caller.has(permission, view=ref.view):
        return True
    return any(caller.has(permission, service=name) and ref in refs for name, refs in plan.services.items())


def visible_catalog(caller: Caller, plan: Plan, catalog: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a catalogue that a caller may read.

    Args:
        caller: Who asks.
        plan: The plan.
        catalog: Its catalogue (`headrace.lookup.catalog.catalog_of`): `services` by name, and `views` by name, each
            with its `features` by name.

    Returns:
        The catalogue with the services that they may read, and of each view the features that they may read.
    """
    reads = (Permission.READ_ONLINE, Permission.READ_HISTORY)

    def may_read(view: str, feature: str) -> bool:
        return any(_may_read(caller, permission, plan, FeatureRef(view=view, feature=feature)) for permission in reads)

    services = {
        name: refs
        for name, refs in catalog["services"].items()
        if any(_is_granted(caller, permission, plan, name) for permission in reads)
    }
    views = {
        name: {**facts, "features": {one: what for one, what in facts["features"].items() if may_read(name, one)}}
        for name, facts in catalog["views"].items()
    }
    return {
        **catalog,
        "services": services,
        "views": {name: facts for name, facts in views.items() if facts["features"]},
    }
