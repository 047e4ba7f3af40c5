"""What a request for online features asks for, resolved against Feast's registry."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from feast import FeatureService
from feast.feature_view import DUMMY_ENTITY_ID, FeatureViewState
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.value_type import ValueType

from headrace.errors import LookupRequestError
from headrace.feast.repo_project import computed_by_headrace, label_of

if TYPE_CHECKING:
    from feast.feature_view_projection import FeatureViewProjection
    from feast.infra.registry.base_registry import BaseRegistry

__all__ = ["AskedColumn", "AskedView", "OnlineRequest", "RequestCache", "ref_parts", "resolve_request", "ttl_us_of"]

_REF = re.compile(r"(?P<view>[^:@]+)(?:@(?:[vV](?P<version>\d+)|latest))?:(?P<feature>.+)")
_MICROSECOND = timedelta(microseconds=1)
_REQUESTS = 1_000
"""How many different requests are remembered."""


class AskedColumn(NamedTuple):
    """A feature of the answer.

    Attributes:
        label: Its view, as the request names it: with its alias or version.
        feature: The feature.
        name: Its name in the answer.
        kind: Its type in Feast.
    """

    label: str
    feature: str
    name: str
    kind: ValueType


@dataclass
class AskedView:
    """A view whose values are stored or computed from events, and what is needed of it.

    Attributes:
        view: Feast's view.
        label: How the request names it: with its alias or version.
        version: The version that the request names.
        features: The features needed, those of on-demand views included.
        keys: By join key of the view, the column of the request that holds it.
        ttl_us: How old a row may be, in µs; None is any age.
        is_stream: Whether headrace computes it from events.
    """

    view: Any
    label: str
    version: int | None
    features: dict[str, None]
    keys: dict[str, str]
    ttl_us: int | None
    is_stream: bool


@dataclass
class OnlineRequest:
    """A request, resolved.

    Attributes:
        views: By label, the views to read.
        on_demand: By label, the on-demand views to compute.
        columns: The features of the answer, in the order asked for.
        key_kinds: By column of the request that is a join key, its type; `UNKNOWN` where it is not declared.
        request_kinds: By field of request data, its type.
        entity_names: By entity's name, its join key: Feast takes both.
    """

    views: dict[str, AskedView] = field(default_factory=dict)
    on_demand: dict[str, OnDemandFeatureView] = field(default_factory=dict)
    columns: list[AskedColumn] = field(default_factory=list)
    key_kinds: dict[str, ValueType] = field(default_factory=dict)
    request_kinds: dict[str, ValueType] = field(default_factory=dict)
    entity_names: dict[str, str] = field(default_factory=dict)


class RequestCache:
    """Resolved requests, valid as long as the registry's own cache is."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], OnlineRequest] = {}
        self._registry: tuple[int, Any] | None = None

    def get(
        self,
        registry: BaseRegistry,
        project: str,
        features: Sequence[str] | FeatureService,
        full_names: bool,
        refreshed: Callable[[], None],
    ) -> OnlineRequest:
        """A request, resolved.

        Args:
            registry: Feast's registry.
            project: Feast's project.
            features: A feature service, or `view:feature` names.
            full_names: Whether names in the answer begin with the view's.
            refreshed: What to call when the registry has been read again.
        """
        asked = ("service", features.name) if isinstance(features, FeatureService) else tuple(features)
        key = (asked, project, full_names)
        state = (id(registry), getattr(registry, "cached_registry_proto_created", None))
        if state == self._registry and state[1] is not None and registry.is_cache_valid():
            known = self._known.get(key)
            if known is not None:
                return known
        found = resolve_request(registry, project, features, full_names)
        state = (id(registry), getattr(registry, "cached_registry_proto_created", None))
        if state != self._registry or state[1] is None:
            self._known, self._registry = {}, state
            refreshed()
        if len(self._known) >= _REQUESTS:
            self._known.clear()
        self._known[key] = found
        return found


def resolve_request(
    registry: BaseRegistry, project: str, features: Sequence[str] | FeatureService, full_names: bool
) -> OnlineRequest:
    """Resolve a request against the registry.

    Raises:
        LookupRequestError: It names nothing, has a name that is no `view:feature`, asks for an unknown feature, or two
            features would have the same name in the answer.
        FeastObjectNotFoundException: A view or service is unknown.
        ValueError: A view is disabled, or its state does not allow serving.
    """
    return _Resolver(registry, project, full_names).resolve(features)


def ref_parts(ref: str) -> tuple[str, int | None, str]:
    """The view, the version and the feature that a reference names: `view:feature` or `view@v2:feature`.

    Raises:
        LookupRequestError: It is neither.
    """
    match = _REF.fullmatch(ref)
    if match is None:
        msg = f"{ref!r} names no feature."
        raise LookupRequestError(msg, hint="Write view:feature, or view@v2:feature for a version.")
    version = match["version"]
    return match["view"], None if version is None else int(version), match["feature"]


def ttl_us_of(view: Any) -> int | None:
    """How old a row of a view may be, in µs; None is any age."""
    ttl = getattr(view, "ttl", None)
    return ttl // _MICROSECOND if isinstance(ttl, timedelta) and ttl > timedelta(0) else None


class _Projected(NamedTuple):
    """A view, and how a request takes it.

    A copy of Feast's view with the projection would lose its version number.
    """

    view: Any
    projection: FeatureViewProjection

    @property
    def label(self) -> str:
        return label_of(self.projection)


