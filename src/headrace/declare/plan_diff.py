"""The difference between two plans: what an apply would change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from headrace.declare.durations import shown
from headrace.plan import BatchView, Column, Feature, FeatureRef, OnDemandView, Plan, Source, View

__all__ = ["Change", "PlanDiff", "compare"]

Kind = Literal["source", "view", "feature", "on-demand view", "service"]
Action = Literal["added", "changed", "removed"]


@dataclass(frozen=True)
class Change:
    """One difference.

    Attributes:
        kind: What differs.
        name: Its name; ``view:feature`` for a feature.
        action: How it differs.
        details: The details, one sentence each.
    """

    kind: Kind
    name: str
    action: Action
    details: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The change as JSON."""
        return {"kind": self.kind, "name": self.name, "action": self.action, "details": list(self.details)}


@dataclass(frozen=True)
class PlanDiff:
    """The difference between the plan that was applied last and a new one.

    Attributes:
        old_hash: The content hash of the plan that was applied last; None where there is none that can be read.
        new_hash: The content hash of the new plan.
        changes: What differs: sources, then views with their features, on-demand views and services, each by name.
        replaced_views: Views whose definition changed: for the online store they are new views, without events.
        note: Why there is no old plan; None where that needs no explanation.
        warnings: What may be wrong with the new definitions.
    """

    old_hash: str | None
    new_hash: str
    changes: tuple[Change, ...]
    replaced_views: tuple[str, ...] = ()
    note: str | None = None
    warnings: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changes)

    def to_dict(self) -> dict[str, Any]:
        """The difference as JSON."""
        return {
            "old_hash": self.old_hash,
            "new_hash": self.new_hash,
            "changes": [change.to_dict() for change in self.changes],
            "replaced_views": list(self.replaced_views),
            "note": self.note,
            "warnings": list(self.warnings),
        }


def compare(old: Plan | None, new: Plan, note: str | None = None) -> PlanDiff:
    """Compare two plans.

    Args:
        old: The plan that was applied last; None where there is none.
        new: The new plan.
        note: Why there is no old plan; None where that needs no explanation.
    """
    before = Plan(project=new.project, sources={}, views={}) if old is None else old
    changes = [
        *_pairs("source", before.sources, new.sources, _source_details),
        *_view_changes(before, new),
        *_batch_view_changes(before, new),
        *_pairs("on-demand view", before.on_demand_views, new.on_demand_views, _on_demand_details),
        *_pairs("service", before.services, new.services, _service_details),
    ]
    replaced = [name for name, view in new.views.items() if name in before.views and before.views[name] != view]
    return PlanDiff(None if old is None else old.hash, new.hash, tuple(changes), tuple(replaced), note)


def _view_changes(before: Plan, new: Plan) -> Iterator[Change]:
    for change in _pairs("view", before.views, new.views, _view_details):
        yield change
        if change.action == "changed":
            old_features = {feature.name: feature for feature in before.views[change.name].features}
            new_features = {feature.name: feature for feature in new.views[change.name].features}
            for inner in _pairs("feature", old_features, new_features, _feature_details):
                yield Change(inner.kind, f"{change.name}:{inner.name}", inner.action, inner.details)


def _batch_view_changes(before: Plan, new: Plan) -> Iterator[Change]:
    for change in _pairs("view", before.batch_views, new.batch_views, _batch_view_details):
        yield change
        if change.action == "changed":
            old_columns = {column.name: column for column in before.batch_views[change.name].columns}
            new_columns = {column.name: column for column in new.batch_views[change.name].columns}
            for inner in _pairs("feature", old_columns, new_columns, _column_details):
                yield Change(inner.kind, f"{change.name}:{inner.name}", inner.action, inner.details)


def _pairs(
    kind: Kind, old: Mapping[str, Any], new: Mapping[str, Any], details: Callable[[Any, Any], Iterator[str]]
) -> Iterator[Change]:
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            yield Change(kind, name, "added", tuple(details(None, new[name])))
        elif name not in new:
            yield Change(kind, name, "removed")
        elif old[name] != new[name]:
            yield Change(kind, name, "changed", tuple(details(old[name], new[name])))


def _source_details(old: Source | None, new: Source) -> Iterator[str]:
    if old is None:
        yield f"topic {new.topic}, {new.model}"
        return
    for label in ("topic", "model", "key", "timestamp_field", "format"):
        was, is_now = getattr(old, label), getattr(new, label)
        if was != is_now:
            yield f"{label}: {was} → {is_now}"
    if old.max_future_us != new.max_future_us:
        yield f"max_future: {shown(old.max_future_us)} → {shown(new.max_future_us)}"
    was_columns = {column.name: f"{column.dtype}{' | None' if column.nullable else ''}" for column in old.columns}
    new_columns = {column.name: f"{column.dtype}{' | None' if column.nullable else ''}" for column in new.columns}
    yield from (f"field {name} added" for name in new_columns if name not in was_columns)
    yield from (f"field {name} removed" for name in was_columns if name not in new_columns)
    for name, was in was_columns.items():
        if new_columns.get(name, was) != was:
            yield f"field {name}: {was} → {new_columns[name]}"


