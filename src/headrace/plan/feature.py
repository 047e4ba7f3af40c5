"""Features, references to them, and the transforms that make further columns for them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from headrace.plan.content_hash import Hashed
from headrace.plan.types import Column, DType

__all__ = ["Feature", "FeatureRef", "Transform"]


class FeatureRef(Hashed):
    """A feature of a view, written ``view:feature`` in requests and ``view__feature`` in results."""

    view: str
    feature: str

    @property
    def column(self) -> str:
        """The name of the feature's column in results."""
        return f"{self.view}__{self.feature}"


class Feature(Hashed):
    """One windowed aggregate of one column.

    Attributes:
        name: The feature's name inside its view.
        function: An aggregate's canonical name, as in ``headrace.aggregates``.
        column: The column aggregated, or ``"*"`` for ``count("*")``.
        window_us: The window's length in microseconds; None is a lifetime.
        slide_us: The slide in microseconds, a divisor of ``window_us``; None exactly where ``window_us`` is None.
        dtype: The type of the feature's values.
        params: The function's parameters: ``(0.9,)`` for ``percentile(0.9)``.
        where: A boolean column, usually derived: only events for which it is true count. None counts all.
        offset_us: How far back the window ends, in microseconds, a multiple of ``slide_us``: ``[t − W − offset, t −
            offset)``.
    """

    name: str
    function: str
    column: str
    window_us: Annotated[int, Field(gt=0)] | None
    slide_us: Annotated[int, Field(gt=0)] | None
    dtype: DType
    params: tuple[int | float, ...] = ()
    where: str | None = None
    offset_us: Annotated[int, Field(ge=0)] = 0

    added_later: ClassVar[frozenset[str]] = frozenset({"params", "where", "offset_us"})

    @property
    def columns(self) -> tuple[str, ...]:
        """The event columns that it reads."""
        read = () if self.column == "*" else (self.column,)
        return read if self.where is None else (*read, self.where)


class Transform(Hashed):
    """Columns computed row by row from an event's other columns, before anything is aggregated.

    Attributes:
        kind: `sql`: expressions that DuckDB runs; `python`: a function of a dict of lists; `pandas`: of a data frame.
        columns: The columns it makes.
        expressions: For `sql`, an expression per column.
        function: For the others, ``module:name`` of the function, the module relative to the feature repo.
        code: For the others, a hash of the function's source: a function that changed makes another view.
    """

    kind: Literal["sql", "python", "pandas"]
    columns: tuple[Column, ...]
    expressions: dict[str, str] = {}
    function: str | None = None
    code: str | None = None
