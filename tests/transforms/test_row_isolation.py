"""What transforms make as a column of the plan's type: what the type does not hold fails alone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from headrace.plan import Column, DType
from headrace.transforms.row_isolation import Made, array_of, fitted

DUE = Column(name="due", dtype=DType.DATE)
DAY = date(1969, 12, 31)


def failed(made: Made) -> list[bool]:
    found: list[bool] = np.zeros(len(made.array), np.bool_).tolist() if made.failed is None else made.failed.tolist()
    return found


@pytest.mark.parametrize(
    "values",
    [
        [DAY, None],
        ["1969-12-31", None],
        [datetime(1969, 12, 31), None],  # noqa: DTZ001
        [datetime(1969, 12, 31, tzinfo=UTC), None],
        pa.array([datetime(1969, 12, 31, tzinfo=timezone(timedelta(hours=9))), None], pa.timestamp("us", "Asia/Tokyo")),
    ],
)
def test_dates_texts_and_midnights_are_dates(values: Any) -> None:
    made = array_of(values, DUE)
    assert (made.array.type, made.array.to_pylist(), failed(made)) == (pa.date32(), [DAY, None], [False, False])


@pytest.mark.parametrize("wrong", [datetime(2026, 1, 1, 1), datetime(2026, 1, 1, 15, tzinfo=UTC), "1.1.2026", 5, 1.5])  # noqa: DTZ001
def test_what_is_no_date_fails_alone(wrong: Any) -> None:
    in_tokyo = datetime(1969, 12, 31, tzinfo=timezone(timedelta(hours=9)))
    for values in ([DAY, wrong, None], [wrong, DAY, None], [in_tokyo, wrong, None], [str(DAY), wrong, wrong]):
        for made in (array_of(values, DUE), array_of(pd.Series(values, dtype=object), DUE, is_pandas=True)):
            assert made.array.to_pylist() == [None if one is wrong else one and DAY for one in values]
            assert failed(made) == [one is wrong for one in values]


def test_pandas_nulls_beside_dates_are_null() -> None:
    made = array_of(pd.Series([DAY, pd.NaT, pd.NA, None, float("nan")], dtype=object), DUE, is_pandas=True)
    assert (made.array.to_pylist(), any(failed(made))) == ([DAY, None, None, None, None], False)


@pytest.mark.parametrize(
    ("days", "holds"), [(-719_162, True), (-719_163, False), (2_932_896, True), (2_932_897, False)]
)
def test_dates_that_no_calendar_has_fail(days: int, holds: bool) -> None:
    made = fitted(pa.array([0, days, None], pa.int32()).cast(pa.date32()), DUE)
    assert failed(made) == [False, not holds, False]
    assert made.array.is_valid().to_pylist() == [True, holds, False]
