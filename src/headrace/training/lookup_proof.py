"""Proof of lookups: what was served is recomputed from the log by the evidence that was recorded with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from headrace.errors import LookupRequestError
from headrace.events.event_batch import ARROW_TYPES
from headrace.history import AsOf, Joined, PointInTimeJoin
from headrace.log import LogSnapshot
from headrace.ondemand import field_of_record
from headrace.plan import BatchView, DType, FeatureRef, OnDemandView, Plan, View
from headrace.times import iso_time
from headrace.training.computed_features import with_computed
from headrace.training.row_proof import judge_rows

__all__ = ["LookupReport", "Mismatch", "compare_lookups", "feature_refs", "same_value", "verify_lookups"]

_RELATIVE = 1e-9
_NONE: Mapping[str, str] = {}


@dataclass(frozen=True)
class Mismatch:
    """A value that was served and that the log contradicts.

    Attributes:
        number: The lookup's place among those verified.
        keys: Its entity.
        at: Its time.
        feature: The feature, or None where the whole lookup cannot be recomputed.
        served: What was served.
        recomputed: What the log gives, or why it cannot give a value.
    """

    number: int
    keys: dict[str, Any]
    at: str | None
    feature: str | None
    served: Any
    recomputed: Any

    def __str__(self) -> str:
        entity = ", ".join(f"{name}={value}" for name, value in self.keys.items())
        if self.feature is None:
            return f"lookup {self.number} ({entity} at {self.at}): {self.recomputed}"
        values = f"served {self.served!r}, recomputed {self.recomputed!r}"
        return f"lookup {self.number} ({entity} at {self.at}): {self.feature}: {values}"


@dataclass(frozen=True)
class LookupReport:
    """What a verification found.

    Attributes:
        matches: How many lookups match in every feature.
        values: How many values were compared.
        mismatches: Every feature that differs.
    """

    matches: int
    values: int
    mismatches: tuple[Mismatch, ...]


def verify_lookups(
    plan: Plan,
    snapshots: Callable[[Sequence[FeatureRef]], dict[str, LogSnapshot]],
    logged: Callable[[str, Iterable[int]], dict[int, int]],
    records: Sequence[Mapping[str, Any]],
    repo: Path | None = None,
) -> LookupReport:
    """Recompute recorded lookups and compare.

    Args:
        plan: The plan they were served under.
        snapshots: Gives the logs that features are made from.
        logged: Gives the last offset that a topic's log covers, by partition.
        records: The lookups, as `OnlineFeatures.records()` gives them.
        repo: The feature repo's folder, for the functions of transforms.

    Returns:
        The report.

    Raises:
        LookupRequestError: A record is incomplete, or names what the plan does not have.
    """
    mismatches: dict[int, Mismatch] = {}
    for number, record in enumerate(records):
        _refuse_incomplete(plan, number, record)
    ends = _ends(plan, logged, records)
    for number, record in enumerate(records):
        why = _unrecomputable(plan, ends, record)
        if why is not None:
            mismatches[number] = _mismatch(number, record, None, None, why)
    comparable = [number for number in range(len(records)) if number not in mismatches]
    compared = compare_lookups(plan, snapshots, [records[number] for number in comparable], repo)
    found = [*mismatches.values(), *(replace(one, number=comparable[one.number]) for one in compared.mismatches)]
    matches = len(records) - len({mismatch.number for mismatch in found})
    return LookupReport(matches, compared.values, tuple(sorted(found, key=lambda one: one.number)))


def compare_lookups(
    plan: Plan,
    snapshots: Callable[[Sequence[FeatureRef]], dict[str, LogSnapshot]],
    records: Sequence[Mapping[str, Any]],
    repo: Path | None = None,
) -> LookupReport:
    """Recompute recorded lookups of which the log has all events, and compare.

    Args:
        plan: The plan they were served under.
        snapshots: Gives the logs that features are made from.
        records: The lookups; each may have some of its features left out. If `problems` is None, it is not known why
            values were null.
        repo: The feature repo's folder, for the functions of transforms.

    Returns:
        The report.
    """
    by_features: dict[tuple[str, ...], list[int]] = {}
    known = feature_refs(plan)
    for number, record in enumerate(records):
        # A batch view has no log: what is computed of its features is not recomputed.
        of_streams = tuple(column for column in record["features"] if not plan.batch_refs([known[column]]))
        if of_streams:
            by_features.setdefault(of_streams, []).append(number)
    values, mismatches = _compared_rows(plan, records, repo)
    for features, numbers in by_features.items():
        refs = [known[feature] for feature in features]
        chosen = [records[number] for number in numbers]
        join = PointInTimeJoin(plan, snapshots(plan.stored(refs)), repo=repo)
        joined = _recomputed(plan, join, refs, chosen, repo)
        reasons = {(row, feature): reason for row, feature, reason in joined.problems}
        for column in features:
            recomputed = joined.table.column(column).to_pylist()
            for row, (number, record, value) in enumerate(zip(numbers, chosen, recomputed, strict=True)):
                values += 1
                served = record["features"][column]
                if not same_value(served, value):
                    mismatches.append(_mismatch(number, record, column, served, value))
                elif value is None and record.get("problems", _NONE) is not None:
                    # Null because no event counts, or because the value cannot be given: the reason is served as well.
                    why = record.get("problems", _NONE).get(column)
                    if why != reasons.get((row, column)):
                        nulls = _null(why), _null(reasons.get((row, column)))
                        mismatches.append(_mismatch(number, record, column, *nulls))
    wrong = {mismatch.number for mismatch in mismatches}
    return LookupReport(len(records) - len(wrong), values, tuple(sorted(mismatches, key=lambda found: found.number)))


def _compared_rows(plan: Plan, records: Sequence[Mapping[str, Any]], repo: Path | None) -> tuple[int, list[Mismatch]]:
    """Compare batch features with their sources: how many values were compared, and those that differ."""
    values, mismatches = 0, []
    for view in plan.batch_views.values():
        columns = {f"{view.name}__{column.name}" for column in view.columns}
        numbers = [number for number, record in enumerate(records) if not columns.isdisjoint(record["features"])]
        chosen = [records[number] for number in numbers]
        for number, record, judged in zip(numbers, chosen, judge_rows(view, chosen, repo, same_value), strict=True):
            for column in record["features"]:
                if column not in columns:
                    continue
                values += 1
                served, wanted = record["features"][column], judged.why
                if judged.values is not None:
                    wanted = judged.values[column]
                    if same_value(served, wanted):
                        continue
                mismatches.append(_mismatch(number, record, column, served, wanted))
    return values, mismatches


def _recomputed(
    plan: Plan,
    join: PointInTimeJoin,
    refs: list[FeatureRef],
    records: Sequence[Mapping[str, Any]],
    repo: Path | None,
) -> Joined:
    stored = plan.stored(refs)
    entities = {entity.name: entity for ref in stored for entity in plan.views[ref.view].entities}
    columns = {
        name: pa.array([field_of_record(record["keys"][name], one.dtype) for record in records], ARROW_TYPES[one.dtype])
        for name, one in plan.request_fields(refs).items()
    }
    columns |= {
        name: pa.array(
            [record["keys"][name] for record in records],
            None if entity.dtype is DType.DATE else ARROW_TYPES[entity.dtype],
        )
        for name, entity in entities.items()
    }
    time_column = "at"
    while time_column in columns:
        time_column += "_"
    columns[time_column] = pa.array([record["at_us"] for record in records]).cast(pa.timestamp("us", "UTC"))
    spine = pa.table(columns)
    joined = join.join(
        spine,
        stored,
        as_of=AsOf.EVIDENCE,
        time_column=time_column,
        evidence=[record["evidence"] for record in records],
    )
    return with_computed(plan, refs, joined, spine, repo, fails=False)


def _null(reason: str | None) -> str | None:
    return None if reason is None else f"null: {reason}"


def feature_refs(plan: Plan) -> dict[str, FeatureRef]:
    """The features of a plan, by `view__feature`."""
    views: list[View | BatchView | OnDemandView] = [*plan.every_view, *plan.on_demand_views.values()]
    every = (FeatureRef(view=view.name, feature=one.name) for view in views for one in view.features)
    return {ref.column: ref for ref in every}


def _refuse_incomplete(plan: Plan, number: int, record: Mapping[str, Any]) -> None:
    absent = [name for name in ("at_us", "keys", "features", "evidence") if name not in record]
    if absent:
        msg = f"Lookup {number} has no {absent[0]!r}, so it is not a recorded lookup."
        raise LookupRequestError(msg, hint="Record lookups with `OnlineFeatures.records()`.")
    if record.get("plan", plan.hash) != plan.hash:
        return  # it may name features that this plan does not have; the report says so
    known = feature_refs(plan)
    for column in record["features"]:
        if column not in known:
            msg = f"Lookup {number} has the feature {column!r}, which the plan does not have."
            raise LookupRequestError(msg, hint="Verify lookups under the plan that served them.")
        refs = [known[column]]
        needed = dict.fromkeys(plan.request_fields(refs), "field of the request")
        needed |= {key: "key" for view in plan.stored_views(refs) for key in view.join_keys}
        for name, what in needed.items():
            if name not in record["keys"]:
                msg = f"Lookup {number} has {column!r}, but no {what} {name!r}."
                raise LookupRequestError(msg, hint="Record lookups with `OnlineFeatures.records()`.")


def _ends(
    plan: Plan, logged: Callable[[str, Iterable[int]], dict[int, int]], records: Sequence[Mapping[str, Any]]
) -> dict[str, dict[int, int]]:
    """By topic and partition, the last offset logged, for all partitions in the records' evidence."""
    asked: dict[str, set[int]] = {}
    for record in records:
        for view, applied in record["evidence"].items():
            if view in plan.views:
                topic = plan.source_of(plan.views[view]).topic
                asked.setdefault(topic, set()).update(int(partition) for partition in applied)
    return {topic: logged(topic, sorted(partitions)) for topic, partitions in asked.items()}


