"""How features are asked for: by names, or by the `FeatureService` objects of Feast that the names are of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

__all__ = ["AskedFeatures", "FeatureServiceLike", "asked_names"]


class FeatureServiceLike(Protocol):
    """What is needed of Feast's `FeatureService`."""

    name: str
    feature_view_projections: list[Any]


AskedFeatures: TypeAlias = str | FeatureServiceLike | Sequence[str | FeatureServiceLike]
"""A feature service or its name, or a list of these and of `view:feature` and `view:*`."""


def asked_names(features: AskedFeatures) -> tuple[tuple[str, ...], list[FeatureServiceLike]]:
    """The names that are asked for, and the services among them that were given as objects.

    Args:
        features: What is asked for.
    """
    if isinstance(features, str):
        return (features,), []
    parts: tuple[Any, ...] = (features,) if _is_service(features) else tuple(features)  # type: ignore[arg-type]
    if set(map(type, parts)) <= {str}:
        return parts, []
    services = [part for part in parts if _is_service(part)]
    return tuple(part.name if _is_service(part) else part for part in parts), services


def _is_service(part: object) -> bool:
    return hasattr(part, "feature_view_projections") and hasattr(part, "name")
