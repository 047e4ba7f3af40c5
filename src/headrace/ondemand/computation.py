"""Computing an on-demand view: its function over the rows of a lookup, or over those of a training set."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from headrace.errors import OnDemandError, PlanError
from headrace.events.event_batch import ARROW_TYPES
from headrace.events.row_salvage import salvaged
from headrace.extras import needing
from headrace.ondemand.function_loading import load_function
from headrace.ondemand.function_source import read_function
from headrace.ondemand.inputs import Inputs
from headrace.ondemand.outputs import WrongResultError, array_of_list, array_of_series, values_of_column
from headrace.plan import DType, OnDemandView

__all__ = ["CHUNK_ROWS", "Computation", "Computed"]

CHUNK_ROWS = 65_536
"""How many rows the function is given at a time. It decides how much memory is used, never what is computed."""


class Computed(NamedTuple):
    """The features of an on-demand view.

    Attributes:
        arrays: By feature, its values.
        problems: By row, why the function failed on it; its features are null there.
    """

    arrays: Mapping[str, pa.ChunkedArray]
    problems: Mapping[int, str]


@dataclass(frozen=True)
class Computation:
    """An on-demand view with its function.

    Attributes:
        view: The view.
        function: Its function.
        chunk_rows: How many rows the function is given at a time.
    """

    view: OnDemandView
    function: Callable[[Any], Any]
    chunk_rows: int = CHUNK_ROWS

    @classmethod
    def of(cls, view: OnDemandView, repo: Path | None) -> Computation:
        """Load a view's function, without importing Feast.

        Args:
            view: The view.
            repo: The feature repo's folder; None finds the function's module on `sys.path`.

        Raises:
            PlanError: The function is missing, cannot be loaded, or has changed since it was applied.
        """
        source = read_function(view.function, repo)
        if source.code != view.code:
            what = f"The function {view.function!r} of the on-demand view {view.name!r}, or something that it uses,"
            msg = f"{what} has changed since it was applied."
            raise PlanError(msg, hint="Run `headrace apply`.")
        if view.mode == "pandas":
            with needing("offline"):
                import pandas  # noqa: F401 where it is missing, nothing can be computed
        return cls(view, load_function(source, repo))

    def without_errors(self) -> Computation:
        """The same, but rows on which the function fails are always null, with the reason."""
        return replace(self, view=self.view.model_copy(update={"on_error": "null"}))

    @cached_property
    def names(self) -> Mapping[str, tuple[str, ...]]:
        """Under which names the function is given each input: `view__feature`, and `feature` if only one view has it.

        Fields of the request have their own names.
        """
        short = [one.ref.feature for one in self.view.inputs]
        given: dict[str, tuple[str, ...]] = {}
        for one in self.view.inputs:
            column = one.ref.column
            given[column] = (one.ref.feature, column) if short.count(one.ref.feature) == 1 else (column,)
        return given | {field.name: (field.name,) for field in self.view.request}

    @cached_property
    def dtypes(self) -> Mapping[str, DType]:
        """The types of its inputs, by `view__feature` and field of the request."""
        inputs = {one.ref.column: one.dtype for one in self.view.inputs}
        return inputs | {field.name: field.dtype for field in self.view.request}

    def run(self, inputs: Inputs) -> Computed:
        """Compute the view.

        Args:
            inputs: What the function reads, by the names of `dtypes`.

        Returns:
            The features, in the rows' order.

        Raises:
            OnDemandError: The function fails on a row, or returns something else than the view declares, and the view
                does not say that such a row is null.
        """
        parts: dict[str, list[pa.Array]] = {feature.name: [] for feature in self.view.features}
        problems: dict[int, str] = {}
        for start in range(0, inputs.rows, self.chunk_rows):
            for first, end, made in self._attempts(inputs, start, min(start + self.chunk_rows, inputs.rows)):
                if isinstance(made, Exception):
                    problems[first] = self._reason(made)
                    made = {one.name: pa.nulls(end - first, ARROW_TYPES[one.dtype]) for one in self.view.features}
                for name, array in made.items():
                    parts[name].append(array)
        arrays = {
            feature.name: pa.chunked_array(parts[feature.name], ARROW_TYPES[feature.dtype])
            for feature in self.view.features
        }
        return Computed(arrays, problems)

    def _attempts(
        self, inputs: Inputs, start: int, stop: int
    ) -> Iterator[tuple[int, int, Mapping[str, pa.Array] | Exception]]:
        """Ranges of rows with what the function made of them; a row that fails, fails alone."""

        def attempt(first: int, end: int) -> Mapping[str, pa.Array]:
            return self.call(inputs.slice(first, end))

        for first, end, made in salvaged(attempt, start, stop):
            if isinstance(made, Exception) and self.view.on_error == "error":
                raise self._error(made, inputs, first) from made
            yield first, end, made

    def call(self, inputs: Inputs) -> Mapping[str, pa.Array]:
        """What the function makes of some rows at once, by feature.

        Raises:
            WrongResultError: It returned something else than the view declares.
        """
        if self.view.mode == "pandas":
            return self._call_with_frame(inputs)
        columns = {name: inputs.lists[column] for column, names in self.names.items() for name in names}
        made = self._singles(columns, inputs.rows) if self.view.singleton else _mapping(self.function(columns))
        return {
            feature.name: array_of_list(values_of_column(made, feature, inputs.rows), feature)
            for feature in self.view.features
        }

    def _singles(self, columns: Mapping[str, Any], rows: int) -> Mapping[str, list[Any]]:
        """What a function of one row makes of each row."""
        found: dict[str, list[Any]] = {feature.name: [] for feature in self.view.features}
        for row in range(rows):
            made = _mapping(self.function({name: values[row] for name, values in columns.items()}))
            for name, values in found.items():
                if name not in made:
                    there = ", ".join(map(repr, made)) or "nothing"
                    msg = f"returned no {name!r} (it returned {there})"
                    raise WrongResultError(msg)
                values.append(made[name])
        return found

    def _call_with_frame(self, inputs: Inputs) -> Mapping[str, pa.Array]:
        import pandas as pd

        table = pa.table({name: inputs.arrays[column] for column, names in self.names.items() for name in names})
        # pandas' own types have no null besides NaN, and make floats of integers beside a null; Arrow's do neither.
        given = table.to_pandas(types_mapper=pd.ArrowDtype)
        given.index = pd.RangeIndex(inputs.rows)
        made = self.function(given)
        if not isinstance(made, pd.DataFrame):
            msg = f"returned a {type(made).__name__}, and not a DataFrame"
            raise WrongResultError(msg)
        if len(made) != inputs.rows:
            msg = f"returned {len(made)} rows for {inputs.rows}"
            raise WrongResultError(msg)
        if not made.index.equals(pd.RangeIndex(inputs.rows)):
            msg = "returned the rows in another order, or with another index"
            raise WrongResultError(msg)
        missing = [one.name for one in self.view.features if list(made.columns).count(one.name) != 1]
        if missing:
            there = ", ".join(repr(name) for name in made.columns) or "no columns"
            msg = f"returned no column {missing[0]!r}, or more than one (it returned {there})"
            raise WrongResultError(msg)
        return {feature.name: array_of_series(made[feature.name], feature) for feature in self.view.features}

    def _reason(self, error: Exception) -> str:
        """Why a row has no value. It names no line, so that a function that only moved gives the same reason."""
        if isinstance(error, WrongResultError):
            return f"{self.view.function} {error}"
        return f"{self.view.function} failed: {type(error).__name__}: {error}"

    def _error(self, error: Exception, inputs: Inputs, row: int) -> OnDemandError:
        line = self._line_of(error)
        msg = f"The on-demand view {self.view.name!r} cannot be computed for row {row}: {self._reason(error)}{line}."
        one = inputs.slice(row, row + 1).lists
        nulls = [name for name, values in one.items() if values[0] is None]
        said = f"In that row {', '.join(nulls)} {'is' if len(nulls) == 1 else 'are'} null. " if nulls else ""
        hint = (
            f"{said}Correct the function. tags={{'headrace.on_error': 'null'}} makes such rows null, with the reason, "
            "instead of failing the request."
        )
        return OnDemandError(msg, hint=hint)

    def _line_of(self, error: Exception) -> str:
        file = getattr(getattr(self.function, "__code__", None), "co_filename", "")
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        return f" ({Path(file).name}:{lines[-1]})" if lines else ""


def _mapping(made: Any) -> Mapping[str, Any]:
    if not isinstance(made, Mapping):
        msg = f"returned a {type(made).__name__}, and not a dict"
        raise WrongResultError(msg)
    return made