def _unrecomputable(plan: Plan, ends: Mapping[str, Mapping[int, int]], record: Mapping[str, Any]) -> str | None:
    """Why a lookup cannot be recomputed; None where it can."""
    if record.get("plan", plan.hash) != plan.hash:
        return f"it was served under the plan {record['plan']}, and the plan is now {plan.hash}"
    for view, applied in record["evidence"].items():
        topic = plan.source_of(plan.views[view]).topic if view in plan.views else None
        for partition, offset in applied.items():
            logged = ends[topic].get(int(partition), -1) if topic is not None else offset
            if offset > logged:
                return f"it knew {topic}-{partition} up to offset {offset}, and the log has it up to {logged}"
    return None


def same_value(served: Any, recomputed: Any) -> bool:
    """Whether a recorded value, which may be from JSON, and a recomputed one are equal."""
    if isinstance(recomputed, list):
        return (
            isinstance(served, list)
            and len(served) == len(recomputed)
            and all(same_value(one, other) for one, other in zip(served, recomputed, strict=True))
        )
    if isinstance(recomputed, float):
        try:
            number = float(served)  # JSON has no NaN and no infinities: they were recorded as text
        except (TypeError, ValueError):
            return False
        if math.isnan(number) or math.isnan(recomputed):
            return math.isnan(number) and math.isnan(recomputed)
        return number == recomputed or math.isclose(number, recomputed, rel_tol=_RELATIVE)
    if isinstance(recomputed, Decimal):
        return bool(served == (recomputed if isinstance(served, Decimal) else str(recomputed)))
    if isinstance(recomputed, datetime):
        return bool(
            served == (recomputed if isinstance(served, datetime) else recomputed.isoformat().replace("+00:00", "Z"))
        )
    if isinstance(recomputed, date):
        return bool(served == (recomputed if isinstance(served, date) else recomputed.isoformat()))
    return bool(served == recomputed and isinstance(served, bool) == isinstance(recomputed, bool))


def _mismatch(number: int, record: Mapping[str, Any], feature: str | None, served: Any, recomputed: Any) -> Mismatch:
    return Mismatch(number, dict(record["keys"]), iso_time(record["at_us"]), feature, served, recomputed)
