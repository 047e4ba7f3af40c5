"""From a Feast aggregation to a feature of the plan."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from headrace.aggregates import AGGREGATES, ALIASES, canonical_name, parse_function
from headrace.declare.durations import as_code, nearest_slide, shown, to_us
from headrace.plan import Column, DType, Feature

if TYPE_CHECKING:
    from datetime import timedelta

    from feast import Aggregation

    from headrace.declare.problems import Problems
    from headrace.declare.source_locations import Place

__all__ = ["FeatureCompiler", "feature_name", "is_usable_name", "near", "result_dtype"]

_USABLE = re.compile(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*")
_LONGEST_US = 2**62

NAMING = "Names are letters, digits and single underscores between them: a column of results is called view__feature."
"""The rule for names, and why."""


class FeatureCompiler(NamedTuple):
    """Compiles the aggregations of one view.

    Attributes:
        view: The view's name.
        columns: The columns of its source.
        hop: The slide of windows without one, where tiling is on; None where it is off.
        place: Where the view is written.
        problems: Where to note what cannot work.
    """

    view: str
    columns: tuple[Column, ...]
    hop: timedelta | None
    place: Place
    problems: Problems

    def compile(self, aggregation: Aggregation) -> Feature | None:
        """Compile an aggregation.

        Args:
            aggregation: Feast's definition.

        Returns:
            The feature; None where it cannot work, which is noted.
        """
        before = len(self.problems)
        name = feature_name(aggregation)
        if not is_usable_name(name):
            self._wrong(aggregation, f"the name {name!r} cannot be used.", f"{NAMING} Write another name=.")
        dtype = self._result(aggregation)
        window_us, slide_us = self._window(aggregation)
        if dtype is None or len(self.problems) > before:
            return None
        function, params = parse_function(aggregation.function)
        if window_us is None and AGGREGATES[function].needs_window:
            hint = "Write time_window=timedelta(hours=1)."
            self._wrong(aggregation, f"{function} of a lifetime: it needs a window.", hint)
            return None
        return Feature(
            name=name,
            function=function,
            params=params,
            column=aggregation.column,
            window_us=window_us,
            slide_us=slide_us,
            dtype=dtype,
        )

    def _result(self, aggregation: Aggregation) -> DType | None:
        """The type of the values; None where function and column do not fit, which is noted."""
        function = canonical_name(aggregation.function)
        if function is None:
            what = f"the function {aggregation.function!r} is unknown" if aggregation.function else "it has no function"
            hint = near(aggregation.function.lower(), [*AGGREGATES, *ALIASES])
            self._wrong(aggregation, f"{what}.", f"{hint}Functions are: {', '.join(AGGREGATES)}.")
            return None
        try:
            parse_function(aggregation.function)
        except ValueError as error:
            self._wrong(aggregation, f"{error}.", "Write parameters in parentheses: percentile(0.9), last_n(5).")
            return None
        if not aggregation.column:
            hint = (
                'Write column="*".'
                if AGGREGATES[function].takes_all
                else f"Write column=, one of: {self._taken_by(function)}."
            )
            self._wrong(aggregation, f"{function} of no column.", hint)
            return None
        if aggregation.column == "*" and not AGGREGATES[function].takes_all:
            takers = _or([name for name, kind in AGGREGATES.items() if kind.takes_all])
            hint = f"Name the column: {self._taken_by(function)}."
            self._wrong(
                aggregation, f"{function} of '*': only {takers} {'takes' if takers == 'count' else 'take'} it.", hint
            )
            return None
        column = _column(self.columns, aggregation.column)
        if column is None and aggregation.column != "*":
            names = [known.name for known in self.columns]
            hint = f"{near(aggregation.column, names)}The model's fields are: {', '.join(names)}."
            self._wrong(aggregation, f"the column {aggregation.column!r} is not in the source's model.", hint)
            return None
        if column is not None and column.dtype not in AGGREGATES[function].accepts:
            fitting = [known for known, kind in AGGREGATES.items() if column.dtype in kind.accepts]
            hint = f"Take {_or(fitting)} of it, or {function} of one of: {self._taken_by(function)}."
            kind = "kept as JSON text" if column.dtype is DType.JSON else f"of type {column.dtype.value}"
            self._wrong(aggregation, f"{function} of {column.name!r}, which is {kind}.", hint)
            return None
        return result_dtype(aggregation.function, column)

    def _window(self, aggregation: Aggregation) -> tuple[int | None, int | None]:
        """The window and its slide in µs; both None for a lifetime."""
        window, slide = aggregation.time_window, aggregation.slide_interval
        if window is None:
            if slide is not None:
                what = (
                    f"slide_interval {shown(to_us(slide))} without a time_window: a lifetime has no edge that slides."
                )
                self._wrong(aggregation, what, "Write time_window= too, or leave slide_interval out.")
            return None, None
        window_us = to_us(window)
        if not 0 < window_us < _LONGEST_US:
            what = f"time_window {shown(window_us)} is not a length that a window can have."
            self._wrong(
                aggregation, what, "Write a positive one, such as timedelta(hours=1); leave it out for a lifetime."
            )
            return None, None
        # Feast fills in slide_interval=time_window where none was given.
        tiled = self.hop is not None and slide == window
        slide_us = to_us(self.hop if self.hop is not None and tiled else slide or window)
        self._check_slide(aggregation, window_us, slide_us, "tiling_hop_size" if tiled else "slide_interval")
        return window_us, slide_us

    def _check_slide(self, aggregation: Aggregation, window_us: int, slide_us: int, argument: str) -> None:
        subject = f"{argument} {shown(slide_us)}"
        if slide_us <= 0:
            hint = f"Write a positive one that divides {shown(window_us)}, or leave it out for a tumbling window."
            self._wrong(aggregation, f"{subject} is not a length of time.", hint)
        elif slide_us > window_us:
            hint = f"Write {argument}={as_code(window_us)} (tumbling), or one that divides it."
            self._wrong(aggregation, f"{subject} is longer than time_window {shown(window_us)}.", hint)
        elif window_us % slide_us:
            hint = f"Write {argument}={as_code(nearest_slide(window_us, slide_us))}."
            self._wrong(aggregation, f"{subject} does not divide time_window {shown(window_us)}.", hint)

    def _taken_by(self, function: str) -> str:
        names = [column.name for column in self.columns if column.dtype in AGGREGATES[function].accepts]
        return ", ".join(names) or "(none of the model's fields)"

    def _wrong(self, aggregation: Aggregation, what: str, hint: str) -> None:
        name = feature_name(aggregation)
        self.problems.add(self.place.at(name), f"view {self.view!r}, feature {name!r}: {what}", hint)


def feature_name(aggregation: Aggregation) -> str:
    """The name of an aggregation's feature: as given, else ``function_column_window``.

    ``mean_dep_delay_1h``, ``last_temp`` (a lifetime has no window to name), ``count_7d`` (``*`` is not named).
    """
    if aggregation.name:
        return aggregation.name
    function = canonical_name(aggregation.function) or aggregation.function
    _, _, given = aggregation.function.partition("(")
    params = re.sub(r"[^0-9]+", "_", given.replace("-", " m")).strip("_")
    column = "" if aggregation.column == "*" else aggregation.column
    window = "" if aggregation.time_window is None else shown(to_us(aggregation.time_window))
    return "_".join(part for part in (function, params, column, window) if part)


def result_dtype(function: str, column: Column | None) -> DType | None:
    """The type of a function's values.

    Args:
        function: As a definition names it.
        column: The column aggregated; None for ``*``.

    Returns:
        The type; None where the function is unknown or does not take the column.
    """
    canonical = canonical_name(function)
    if canonical is None:
        return None
    kind = AGGREGATES[canonical]
    fits = kind.takes_all if column is None else column.dtype in kind.accepts
    if not fits:
        return None
    try:
        _, params = parse_function(function)
    except ValueError:
        return None
    return kind(None if column is None else column.dtype, params).result_dtype


def is_usable_name(name: str) -> bool:
    """Whether a view or a feature can have this name: see `NAMING`."""
    return _USABLE.fullmatch(name) is not None


def near(name: str, known: Sequence[str]) -> str:
    """``Did you mean 'x'?`` with a space after it, or nothing."""
    found = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {found[0]!r}? " if found else ""


def _column(columns: tuple[Column, ...], name: str) -> Column | None:
    return next((column for column in columns if column.name == name), None)


def _or(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