class _Resolver:
    def __init__(self, registry: BaseRegistry, project: str, full_names: bool) -> None:
        self._registry = registry
        self._project = project
        self._full_names = full_names
        self._found = OnlineRequest()

    def resolve(self, features: Sequence[str] | FeatureService) -> OnlineRequest:
        for asked, feature in self._parts(features):
            self._ask(asked, feature)
        if not self._found.columns:
            msg = "The request names no features."
            raise LookupRequestError(msg, hint='Write features=["view:feature"], or give a FeatureService.')
        names = [column.name for column in self._found.columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            msg = f"Two features of the request have the name {twice[0]!r}."
            raise LookupRequestError(msg, hint="Ask with full_feature_names=True, and for each feature once.")
        return self._found

    def _parts(self, features: Sequence[str] | FeatureService) -> Iterator[tuple[_Projected, str]]:
        """The views asked for, each with a feature, in the order of the request."""
        if isinstance(features, FeatureService):
            service = self._registry.get_feature_service(features.name, self._project, True)
            for projection in service.feature_view_projections:
                view = self._view(projection.name, projection.version_tag, projection)
                for one in projection.features:
                    yield view, one.name
            return
        views: dict[tuple[str, int | None], _Projected] = {}
        for ref in features:
            name, version, feature = ref_parts(ref)
            if (name, version) not in views:
                views[name, version] = self._view(name, version)
            yield views[name, version], feature

    def _view(self, name: str, version: int | None, projection: FeatureViewProjection | None = None) -> _Projected:
        if version is None:
            view: Any = self._registry.get_any_feature_view(name, self._project, True)
        elif not getattr(self._registry, "enable_online_versioning", False):
            msg = f"{name}@v{version}: versions of views are switched off."
            hint = "Set `enable_online_feature_view_versioning: true` under `registry` in feature_store.yaml."
            raise LookupRequestError(msg, hint=hint)
        else:
            view = self._registry.get_feature_view_by_version(name, self._project, version, True)
        self._check_serves(view)
        used = copy.copy(view.projection if projection is None else projection)
        used.version_tag = version
        return _Projected(view, used)

    def _check_serves(self, view: Any) -> None:
        """Refuse what Feast refuses."""
        if not getattr(view, "enabled", True):
            msg = f"The view {view.name!r} is disabled."
            raise LookupRequestError(msg, hint=f"Run `feast feature-views enable {view.name}`.")
        state = getattr(view, "state", FeatureViewState.STATE_UNSPECIFIED)
        serving = {FeatureViewState.STATE_UNSPECIFIED, FeatureViewState.AVAILABLE_ONLINE}
        if getattr(self._registry, "serve_features_while_materializing", False):
            serving.add(FeatureViewState.MATERIALIZING)
        if isinstance(state, FeatureViewState) and state not in serving and not computed_by_headrace(view):
            msg = f"The view {view.name!r} is in the state {state.name}, in which Feast serves no features."
            raise LookupRequestError(msg, hint=f"Run `feast materialize-incremental` with --views {view.name}.")

    def _ask(self, asked: _Projected, feature: str) -> None:
        view, label = asked.view, asked.label
        is_computed = isinstance(view, OnDemandFeatureView) and not view.write_to_online_store
        is_stored = isinstance(view, OnDemandFeatureView) and view.write_to_online_store
        fields = {one.name: one for one in (view.schema if is_stored else asked.projection.features)}
        if feature not in fields:
            msg = f"The view {label!r} has no feature named {feature!r}."
            raise LookupRequestError(msg, hint=f"It has: {', '.join(fields)}.")
        if is_computed:
            self._compute(label, view)
        else:
            self._read(asked, [feature])
        name = f"{label}__{feature}" if self._full_names else feature
        self._found.columns.append(AskedColumn(label, feature, name, fields[feature].dtype.to_value_type()))

    def _compute(self, label: str, view: OnDemandFeatureView) -> None:
        if label in self._found.on_demand:
            return
        if view.aggregations:
            msg = f"The on-demand view {view.name!r} has aggregations, which headrace does not compute on demand."
            raise LookupRequestError(msg, hint="Aggregate in a stream view (headrace.stream_view).")
        self._found.on_demand[label] = view
        self._found.request_kinds |= view.get_request_data_schema()
        for projection in view.source_feature_view_projections.values():
            source = self._view(projection.name, projection.version_tag, projection)
            self._read(source, [one.name for one in projection.features])

    def _read(self, asked: _Projected, features: Sequence[str]) -> None:
        found = self._found.views.get(asked.label)
        if found is None:
            view, keys = asked.view, self._keys(asked)
            found = self._found.views[asked.label] = AskedView(
                view, asked.label, asked.projection.version_tag, {}, keys, ttl_us_of(view), computed_by_headrace(view)
            )
        found.features |= dict.fromkeys(features)

    def _keys(self, asked: _Projected) -> dict[str, str]:
        mapped = asked.projection.join_key_map
        keys: dict[str, str] = {}
        for column in asked.view.entity_columns:
            keys[column.name] = mapped.get(column.name, column.name)
            if column.name != DUMMY_ENTITY_ID:
                self._found.key_kinds[keys[column.name]] = column.dtype.to_value_type()
        for name in asked.view.entities:
            entity = self._registry.get_entity(name, self._project, True)
            join_key = mapped.get(entity.join_key, entity.join_key)
            keys.setdefault(entity.join_key, join_key)
            if entity.join_key != DUMMY_ENTITY_ID:
                self._found.key_kinds.setdefault(join_key, entity.value_type)
                self._found.entity_names[mapped.get(entity.join_key, name)] = join_key
        return keys
