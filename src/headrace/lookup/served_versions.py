"""Versions by name in lookups: a request may pin the version of a view that the store must serve."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.errors import VersionNotServedError
from headrace.plan import Plan, View
from headrace.plan.view_versions import (
    AskedVersion,
    ViewVersion,
    ViewVersions,
    asked_versions,
    shown_versions,
    with_versions,
)
from headrace.stores import Catalogue

__all__ = ["pinned_plan", "plain_name"]


def plain_name(view: str) -> str:
    """The name of a view without the version that a request asked for.

    Args:
        view: The name, such as `rides@v2`.
    """
    return view.partition("@")[0]


def pinned_plan(
    plan: Plan, features: str | tuple[str, ...], versions: ViewVersions | None, catalogue: Catalogue | None
) -> Plan:
    """A plan in which the versions that a request names are views.

    Args:
        plan: The plan that is served.
        features: The request.
        versions: The versions of the project's views; None where there is no project.
        catalogue: What the store says of itself; None does not ask which version it serves.

    Raises:
        LookupRequestError: There is no such version; the message lists what there is.
        VersionNotServedError: The store serves another one.
    """

    def versions_of(name: str) -> Sequence[ViewVersion]:
        found = list(versions.of(plan, name)) if versions is not None else []
        known = [plan.views.get(name)]
        if catalogue is not None:
            known += [one.view for one in catalogue.kept_versions(name)]
        for view in known:
            if view is not None and all(one.view.hash != view.hash for one in found):
                found.append(ViewVersion(None, view))
        return found

    def served(asked: AskedVersion, version: ViewVersion, every: Sequence[ViewVersion]) -> View:
        live = None if catalogue is None else catalogue.live.get(asked.view)
        if catalogue is None or version.view.hash == live:
            return version.view
        serves = next((one.name for one in every if one.view.hash == live), live or "no version")
        msg = f"{str(asked)!r} is {version.name}, and the online store serves {serves} of {asked.view!r}."
        hint = (
            f"`headrace rollback {asked.view} --to {version.view.hash}` or `headrace backfill {asked.view}` changes "
            "what is served; TrainingClient and `headrace history` compute any version from the log. "
            f"Versions: {shown_versions(every)}."
        )
        raise VersionNotServedError(msg, hint=hint)

    return with_versions(plan, asked_versions(features), versions_of, served)
