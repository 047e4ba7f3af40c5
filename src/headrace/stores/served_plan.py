"""How the plan and a store's catalogue go together.

The store may serve another version of a view than the plan declares. A worker and a model server go on with the
version that is live until the declared one has caught up.
"""

from __future__ import annotations

from headrace.errors import PlanMismatchError
from headrace.plan import DType, Plan, Source, View
from headrace.stores.catalogue import Catalogue

__all__ = ["live_plan", "live_view", "unasked_views", "unreadable"]


def live_view(declared: View, catalogue: Catalogue) -> View:
    """The version of a view that the store serves: the declared one, or until that is built, the one before.

    Args:
        declared: The view as the plan has it.
        catalogue: What the store says of itself.

    Raises:
        PlanMismatchError: The store serves no version of it, or one whose definition it does not know.
    """
    name = declared.name
    stored = catalogue.live.get(name)
    if stored == declared.hash:
        return declared
    served = catalogue.definition(stored)
    if served is not None:
        return served
    if catalogue.building.get(name) == declared.hash:
        msg = f"{declared.versioned_name} is being built from the log, and no other version of it is served."
        raise PlanMismatchError(msg, hint="`headrace status` shows when it is live.")
    state = f"holds {name}@{stored}" if stored else f"has never had the view {name}"
    msg = f"The plan says {declared.versioned_name}, but the online store {state}."
    hint = (
        f"`headrace backfill {name}` builds it from the log while the stream runs; `headrace stream --rebuild` fills "
        "the whole store again under the plan as it is now."
    )
    raise PlanMismatchError(msg, hint=hint)


def unreadable(view: View, source: Source, *, is_served: bool = False) -> str | None:
    """Why a version cannot be computed from its source as it is declared now; None where it can.

    Args:
        view: The version.
        source: The source.
        is_served: Whether the version is live already: then a field may be removed, as no event has it any more.
    """
    read = view.input
    if read is None or view.source != source.name:
        return f"it reads the source {view.source!r}"
    if (read.topic, read.timestamp_field) != (source.topic, source.timestamp_field):
        return f"it reads {read.timestamp_field!r} of the topic {read.topic!r}"
    types = {column.name: column.dtype for column in source.columns}
    for entity in view.entities:
        if types.get(entity.name) is not entity.dtype:
            return f"its key is the field {entity.name!r}, {entity.dtype}"
    for name, dtype in read.columns.items():
        found = types.get(name, dtype if is_served else None)
        if found is not dtype and (found, dtype) != (DType.FLOAT64, DType.INT64):
            return f"it reads the field {name!r} as {dtype}"
    return None


def unasked_views(declared: Plan, served: Plan, catalogue: Catalogue) -> list[str]:
    """Remarks on views that are served in another version than declared, though nobody asked for that.

    Args:
        declared: The plan.
        served: What is served instead.
        catalogue: What the store says of itself.
    """
    found = []
    for name, view in declared.views.items():
        other = served.views.get(name)
        meant = {catalogue.building.get(name), catalogue.previous.get(name)}
        if view.hash not in meant and (other is None or other.hash != view.hash):
            served_as = "not at all" if other is None else f"as {other.versioned_name}"
            found.append(f"{view.versioned_name} is served {served_as}: `headrace backfill {name}` makes it live.")
    return found


def live_plan(declared: Plan, catalogue: Catalogue) -> Plan:
    """The plan with each view in the version that the store serves; views that it does not serve are left as declared.

    Args:
        declared: The plan.
        catalogue: What the store says of itself.
    """
    views: dict[str, View] = {}
    for name, view in declared.views.items():
        try:
            views[name] = live_view(view, catalogue)
        except PlanMismatchError:
            views[name] = view
    if all(views[name] is view for name, view in declared.views.items()):
        return declared
    return declared.model_copy(update={"views": views})
