"""Versions of views by name: `view@v2:feature` and `view@HASH:feature`.

`apply` notes every definition that a view has had, in the project's state, and numbers them from 0, as Feast does. A
number stands for one definition: applying an earlier definition again gives its number back. The hash is the content
hash of the view.

In a request, a version is a view of its own, named as it was asked for: `rides@v2`. Its features are the columns
`rides@v2__feature`. So a request can ask for two versions beside each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from headrace.errors import ConfigError, HeadraceError, LookupRequestError, PlanError
from headrace.plan.feature_references import AskedFeatures, asked_names
from headrace.plan.plan import Plan
from headrace.plan.view import View
from headrace.state import Note, State
from headrace.times import iso_time

__all__ = [
    "AskedVersion",
    "ViewVersion",
    "ViewVersions",
    "asked_versions",
    "shown_versions",
    "with_versions",
    "without_versions",
]

_NAME = re.compile(r"\w+")
_VERSION = re.compile(r"@[0-9a-z]+(?=__|$)")
_LEAST_HASH = 4
"""The fewest digits of a hash that name a version."""


@dataclass(frozen=True)
class ViewVersion:
    """A definition that a view has, or has had.

    Attributes:
        number: Its number, from 0; None where nobody noted it: it has a hash only.
        view: The definition.
        applied_us: When it was first applied, in µs; None where nobody noted it.
    """

    number: int | None
    view: View
    applied_us: int | None = None

    @property
    def number_or_hash(self) -> str:
        """What names it after the `@`: `v2`, or its hash where it has no number."""
        return self.view.hash if self.number is None else f"v{self.number}"

    @property
    def name(self) -> str:
        """`v2 (hash)`, for messages."""
        return self.view.hash if self.number is None else f"v{self.number} ({self.view.hash})"


class AskedVersion(NamedTuple):
    """A version that a request names.

    Attributes:
        view: The view's name.
        version: `v` and a number, or the first digits of a hash.
    """

    view: str
    version: str

    def __str__(self) -> str:
        return f"{self.view}@{self.version}"


class ViewVersions:
    """The versions of a project's views.

    Args:
        state: Where they are noted (`Project.view_versions`).
    """

    def __init__(self, state: State) -> None:
        self._state = state

    def of(self, plan: Plan, name: str) -> tuple[ViewVersion, ...]:
        """The versions of a view, the first one first; that of the plan is among them, noted or not.

        Args:
            plan: The plan.
            name: The view's name.

        Raises:
            PlanError: The note cannot be read.
        """
        noted = self._note(name).read() if _NAME.fullmatch(name) else ()
        declared = plan.views.get(name)
        if declared is None or any(one.view.hash == declared.hash for one in noted):
            return noted
        return (*noted, ViewVersion(None, declared))

    def note(self, plan: Plan, now_us: int) -> None:
        """Note the definitions of a plan that is applied; those that are known keep their numbers.

        Args:
            plan: The plan.
            now_us: The time, in µs.

        Raises:
            PlanError: A note cannot be read or written.
        """
        for name, view in plan.views.items():

            def add(noted: tuple[ViewVersion, ...], view: View = view) -> tuple[ViewVersion, ...]:
                is_known = any(one.view.hash == view.hash for one in noted)
                return noted if is_known else (*noted, ViewVersion(len(noted), view, now_us))

            self._note(name).update(add)

    def _note(self, name: str) -> Note[tuple[ViewVersion, ...]]:
        file = self._state.file(f"{name}.json")

        def damaged(error: Exception) -> HeadraceError:
            msg = f"The versions of the view {name!r} in {file} cannot be read: {str(error).splitlines()[0]}."
            hint = "Restore the file from a copy, or remove it: versions are then numbered from 0 again."
            return PlanError(msg, hint=hint)

        def unavailable(error: OSError) -> HeadraceError:
            msg = f"The versions of the view {name!r} cannot be read or written in {file}: {error}."
            hint = "Make the folder writable, or set `state` in headrace.toml to another one."
            return ConfigError(msg, hint=hint)

        return Note(file, tuple, _parsed, _rendered, damaged=damaged, unavailable=unavailable)


def asked_versions(features: AskedFeatures) -> list[AskedVersion]:
    """The versions that a request names, each once.

    Args:
        features: The request.
    """
    names = (features,) if isinstance(features, str) else asked_names(features)[0]
    found = (name.partition(":")[0].partition("@") for name in names if "@" in name)
    return list(dict.fromkeys(AskedVersion(view, version) for view, at, version in found if at))


def with_versions(
    plan: Plan,
    asked: Sequence[AskedVersion],
    versions_of: Callable[[str], Sequence[ViewVersion]],
    choose: Callable[[AskedVersion, ViewVersion, Sequence[ViewVersion]], View],
) -> Plan:
    """A plan in which `Plan.resolve` finds versions by name.

    Args:
        plan: The plan.
        asked: The versions that the request names.
        versions_of: Gives the versions of a view.
        choose: Gives the view to compute a version by, or raises where it cannot be computed.

    Returns:
        The plan with one more view per version, named as it was asked for; the same plan where none was.

    Raises:
        LookupRequestError: There is no such view or version; the message lists what there is.
    """
    if not asked:
        return plan
    views = dict(plan.views)
    for one in asked:
        if str(one) not in views:  # a dataset's archived plan has them already
            versions = versions_of(one.view)
            chosen = choose(one, _found(plan, one, versions), versions)
            views[str(one)] = chosen.model_copy(update={"name": str(one)})
    return plan.model_copy(update={"views": views})


def shown_versions(versions: Sequence[ViewVersion]) -> str:
    """The versions there are, for messages.

    Args:
        versions: The versions of one view.
    """
    return "; ".join(map(_shown, versions)) or "none"


def _shown(version: ViewVersion) -> str:
    if version.applied_us is None:
        return f"{version.name}, not numbered before the next apply"
    return f"{version.name}, applied {iso_time(version.applied_us)}"


def _found(plan: Plan, asked: AskedVersion, versions: Sequence[ViewVersion]) -> ViewVersion:
    if not versions and plan.find(asked.view) is not None:
        msg = f"{str(asked)!r} names a version, and {asked.view!r} is no stream view: only those have versions."
        raise LookupRequestError(msg, hint=f"Ask for {asked.view}:feature.")
    if not versions:
        msg = f"There is no view named {asked.view!r} (in {str(asked)!r})."
        raise LookupRequestError(msg, hint=f"Views: {', '.join(plan.views) or 'none'}.")
    number = re.fullmatch(r"v([0-9]{1,9})", asked.version)
    if number:
        found = [one for one in versions if one.number == int(number[1])]
    else:
        wanted = asked.version if len(asked.version) >= _LEAST_HASH else None
        found = [one for one in versions if wanted and one.view.hash.startswith(wanted)]
    if len(found) != 1:
        how_many = "more than one version" if found else "no version"
        msg = f"The view {asked.view!r} has {how_many} {asked.version!r}."
        hint = f"Write {asked.view}@v0 or {asked.view}@HASH. It has: {shown_versions(versions)}."
        raise LookupRequestError(msg, hint=hint)
    return found[0]


def _parsed(stored: Any) -> tuple[ViewVersion, ...]:
    found = tuple(
        ViewVersion(one["number"], View.model_validate(one["view"]), one["applied_us"]) for one in stored["versions"]
    )
    if [one.view.hash for one in found] != [one["hash"] for one in stored["versions"]]:
        msg = "a definition was edited"
        raise ValueError(msg)
    if [one.number for one in found] != list(range(len(found))):
        msg = "the numbers are not 0, 1, 2 …"
        raise ValueError(msg)
    return found


def _rendered(versions: tuple[ViewVersion, ...]) -> dict[str, Any]:
    return {
        "versions": [
            {
                "number": one.number,
                "hash": one.view.hash,
                "applied_us": one.applied_us,
                "view": one.view.model_dump(mode="json"),
            }
            for one in versions
        ]
    }


def without_versions(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts by view or by `view__feature`, without the versions in their names.

    Of a lookup these are the facts of the versions that were served: a lookup that names another one is refused.

    >>> without_versions({"rides@v2__count": 3, "rides__sum": 4})
    {'rides__count': 3, 'rides__sum': 4}

    Args:
        facts: The facts.
    """
    return {_VERSION.sub("", name, count=1): fact for name, fact in facts.items()}
