"""The compiled plan: what the worker, the lookup SDK and the training SDK know about the features.

A plan is plain JSON with a content hash. Reading it needs neither Feast nor the user's code. All durations are int64
microseconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, ClassVar, Literal

from headrace.errors import LookupRequestError
from headrace.plan.batch_view import BatchView
from headrace.plan.content_hash import Hashed
from headrace.plan.feature import FeatureRef
from headrace.plan.feature_references import AskedFeatures, FeatureServiceLike, asked_names, check_applied
from headrace.plan.on_demand_view import OnDemandView
from headrace.plan.source import Source
from headrace.plan.types import Column, DType
from headrace.plan.view import View

__all__ = ["FORMAT", "Plan"]

FORMAT: Literal[1] = 1
"""The version of the plan's JSON. A reader refuses another."""


class Plan(Hashed):
    """Everything that was declared, compiled.

    Attributes:
        format: The version of this JSON.
        project: The Feast project.
        sources: By name.
        views: Stream views, by name.
        services: Feature services: name to feature references.
        batch_views: Feature views over files, tables, queries and pushed rows, by name.
        on_demand_views: By name.
    """

    format: Literal[1] = FORMAT
    project: str
    sources: dict[str, Source]
    views: dict[str, View]
    services: dict[str, tuple[FeatureRef, ...]] = {}
    batch_views: dict[str, BatchView] = {}
    on_demand_views: dict[str, OnDemandView] = {}

    added_later: ClassVar[frozenset[str]] = frozenset({"batch_views", "on_demand_views"})

    @cached_property
    def hash(self) -> str:
        """The content hash of the whole plan."""
        return self.content_hash()

    def source_of(self, view: View) -> Source:
        """The source that feeds ``view``."""
        return self.sources[view.source]

    def views_of(self, source: str) -> list[View]:
        """The views that ``source`` feeds."""
        return [view for view in self.views.values() if view.source == source]

    @property
    def every_view(self) -> list[View | BatchView]:
        """The views whose features are stored: stream views and batch views."""
        return [*self.views.values(), *self.batch_views.values()]

    def stream_refs(self, refs: Iterable[FeatureRef]) -> list[FeatureRef]:
        """The features of stream views among some, and among those that on-demand views read."""
        return [ref for ref in self.stored(refs) if ref.view in self.views]

    def batch_refs(self, refs: Iterable[FeatureRef]) -> list[FeatureRef]:
        """The features of batch views among some, and among those that on-demand views read."""
        return [ref for ref in self.stored(refs) if ref.view in self.batch_views]

    def source_for_topic(self, topic: str) -> Source:
        """The source that reads ``topic``; KeyError where there is none."""
        for source in self.sources.values():
            if source.topic == topic:
                return source
        raise KeyError(topic)

    def find(self, name: str) -> View | BatchView | OnDemandView | None:
        """The view called ``name``, of any kind; None where there is none."""
        return self._by_name.get(name)

    def dtype_of(self, ref: FeatureRef) -> DType:
        """The type of a feature's values; KeyError where there is no such feature."""
        return self._by_name[ref.view].feature(ref.feature).dtype

    def stored(self, refs: Iterable[FeatureRef]) -> list[FeatureRef]:
        """The features that are read from stores to answer for some features.

        Args:
            refs: Features of views of any kind.

        Returns:
            The same without those of on-demand views, then what these read; each once.
        """
        refs = list(refs)
        found = dict.fromkeys(ref for ref in refs if ref.view not in self.on_demand_views)
        for view in self.computed(refs):
            found |= dict.fromkeys(one.ref for one in view.inputs)
        return list(found)

    def stored_views(self, refs: Iterable[FeatureRef]) -> list[View | BatchView]:
        """The stream views and batch views that are read to answer for some features, each once."""
        stored: dict[str, View | BatchView] = {**self.batch_views, **self.views}
        return [stored[name] for name in dict.fromkeys(ref.view for ref in self.stored(refs))]

    def computed(self, refs: Iterable[FeatureRef]) -> list[OnDemandView]:
        """The on-demand views of some features, each once."""
        names = dict.fromkeys(ref.view for ref in refs)
        return [self.on_demand_views[name] for name in names if name in self.on_demand_views]

    def request_fields(self, refs: Iterable[FeatureRef]) -> dict[str, Column]:
        """The fields of the request that some features are computed from, by name.

        They are columns of the request's rows, beside the join keys.
        """
        return {field.name: field for view in self.computed(refs) for field in view.request}

    def resolve(self, features: AskedFeatures) -> list[FeatureRef]:
        """The features that a request asks for.

        Args:
            features: A feature service or its name, or a list of ``view:feature``, ``view:*`` and services.

        Returns:
            The references in the requested order, each once.

        Raises:
            LookupRequestError: A name is unknown; the message lists the known ones.
        """
        names, services = asked_names(features)
        self.check_applied(services)
        if not names:
            msg = "The request names no features."
            raise LookupRequestError(msg, hint=self._what_there_is())
        found: dict[FeatureRef, None] = {}
        for name in names:
            for ref in self._resolve_one(name):
                found[ref] = None
        return list(found)

    def _resolve_one(self, name: str) -> list[FeatureRef]:
        view_name, colon, feature_name = name.partition(":")
        if not colon:
            if name not in self.services:
                msg = f"There is no feature service named {name!r}."
                raise LookupRequestError(msg, hint=self._what_there_is())
            return list(self.services[name])
        view = self.find(view_name)
        if view is None and "@" in view_name:
            msg = f"{view_name!r} names a version of a view, and versions are not known here."
            raise LookupRequestError(msg, hint="FeatureClient and TrainingClient know the versions of a project.")
        if view is None:
            msg = f"There is no view named {view_name!r} (in {name!r})."
            raise LookupRequestError(msg, hint=self._what_there_is())
        if feature_name == "*":
            return [FeatureRef(view=view_name, feature=feature.name) for feature in view.features]
        known = [feature.name for feature in view.features]
        if feature_name not in known:
            msg = f"The view {view_name!r} has no feature named {feature_name!r}."
            raise LookupRequestError(msg, hint=f"It has: {', '.join(known)}.")
        return [FeatureRef(view=view_name, feature=feature_name)]

    def check_applied(self, services: Iterable[FeatureServiceLike]) -> None:
        """Refuse service objects that differ from those that the plan was made from.

        Args:
            services: Feast's `FeatureService` objects.

        Raises:
            LookupRequestError: One has other features than when it was applied.
        """
        for service in services:
            if service.name in self.services:
                check_applied(service, [(ref.view, ref.feature) for ref in self.services[service.name]])

    @cached_property
    def _by_name(self) -> Mapping[str, View | BatchView | OnDemandView]:
        return {**self.on_demand_views, **self.batch_views, **self.views}

    def _what_there_is(self) -> str:
        services = ", ".join(self.services) or "none"
        views = ", ".join(self._by_name) or "none"
        return f"Feature services: {services}. Views: {views} (ask for view:feature, or view:*)."

    def model_dump_pretty(self) -> str:
        """The plan as indented JSON with its hash."""
        body: dict[str, Any] = {"hash": self.hash, **self.model_dump(mode="json")}
        return json.dumps(body, indent=2) + "\n"
