"""What an audit found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from headrace.audit.not_comparable import NotComparable

__all__ = ["AuditReport", "FeatureSkew", "Skew", "skew_of"]


@dataclass(frozen=True)
class Skew:
    """A value that was served and that the log contradicts.

    Attributes:
        served_at: When it was served, by the wall clock (ISO 8601).
        at: The time it answered for (ISO 8601).
        keys: Its entity.
        feature: The feature, `view__feature`.
        served: What was served.
        recomputed: What the log gives.
        absolute: How much they differ (times: in seconds); None where they are not numbers, or one is null.
        relative: The same as a share of the recomputed value; None if that is zero or `absolute` is None.
    """

    served_at: str | None
    at: str | None
    keys: dict[str, Any]
    feature: str
    served: Any
    recomputed: Any
    absolute: float | None
    relative: float | None


@dataclass(frozen=True)
class FeatureSkew:
    """One feature's mismatches.

    Attributes:
        feature: The feature, `view__feature`.
        mismatches: How many values of it differ.
        absolute: The greatest absolute difference; None if no value has one.
        relative: The greatest relative difference; None if no value has one.
    """

    feature: str
    mismatches: int
    absolute: float | None
    relative: float | None


@dataclass
class AuditReport:
    """What an audit found.

    Attributes:
        lookups: How many lookups (one per entity) were recorded in the time asked for.
        matches: How many of them match the log in every feature.
        values: How many values were compared.
        unrecorded: How many lookups should have been recorded, and were not.
        mismatched: How many of the lookups differ, and nothing explains it.
        apart: By reason, how many lookups the log cannot judge in at least one view.
        partly: How many of these match in another view.
        skews: Every value that differs, and that nothing explains.
    """

    lookups: int = 0
    matches: int = 0
    values: int = 0
    unrecorded: int = 0
    mismatched: int = 0
    apart: dict[NotComparable, int] = field(default_factory=lambda: dict.fromkeys(NotComparable, 0))
    partly: int = 0
    skews: list[Skew] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing that was compared differs."""
        return not self.skews

    @property
    def pending(self) -> int:
        """How many knew events that the log does not have yet."""
        return self.apart[NotComparable.PENDING]

    @property
    def erased(self) -> int:
        """How many may have counted events that were erased since."""
        return self.apart[NotComparable.ERASED]

    @property
    def other_plan(self) -> int:
        """How many were served under a plan that was not kept, or that the log no longer fits."""
        return self.apart[NotComparable.OTHER_PLAN]

    @property
    def compared(self) -> int:
        """How many lookups were compared in full, or differ."""
        return self.matches + self.mismatched

    @property
    def share(self) -> float | None:
        """The share of the compared lookups that match; None where none was compared."""
        return self.matches / self.compared if self.compared else None

    def by_feature(self) -> list[FeatureSkew]:
        """The features that differ, the most frequent first."""
        found: dict[str, list[Skew]] = {}
        for skew in self.skews:
            found.setdefault(skew.feature, []).append(skew)
        features = [
            FeatureSkew(
                name,
                len(skews),
                _greatest([skew.absolute for skew in skews]),
                _greatest([skew.relative for skew in skews]),
            )
            for name, skews in found.items()
        ]
        return sorted(features, key=lambda one: (-one.mismatches, one.feature))


def skew_of(served: Any, recomputed: Any) -> tuple[float | None, float | None]:
    """How far two values are apart.

    Args:
        served: What was served, as JSON holds it.
        recomputed: What the log gives.

    Returns:
        The absolute and the relative difference; None where there is none.
    """
    if isinstance(recomputed, date):  # times are dates, too
        try:
            apart = abs((type(recomputed).fromisoformat(str(served)) - recomputed).total_seconds())
        except (TypeError, ValueError):
            return None, None
        return apart, None
    if isinstance(recomputed, bool) or not isinstance(recomputed, int | float):
        return None, None
    if isinstance(served, bool) or not isinstance(served, int | float):
        return None, None
    absolute = abs(float(served) - float(recomputed))
    if not math.isfinite(absolute):
        return None, None
    return absolute, absolute / abs(recomputed) if recomputed else None


def _greatest(found: Sequence[float | None]) -> float | None:
    return max((value for value in found if value is not None), default=None)
