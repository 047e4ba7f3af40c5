"""How a request names features: as text, or as Feast's `FeatureService` objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeAlias

from headrace.errors import LookupRequestError

__all__ = ["AskedFeatures", "FeatureServiceLike", "asked_names", "check_applied"]


class FeatureServiceLike(Protocol):
    """The part of Feast's `FeatureService` that is used."""

    name: str
    feature_view_projections: list[Any]


AskedFeatures: TypeAlias = str | FeatureServiceLike | Sequence[str | FeatureServiceLike]
"""A feature service or its name, or a list of these and of `view:feature` and `view:*`."""


def asked_names(features: AskedFeatures) -> tuple[tuple[str, ...], list[FeatureServiceLike]]:
    """The requested names, and the services among them that were given as objects.

    Args:
        features: The requested features.
    """
    if isinstance(features, str):
        return (features,), []
    parts: tuple[Any, ...] = (features,) if _is_service(features) else tuple(features)  # type: ignore[arg-type]
    if set(map(type, parts)) <= {str}:
        return parts, []
    services = [part for part in parts if _is_service(part)]
    return tuple(part.name if _is_service(part) else part for part in parts), services


def check_applied(service: FeatureServiceLike, applied: Iterable[tuple[str, str]]) -> None:
    """Refuse a service object that differs from the one that was applied.

    Args:
        service: Feast's `FeatureService`.
        applied: The features of the applied service, as (view, feature).

    Raises:
        LookupRequestError: The object has other features.
    """
    for projection in service.feature_view_projections:
        of_view = {feature for view, feature in applied if view == projection.name}
        given = {feature.name for feature in projection.features} or of_view
        if not of_view or given != of_view:
            what = f"has other features of {projection.name!r} than when it was applied."
            msg = f"The feature service {service.name!r} {what}"
            raise LookupRequestError(msg, hint="Run `headrace apply`.")


def _is_service(part: object) -> bool:
    return hasattr(part, "feature_view_projections") and hasattr(part, "name")
