"""An open client, and what it knows of requests that it has seen before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headrace.lookup import FeatureClient
from headrace.lookup.wire_request import key_types
from headrace.plan import DType, Plan
from headrace.plan.view_versions import asked_versions
from headrace.stores import OnlineStore

__all__ = ["AskedFacts", "Opened", "needs_store"]

_REMEMBERED = 1_000
"""Of how many different requests the facts are remembered."""


def needs_store(plan: Plan) -> bool:
    """Whether a plan's lookups need the online store: a plan of batch views alone has no worker that would make one."""
    return bool(plan.views) or not plan.batch_views


@dataclass(frozen=True)
class AskedFacts:
    """What follows from the names that a request asks for.

    Attributes:
        features: How many features they are.
        types: The types of the columns that rows need, by name.
        service: The feature service, if the request asks for exactly one.
    """

    features: int
    types: Mapping[str, DType]
    service: str | None


@dataclass(eq=False)
class Opened:
    """A client that lookups use.

    Attributes:
        client: The client.
        plan: The plan as it was applied.
        store: The client's store.
        files: What `store_files` said of it when it was opened.
        version: The version of the plan's file.
        since: When it was opened, in seconds since 1970.
        users: How many requests use it now.
    """

    client: FeatureClient
    plan: Plan
    store: OnlineStore
    files: object
    version: str | None
    since: float
    users: int = 0
    _asked: dict[str | tuple[str, ...], AskedFacts] = field(default_factory=dict)

    def asked(self, names: str | tuple[str, ...]) -> AskedFacts:
        """What follows from the names that a request asks for; worked out once.

        Args:
            names: A service, or names of features, views and services.

        Raises:
            LookupRequestError: A name is unknown.
        """
        known = self._asked.get(names)
        if known is None:
            if len(self._asked) >= _REMEMBERED:
                self._asked.clear()
            known = self._asked[names] = self._facts(names)
        return known

    def _facts(self, names: str | tuple[str, ...]) -> AskedFacts:
        plan = self.client.plan_for(names) if asked_versions(names) else self.plan
        refs = plan.resolve(names)
        views = plan.stored_views(refs)
        fields = {name: field.dtype for name, field in plan.request_fields(refs).items()}
        alone = names if isinstance(names, str) else names[0] if len(names) == 1 else ""
        return AskedFacts(len(refs), fields | key_types(views), alone if alone in self.plan.services else None)