def _view_details(old: View | None, new: View) -> Iterator[str]:
    if old is None:
        yield f"by {', '.join(new.join_keys)} from {new.source}: {', '.join(feature.name for feature in new.features)}"
        return
    if old.source != new.source:
        yield f"source: {old.source} → {new.source}"
    if old.entities != new.entities:
        yield f"keys: {_keys(old)} → {_keys(new)}"
    if old.features != new.features and {f.name: f for f in old.features} == {f.name: f for f in new.features}:
        yield "features in another order"


def _batch_view_details(old: BatchView | None, new: BatchView) -> Iterator[str]:
    if old is None:
        features = ", ".join(column.name for column in new.columns)
        keys = ", ".join(new.join_keys)
        yield f"by {keys} from {new.source.name} ({new.source.kind}): {features}"
        return
    for label in ("name", "kind", "path", "sql", "timestamp_field", "created_field", "field_mapping", "endpoint"):
        was, is_now = getattr(old.source, label), getattr(new.source, label)
        if was != is_now:
            yield f"source {label}: {was} → {is_now}"
    if old.entities != new.entities:
        yield f"keys: {_keys(old)} → {_keys(new)}"
    if old.ttl_us != new.ttl_us:
        yield f"ttl: {_ttl(old)} → {_ttl(new)}"
    if old.push != new.push:
        yield f"push source: {old.push} → {new.push}"
    if old.online != new.online:
        yield f"online: {old.online} → {new.online}"
    if old.columns != new.columns and sorted(old.columns, key=str) == sorted(new.columns, key=str):
        yield "features in another order"


def _ttl(view: BatchView) -> str:
    return "none" if view.ttl_us is None else shown(view.ttl_us)


def _column_details(old: Column | None, new: Column) -> Iterator[str]:
    yield str(new.dtype) if old is None else f"{old.dtype} → {new.dtype}"


def _keys(view: View | BatchView) -> str:
    return ", ".join(f"{key.name} ({key.dtype}{' | None' if key.nullable else ''})" for key in view.entities)


def _feature_details(old: Feature | None, new: Feature) -> Iterator[str]:
    if old is None:
        yield _definition(new)
    else:
        yield f"{_definition(old)} → {_definition(new)}"


def _definition(feature: Feature) -> str:
    length, slide = feature.window_us, feature.slide_us
    window = f"{shown(length)} by {shown(slide)}" if length and slide else "lifetime"
    return f"{feature.function}({feature.column}) {window}: {feature.dtype}"


def _on_demand_details(old: OnDemandView | None, new: OnDemandView) -> Iterator[str]:
    if old is None:
        yield f"from {_read_by(new)}: {', '.join(feature.name for feature in new.features)}"
        return
    was, now = _read_by(old), _read_by(new)
    if was != now:
        yield f"reads: {was} → {now}"
    was_features, now_features = _typed(old.features), _typed(new.features)
    if was_features != now_features:
        yield f"features: {was_features} → {now_features}"
    for label in ("mode", "singleton", "function", "on_error"):
        before, after = getattr(old, label), getattr(new, label)
        if before != after:
            yield f"{label}: {before} → {after}"
    if old.code != new.code:
        yield f"{new.function}, or something that it uses, has changed"


def _read_by(view: OnDemandView) -> str:
    features = [f"{one.ref.view}:{one.ref.feature} ({one.dtype})" for one in view.inputs]
    return ", ".join([*features, *(f"request {field.name} ({field.dtype})" for field in view.request)])


def _typed(columns: Iterable[Column]) -> str:
    return ", ".join(f"{column.name} ({column.dtype})" for column in columns)


def _service_details(old: tuple[FeatureRef, ...] | None, new: tuple[FeatureRef, ...]) -> Iterator[str]:
    was = [] if old is None else [f"{ref.view}:{ref.feature}" for ref in old]
    now = [f"{ref.view}:{ref.feature}" for ref in new]
    if old is None:
        yield f"{len(now)} features"
        return
    yield from (f"{name} added" for name in now if name not in was)
    yield from (f"{name} removed" for name in was if name not in now)
    if sorted(was) == sorted(now):
        yield "features in another order"
