"""What a server says that can be asked for, and what clients find in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from headrace.errors import LookupRequestError
from headrace.lookup.wire_format import reading
from headrace.plan import DType
from headrace.plan.feature_references import FeatureServiceLike, check_applied

__all__ = ["Catalog"]


class Catalog:
    """What can be asked for (`headrace.lookup.catalog`).

    Args:
        data: The server's JSON.

    Attributes:
        data: The same.
        services: The features of each service, as `view:feature`.
        plan_hash: The plan.

    Raises:
        ServerError: The JSON is something else.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        with reading():
            self.data = data
            self.plan_hash: str = data["plan"]
            self.services: Mapping[str, list[str]] = data["services"]
            self._views: Mapping[str, Mapping[str, Any]] = data["views"]

    def features(self, names: Iterable[str]) -> list[tuple[str, str]]:
        """The features that a request asks for, as (view, feature), each once.

        Args:
            names: Names of services, `view:feature` and `view:*`.

        Raises:
            LookupRequestError: A name is unknown.
        """
        found: dict[tuple[str, str], None] = {}
        for name in names:
            for full in [name] if ":" in name else self.services.get(name, [""]):
                view, _, feature = full.partition(":")
                known = self._views.get(_name(view), {}).get("features", {})
                wanted = list(known) if feature == "*" else [feature]
                if not wanted or not set(wanted) <= set(known):
                    msg = f"The server has no service or feature named {name!r}."
                    raise LookupRequestError(
                        msg, hint=f"It has: {', '.join([*self.services, *self._views]) or 'none'}."
                    )
                found |= dict.fromkeys((view, feature) for feature in wanted)
        return list(found)

    def dtypes(self, features: Iterable[tuple[str, str]]) -> dict[str, DType]:
        """The types of features, by `view__feature`."""
        with reading():
            return {f"{view}__{name}": DType(self._views[_name(view)]["features"][name]) for view, name in features}

    def key_types(self, features: Iterable[tuple[str, str]]) -> dict[str, DType]:
        """The types of the columns of a request for features, by name: join keys, and fields of on-demand views."""
        with reading():
            return {
                name: DType(text)
                for view in dict.fromkeys(view for view, _ in features)
                for part in ("request", "keys")
                for name, text in self._views[_name(view)].get(part, {}).items()
            }

    def check_applied(self, services: Iterable[FeatureServiceLike]) -> None:
        """Refuse service objects that differ from those that were applied.

        Args:
            services: Feast's `FeatureService` objects.

        Raises:
            LookupRequestError: One has other features than when it was applied.
        """
        for service in services:
            if service.name in self.services:
                applied = [full.partition(":") for full in self.services[service.name]]
                check_applied(service, [(view, feature) for view, _, feature in applied])


def _name(view: str) -> str:
    """The name of a view that may be asked for in a version, `view@v2`."""
    return view.partition("@")[0]
