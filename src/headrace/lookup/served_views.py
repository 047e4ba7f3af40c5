"""What the online store serves, and what requests ask of it; valid as long as the store's generation stays the same."""

from __future__ import annotations

from headrace.errors import LookupRequestError, PlanMismatchError
from headrace.lookup.on_demand import Computations, OnDemandPlan
from headrace.lookup.request_plan import RequestPlan
from headrace.lookup.served_versions import pinned_plan, plain_name
from headrace.plan import FeatureRef, Plan
from headrace.plan.view_versions import ViewVersions
from headrace.stores import OnlineStore, Readiness
from headrace.stores.served_plan import live_plan, live_view, unreadable
from headrace.windows import ViewLayout

__all__ = ["AskedNames", "ServedViews"]

AskedNames = str | tuple[str, ...]
"""The names that a request asks for: a service's, or those of features, views and services."""

_REQUESTS = 1_000
"""How many different requests are remembered."""

_REBUILD = (
    "Change the source back and apply, or run `headrace stream --rebuild`: "
    "it fills the store again from the log, under the plan as it is now."
)


class ServedViews:
    """The versions of views that the store serves.

    Args:
        declared: The plan as it was applied.
        store: The store.
        computations: The functions of on-demand views.
        versions: The versions of the project's views; None where there is no project: then hashes name versions.

    Attributes:
        catalogue: The store's catalogue.
        plan: The plan, with each view in the version served.
        origin: JSON: which logs the store's records were made from, and since when.

    Raises:
        PlanMismatchError: The store was filled under another plan.
    """

    def __init__(
        self, declared: Plan, store: OnlineStore, computations: Computations, versions: ViewVersions | None = None
    ) -> None:
        self._declared = declared
        self._versions = versions
        self._store = store
        self._computations = computations
        self.catalogue = store.catalogue()
        self.plan = live_plan(declared, self.catalogue)
        self.origin = self.catalogue.origin.to_json()
        self._layouts: dict[str, ViewLayout] = {}
        self._requests: dict[AskedNames, RequestPlan] = {}

    def request(self, asked: AskedNames) -> RequestPlan:
        """What a request asks for.

        Raises:
            LookupRequestError: A name is unknown.
            PlanMismatchError: The version that is served lacks a feature, or its records can no longer be read.
            PlanError: The function of an on-demand view cannot be loaded, or has changed.
        """
        known = self._requests.get(asked)
        if known is None:
            refs = self._resolve(asked)
            stored, batch_views = self.plan_for(asked).stored(refs), self._declared.batch_views
            known = RequestPlan.of(
                stored,
                {ref.view: self._layout(plain_name(ref.view)) for ref in stored if ref.view not in batch_views},
                {ref.view: batch_views[ref.view] for ref in stored if ref.view in batch_views},
                OnDemandPlan.of(self.plan_for(asked), refs, self._computations),
            )
            if len(self._requests) >= _REQUESTS:
                self._requests.clear()
            self._requests[asked] = known
        return known

    def plan_for(self, asked: AskedNames) -> Plan:
        """The plan that is served, and in it the versions that a request names, as views.

        Raises:
            LookupRequestError: There is no such version.
            VersionNotServedError: The store serves another one.
        """
        is_ready = self.catalogue.readiness is Readiness.READY
        return pinned_plan(self.plan, asked, self._versions, self.catalogue if is_ready else None)

    def _resolve(self, asked: AskedNames) -> list[FeatureRef]:
        """The features asked for; a version that is still served may lack some of them."""
        served = self.plan_for(asked)
        try:
            refs = served.resolve(asked)
        except LookupRequestError:
            if served is not self.plan:
                raise
            refs = self._declared.resolve(asked)
        for ref in served.stream_refs(refs):
            view = served.views[ref.view]
            if ref.feature not in {feature.name for feature in view.features}:
                msg = f"The online store serves {view.versioned_name}, which has no feature {ref.feature!r}."
                hint = f"`headrace backfill {view.name}` makes {self._declared.views[view.name].versioned_name} live."
                raise PlanMismatchError(msg, hint=hint)
        return refs

    def _layout(self, name: str) -> ViewLayout:
        if name not in self._layouts:
            view, declared = self.plan.views[name], self._declared.views[name]
            if self.catalogue.live.get(name) != view.hash:
                live_view(declared, self._store.catalogue())  # raises, unless a worker has started since
            source = self.plan.source_of(view)
            why = None if view.hash == declared.hash else unreadable(view, source, is_served=True)
            if why is not None:  # fields have other types now, so the values in its records would be misread
                msg = f"The online store serves {view.versioned_name}, which the plan can no longer read: {why}."
                raise PlanMismatchError(msg, hint=_REBUILD)
            self._layouts[name] = ViewLayout.of(view, source)
        return self._layouts[name]
