"""Trying the functions of on-demand views on example rows, before a request does.

A function is refused that fails on all of them, returns something else than its view declares, is not deterministic,
mixes rows, or changes what it is given. A training set would not have what lookups were served.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from headrace.declare.on_demand_views import ON_DEMAND_CALLEES, ON_ERROR_TAG
from headrace.errors import HeadraceError
from headrace.ondemand import Computation, Inputs, WrongResultError, example_inputs
from headrace.plan import OnDemandView, Plan

if TYPE_CHECKING:
    from headrace.declare.feature_repo import FeatureRepo
    from headrace.declare.problems import Problems

__all__ = ["try_on_demand_views"]


def try_on_demand_views(repo: FeatureRepo, plan: Plan, problems: Problems) -> list[str]:
    """Run the function of each on-demand view on example rows.

    Args:
        repo: The repo, still open.
        plan: What was compiled from it.
        problems: Where to note a function that cannot work.

    Returns:
        Warnings: functions that fail where an input is null.
    """
    warnings: list[str] = []
    for written in repo.contents.on_demand_feature_views:
        view = plan.on_demand_views.get(written.name)
        if view is None:
            continue
        place = repo.locator.of(written, written.name, *ON_DEMAND_CALLEES)
        try:
            trial = _Trial(Computation.of(view, repo.path))
        except HeadraceError as error:
            problems.add(place, f"on-demand view {view.name!r}: {error.what}", error.hint or "Correct the function.")
            continue
        found = trial.problem()
        if found is not None:
            problems.add(place, f"on-demand view {view.name!r}: {found[0]}", found[1])
        elif trial.failing_nulls:
            warnings.append(trial.warning())
    return warnings


class _Trial:
    """One view's function on example rows.

    Args:
        computation: The view.
    """

    def __init__(self, computation: Computation) -> None:
        self._view: OnDemandView = computation.view
        self._computation = computation.without_errors()
        self._inputs, self._nulls = example_inputs(computation.dtypes)
        self._values, self._reasons = self._run(self._inputs)

    def problem(self) -> tuple[str, str] | None:
        """What cannot work, and what to do; None where it works."""
        whole = [row for row in range(self._inputs.rows) if row not in self._nulls]
        if all(row in self._reasons for row in whole):
            what = f"it fails on all {len(whole)} example rows: {self._reasons[whole[0]]}."
            return what, "Correct the function, or the schema."
        wrong = self._wrong_result(whole)
        if wrong is not None:
            return f"{self._view.function} {wrong}.", "Correct the function, or the schema."
        changed = self._changed_inputs()
        if changed:
            return (
                f"its function changes its inputs in place: {changed}.",
                "Return new values, and leave the inputs alone.",
            )
        if self._run(self._inputs) != (self._values, self._reasons):
            what = "its function is not deterministic: it gave different values for the same inputs."
            return what, "Leave out clocks and random numbers; take a time from a field of the request."
        for row in range(self._inputs.rows):
            if self._run(self._inputs.slice(row, row + 1)) != _alone(self._values, self._reasons, row):
                what = "its function mixes rows: a row alone has other values than beside others."
                return what, "Compute each row from its own values: lookups and training sets have different rows."
        return None

    def _wrong_result(self, whole: list[int]) -> str | None:
        """What the function returned that its view does not declare, for all rows at once or for one; else None."""
        for start, stop in ((0, len(whole)), *((row, row + 1) for row in whole)):
            try:
                self._computation.call(self._inputs.slice(start, stop))
            except WrongResultError as error:
                return str(error)
            except Exception:  # noqa: BLE001, S112 a row that the function cannot take; the run has noted it
                continue
        return None

    @property
    def failing_nulls(self) -> dict[str, str]:
        """By input, why the function fails where only it is null."""
        return {name: self._reasons[row] for row, name in self._nulls.items() if row in self._reasons}

    def warning(self) -> str:
        """What happens where an input is null."""
        names = ", ".join(self.failing_nulls)
        reason = next(iter(self.failing_nulls.values()))
        subject = f"The function of the on-demand view {self._view.name!r} fails where {names} is null ({reason})."
        if self._view.on_error == "null":
            return f"{subject} Its features are null there."
        return (
            f"{subject} Such a request fails; an entity without events has nulls. Handle None in the function, or "
            f'write tags={{"{ON_ERROR_TAG}": "null"}}.'
        )

    def _run(self, inputs: Inputs) -> tuple[dict[str, list[str]], Mapping[int, str]]:
        """The values as text, which tells NaN, -0.0 and 1 from other values, and the reasons of failures."""
        computed = self._computation.run(inputs)
        return {
            name: [repr(one) for one in array.to_pylist()] for name, array in computed.arrays.items()
        }, computed.problems

    def _changed_inputs(self) -> str | None:
        """The input that the function changed in place; None where it changed none."""
        seen: list[tuple[Any, Any]] = []

        def watched(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
            def call(given: Any) -> Any:
                before = copy.deepcopy(given)
                made = function(given)
                seen.append((before, given))
                return made

            return call

        Computation(self._computation.view, watched(self._computation.function)).run(self._inputs)
        for before, after in seen:
            if list(before) != list(after):
                return f"it adds or removes {', '.join(sorted(map(repr, set(before) ^ set(after))))}"
            for name in before:
                if repr(list(_cells(before[name]))) != repr(list(_cells(after[name]))):
                    return repr(name)
        return None


def _cells(column: Any) -> Any:
    return column if hasattr(column, "__len__") and not isinstance(column, str) else [column]


def _alone(
    values: Mapping[str, list[str]], reasons: Mapping[int, str], row: int
) -> tuple[dict[str, list[str]], dict[int, str]]:
    """What a row alone should give."""
    return {name: [column[row]] for name, column in values.items()}, ({0: reasons[row]} if row in reasons else {})
