"""The answer of a store that is not ready: every feature null, every status `not_ready`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from headrace.events.columns import Values
from headrace.lookup.response import Status, ViewAnswer
from headrace.plan import DType
from headrace.windows import NEVER

__all__ = ["blank_answers"]


class _Blank(ViewAnswer):
    """A view that says nothing of any row."""

    def __init__(self, rows: int) -> None:
        super().__init__([NEVER] * rows, (), np.zeros(0, np.int64), (), ())
        self.status = [Status.NOT_READY] * rows


def blank_answers(
    views: Iterable[str], dtypes: Mapping[str, DType], rows: int
) -> tuple[dict[str, Values], dict[str, ViewAnswer]]:
    """Features that are all null, and what their views say.

    Args:
        views: The views.
        dtypes: The features' types by column.
        rows: How many rows were asked for.

    Returns:
        The values by column, and the answers by view.
    """
    nulls = Values(np.full(rows, None, object), np.zeros(rows, np.bool_))
    return dict.fromkeys(dtypes, nulls), {name: _Blank(rows) for name in views}
