"""Feast's feature services to services of the plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from headrace.declare.features import feature_name, near
from headrace.plan import FeatureRef

if TYPE_CHECKING:
    from feast import FeatureService, StreamFeatureView
    from feast.feature_view_projection import FeatureViewProjection

    from headrace.declare.feature_repo import FeatureRepo
    from headrace.declare.problems import Problems
    from headrace.declare.source_locations import Place

__all__ = ["compile_services"]


def compile_services(
    repo: FeatureRepo, problems: Problems, others: Mapping[str, Sequence[str]] = {}
) -> dict[str, tuple[FeatureRef, ...]]:
    """Compile the feature services.

    Args:
        repo: The feature repo.
        problems: Where to note what cannot work.
        others: By name, the features of views that are not stream views.

    Returns:
        By the service's name, its features in order.
    """
    views = {view.name: [feature_name(made) for made in view.aggregations] for view in _stream_views(repo)}
    views |= {name: list(features) for name, features in others.items()}
    views |= {view.name: [field.name for field in view.features] for view in repo.contents.on_demand_feature_views}
    compiled: dict[str, tuple[FeatureRef, ...]] = {}
    seen: dict[str, Place] = {}
    for service in sorted(repo.contents.feature_services, key=lambda service: service.name):
        place = repo.locator.of(service, service.name, "FeatureService")
        if service.name in compiled:
            hint = f"Rename one; the other is at {seen[service.name]}."
            problems.add(place, f"two feature services are named {service.name!r}.", hint)
            continue
        seen[service.name] = place
        compiled[service.name] = _ServiceCompiler(service, views, place, problems).compile()
    return compiled


def _stream_views(repo: FeatureRepo) -> list[StreamFeatureView]:
    return repo.contents.stream_feature_views


class _ServiceCompiler:
    def __init__(self, service: FeatureService, views: dict[str, list[str]], place: Place, problems: Problems) -> None:
        self._service = service
        self._views = views
        self._place = place
        self._problems = problems

    def compile(self) -> tuple[FeatureRef, ...]:
        name = self._service.name
        if not name or ":" in name:
            self._wrong("that name cannot be used in a request.", "Write another name=, without ':'.")
        found = dict.fromkeys(ref for view, features in self._parts() for ref in self._refs(view, features))
        if not self._service._features:  # noqa: SLF001
            self._wrong("it has no features.", "Write features=[...], views or view[[...]].")
        return tuple(found)

    def _parts(self) -> Iterator[tuple[str, list[str] | None]]:
        """The views that the service names, in its order, each with the features it takes; None is all of them."""
        # Only this private list has the order. Feast's public lists have projections and references in text apart.
        projections = iter(self._service.feature_view_projections)
        for part in self._service._features:  # noqa: SLF001
            if isinstance(part, str):
                view, colon, feature = part.partition(":")
                yield view, [feature] if colon else None
            else:
                projection = next(projections)
                self._check(projection)
                names = [field.name for field in projection.features] or projection.desired_features
                yield projection.name, list(names) or None

    def _check(self, projection: FeatureViewProjection) -> None:
        if projection.name_alias or projection.join_key_map:
            what = f"it renames the view {projection.name!r} or its join keys, which is not supported yet."
            self._wrong(what, "Take the view as it is, without with_name and with_join_key_map.")
        if projection.version_tag is not None:
            what = f"it takes version {projection.version_tag} of the view {projection.name!r}."
            self._wrong(what, "Take the view as it is; headrace serves the version that is applied.")

    def _refs(self, view: str, features: list[str] | None) -> Iterator[FeatureRef]:
        known = self._views.get(view)
        if known is None:
            hint = f"{near(view, list(self._views))}Views are: {', '.join(self._views) or 'none'}."
            self._wrong(f"{view!r} is not a view of this repo that headrace serves.", hint, at=view)
            return
        for feature in known if features is None else features:
            if feature in known:
                yield FeatureRef(view=view, feature=feature)
            else:
                hint = f"{near(feature, known)}It has: {', '.join(known) or 'none'}."
                self._wrong(f"the view {view!r} has no feature {feature!r}.", hint, at=feature)

    def _wrong(self, what: str, hint: str, at: str | None = None) -> None:
        place = self._place if at is None else self._place.at(at)
        self._problems.add(place, f"feature service {self._service.name!r}: {what}", hint)
