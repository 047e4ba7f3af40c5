"""The types that can be added up, and their values as doubles."""

from __future__ import annotations

from headrace.events.columns import Values
from headrace.plan import DType

__all__ = ["NUMBERS", "as_floats"]

NUMBERS = frozenset({DType.INT64, DType.FLOAT64, DType.BOOL})
"""The types that can be added up."""


def as_floats(values: Values) -> Values:
    """Values as doubles, 0 where they are null."""
    data = values.data.astype("float64")
    data[~values.valid] = 0.0
    return Values(data, values.valid)
