"""Which version of each view a store serves.

A view whose definition changed is another view to the store, `name@hash`. The store serves one version of each name, keeps the definitions of
those that it holds records of, and knows which version each name had before and which one is being built. So a worker and a model server go on
with the version that is served, whatever the plan has come to say, until the new one has caught up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from headrace.errors import PlanMismatchError
from headrace.plan import DType, Plan, Source, View
from headrace.stores.facts import (
    GENERATION,
    building_fact,
    built_fact,
    built_prefix,
    definition_fact,
    new_generation,
    previous_fact,
    since_fact,
    upto_fact,
    view_fact,
)

__all__ = [
    "building_views",
    "built_partitions",
    "built_share",
    "HeldVersion",
    "definition_of",
    "held_versions",
    "live_plan",
    "live_view",
    "serving_facts",
    "unasked_views",
    "unreadable",
]


def serving_facts(views: Iterable[View]) -> dict[str, str]:
    """The facts of a store that serves these versions from now on."""
    facts = {GENERATION: new_generation()}
    for view in views:
        facts |= {view_fact(view.name): view.hash, definition_fact(view.hash): view.model_dump_json()}
    return facts


def definition_of(facts: Mapping[str, str], view_hash: str | None) -> View | None:
    """A version's definition; None where the store does not know it."""
    found = facts.get(definition_fact(view_hash)) if view_hash else None
    return None if found is None else View.model_validate_json(found)


class HeldVersion(NamedTuple):
    """A version of a view whose records the store keeps up to date, or can bring up to date.

    Attributes:
        view: Its definition.
        role: `live`; `before`: the one that was live before; `undone`: the one that was rolled back from; `building`.
        since_us: When it first went live, in µs; None where it was served from the store's beginning, or never yet.
    """

    view: View
    role: Literal["live", "before", "undone", "building"]
    since_us: int | None


def held_versions(facts: Mapping[str, str], name: str) -> list[HeldVersion]:
    """The versions of a view that the store holds, the live one first.

    Args:
        facts: What the store says of itself.
        name: The view's name.
    """
    live, previous = facts.get(view_fact(name)), facts.get(previous_fact(name))
    since = {one: int(facts[since_fact(one)]) for one in (live, previous) if one and since_fact(one) in facts}
    is_undone = previous is not None and since.get(previous, 0) > since.get(live or "", 0)
    roles: list[tuple[str | None, Literal["live", "before", "undone", "building"]]] = [
        (live, "live"),
        (previous, "undone" if is_undone else "before"),
        (facts.get(building_fact(name)), "building"),
    ]
    found = [(definition_of(facts, view_hash), role) for view_hash, role in roles]
    return [HeldVersion(view, role, since.get(view.hash)) for view, role in found if view is not None]


def live_view(declared: View, facts: Mapping[str, str]) -> View:
    """The version of a view that the store serves: the declared one, or as long as nobody has built that, the one before.

    Args:
        declared: The view as the plan has it.
        facts: What the store says of itself.

    Raises:
        PlanMismatchError: The store serves no version of it, or one whose definition it does not know.
    """
    name = declared.name
    stored = facts.get(view_fact(name))
    if stored == declared.hash:
        return declared
    served = definition_of(facts, stored)
    if served is not None:
        return served
    if facts.get(building_fact(name)) == declared.hash:
        msg = f"{declared.versioned_name} is being built from the log, and no other version of it is served."
        raise PlanMismatchError(msg, hint="`headrace status` shows when it is live.")
    held = f"holds {name}@{stored}" if stored else f"has never held the view {name}"
    msg = f"The plan says {declared.versioned_name}, but the online store {held}."
    hint = (
        f"`headrace backfill {name}` builds it from the log while the stream runs; `headrace stream --rebuild` fills the whole store anew "
        "under the plan as it is now."
    )
    raise PlanMismatchError(msg, hint=hint)


def unreadable(view: View, source: Source, *, is_served: bool = False) -> str | None:
    """Why a version cannot be computed from its source as it is declared now; None where it can.

    Args:
        view: The version.
        source: The source.
        is_served: Whether it is only to go on: then a field that was removed is one that no event has any more.
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


def unasked_views(declared: Plan, served: Plan, facts: Mapping[str, str]) -> list[str]:
    """What to tell people: views served in another version than declared, though nobody has asked for that.

    Args:
        declared: The plan.
        served: What is served instead.
        facts: What the store says of itself.
    """
    found = []
    for name, view in declared.views.items():
        other = served.views.get(name)
        meant = {facts.get(building_fact(name)), facts.get(previous_fact(name))}
        if view.hash not in meant and (other is None or other.hash != view.hash):
            held = "not at all" if other is None else f"as {other.versioned_name}"
            found.append(f"{view.versioned_name} is served {held}: `headrace backfill {name}` makes it live.")
    return found


def live_plan(declared: Plan, facts: Mapping[str, str]) -> Plan:
    """The plan with each view in the version that the store serves; views that it does not serve are left as declared.

    Args:
        declared: The plan.
        facts: What the store says of itself.
    """
    views: dict[str, View] = {}
    for name, view in declared.views.items():
        try:
            views[name] = live_view(view, facts)
        except PlanMismatchError:
            views[name] = view
    if all(views[name] is view for name, view in declared.views.items()):
        return declared
    return Plan(project=declared.project, sources=declared.sources, views=views, services=declared.services)


def building_views(facts: Mapping[str, str]) -> dict[str, View]:
    """The versions that are being built, by name."""
    prefix = building_fact("")
    found = {
        name.removeprefix(prefix): definition_of(facts, value)
        for name, value in facts.items()
        if name.startswith(prefix)
    }
    return {name: view for name, view in found.items() if view is not None}


def built_share(facts: Mapping[str, str], view_hash: str, ends: Mapping[int, int]) -> float:
    """How much of the log a version that is being built holds, 0 to 1.

    Args:
        facts: What the store says of itself.
        view_hash: The version's hash.
        ends: The log's last offset per source partition.
    """
    wanted = sum(end + 1 for end in ends.values())
    held = 0
    for partition, end in ends.items():
        upto = end if built_fact(view_hash, partition) in facts else int(facts.get(upto_fact(view_hash, partition), -1))
        held += min(upto, end) + 1
    return held / wanted if wanted else 1.0


def built_partitions(facts: Mapping[str, str], view: View) -> set[int]:
    """The source partitions that a version which is being built has caught up with."""
    prefix = built_prefix(view.hash)
    return {int(name.removeprefix(prefix)) for name in facts if name.startswith(prefix)}
