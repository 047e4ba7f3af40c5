"""Proof of lookups: what was served is recomputed from the log by the evidence that came with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from headrace.errors import LookupRequestError
from headrace.events.batch import ARROW_TYPES
from headrace.history import AsOf, PointInTimeJoin
from headrace.log import LogSnapshot
from headrace.plan import FeatureRef, Plan
from headrace.times import iso_time

__all__ = ["LookupReport", "Mismatch", "verify_lookups"]

_RELATIVE = 1e-9


@dataclass(frozen=True)
class Mismatch:
    """A feature that was served otherwise than the log says.

    Attributes:
        number: The lookup's place among those verified.
        keys: Its entity.
        at: Its time.
        feature: The feature, or None where the whole lookup cannot be recomputed.
        served: What was served.
        recomputed: What the log gives, or why it gives nothing.
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
        return f"lookup {self.number} ({entity} at {self.at}): {self.feature}: served {self.served!r}, recomputed {self.recomputed!r}"


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
    plan: Plan, snapshots: Callable[[Sequence[FeatureRef]], dict[str, LogSnapshot]], records: Sequence[Mapping[str, Any]]
) -> LookupReport:
    """Recompute recorded lookups and compare.

    Args:
        plan: The plan they were served under.
        snapshots: Gives the logs that features are made from.
        records: The lookups, as `OnlineFeatures.records()` gives them.

    Returns:
        The report.
    """
    by_features: dict[tuple[str, ...], list[int]] = {}
    mismatches: list[Mismatch] = []
    for number, record in enumerate(records):
        if record.get("plan", plan.hash) != plan.hash:
            why = f"it was served under the plan {record['plan']}, and the plan is now {plan.hash}"
            mismatches.append(_mismatch(number, record, None, None, why))
        else:
            by_features.setdefault(tuple(record["features"]), []).append(number)
    values = 0
    for features, numbers in by_features.items():
        refs = [_ref(plan, feature) for feature in features]
        chosen = [records[number] for number in numbers]
        table = _recomputed(plan, snapshots(refs), refs, chosen)
        for column in features:
            recomputed = table.column(column).to_pylist()
            for number, record, value in zip(numbers, chosen, recomputed, strict=True):
                values += 1
                served = record["features"][column]
                if not _same(served, value):
                    mismatches.append(_mismatch(number, record, column, served, value))
    wrong = {mismatch.number for mismatch in mismatches}
    return LookupReport(len(records) - len(wrong), values, tuple(sorted(mismatches, key=lambda found: found.number)))


def _recomputed(
    plan: Plan, logs: dict[str, LogSnapshot], refs: list[FeatureRef], records: Sequence[Mapping[str, Any]]
) -> pa.Table:
    entities = {entity.name: entity for ref in refs for entity in plan.views[ref.view].entities}
    columns = {
        name: pa.array([record["keys"][name] for record in records], ARROW_TYPES[entity.dtype])
        for name, entity in entities.items()
    }
    time_column = "at"
    while time_column in columns:
        time_column += "_"
    columns[time_column] = pa.array([record["at_us"] for record in records]).cast(pa.timestamp("us", "UTC"))
    return PointInTimeJoin(plan, logs).features(
        pa.table(columns),
        refs,
        as_of=AsOf.EVIDENCE,
        time_column=time_column,
        evidence=[record["evidence"] for record in records],
    )


def _ref(plan: Plan, column: str) -> FeatureRef:
    view, _, feature = column.partition("__")
    if view not in plan.views or feature not in {one.name for one in plan.views[view].features}:
        msg = f"The plan has no feature {column}."
        raise LookupRequestError(msg, cure="Verify lookups under the plan that served them.")
    return FeatureRef(view=view, feature=feature)


def _same(served: Any, recomputed: Any) -> bool:
    if isinstance(recomputed, float):
        if not isinstance(served, str | int | float) or isinstance(served, bool):
            return False
        number = float(served)  # JSON has no NaN and no infinities: they were recorded as text
        if math.isnan(number) or math.isnan(recomputed):
            return math.isnan(number) and math.isnan(recomputed)
        return number == recomputed or math.isclose(number, recomputed, rel_tol=_RELATIVE)
    if hasattr(recomputed, "isoformat"):
        return bool(served == recomputed.isoformat().replace("+00:00", "Z"))
    return bool(served == recomputed and isinstance(served, bool) == isinstance(recomputed, bool))


def _mismatch(number: int, record: Mapping[str, Any], feature: str | None, served: Any, recomputed: Any) -> Mismatch:
    return Mismatch(number, dict(record["keys"]), iso_time(record["at_us"]), feature, served, recomputed)
