"""The table of docs/aggregates.md says what the aggregates say: names, columns, results, and the value of nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from headrace.aggregates import AGGREGATES, ALIASES, At, parse_function
from headrace.aggregates.base import ANY_COLUMN, DECIMALS, EVERY_COLUMN
from headrace.plan import DType

PAGE = (Path(__file__).parents[2] / "docs" / "aggregates.md").read_text(encoding="utf-8")
TYPES = {
    "int": DType.INT64,
    "float": DType.FLOAT64,
    "bool": DType.BOOL,
    "string": DType.STRING,
    "time": DType.TIMESTAMP,
    "date": DType.DATE,
}


class Row(NamedTuple):
    """A row of the table."""

    function: str
    columns: str
    result: str
    nothing: str
    value: str


ROWS = [Row(*map(str.strip, line.strip("|").split("|"))) for line in PAGE.splitlines() if line.startswith("| `")]
GIVEN = {"k": "3", "p": "0.5", "half_life": "60", "e0": "0", "e1": "10", "…": "20"}


def name_and_parameters(row: Row) -> tuple[str, tuple[int | float, ...], list[str]]:
    """The function's name, its parameters by the page (required ones invented), and the text on optional ones."""
    text = row.function.strip("`")
    name, optional = re.split(r"[\[(]", text)[0], re.findall(r"\w+=(\d+)", text)
    required = re.findall(r"k|p|half_life|e0|e1|…", re.sub(r"\[.*\]", "", text.removeprefix(name)))
    call = f"{name}({', '.join(GIVEN[one] for one in required)})" if required else name
    return (*parse_function(call), optional)


def test_every_function_has_a_row_and_every_row_a_function() -> None:
    assert [name_and_parameters(row)[0] for row in ROWS] == list(AGGREGATES)
    assert f"{len(AGGREGATES)} functions" in PAGE


def test_every_alias_is_named() -> None:
    (others,) = [line for line in PAGE.splitlines() if line.startswith("Other names:")]
    assert set(re.findall(r"`(\w+)`", others)) == {*ALIASES, *ALIASES.values()}


@pytest.mark.parametrize("row", ROWS, ids=[row.function for row in ROWS])
def test_row_says_what_the_function_does(row: Row) -> None:
    name, params, optional = name_and_parameters(row)
    kind = AGGREGATES[name]
    assert [str(one) for one in params[len(params) - len(optional) :]] == optional
    plain = row.columns.replace(", `*`", "")
    of_any = ANY_COLUMN if DType.JSON in kind.accepts else EVERY_COLUMN  # what looks at no value takes JSON too
    groups = {"any": of_any, "decimal": DECIMALS, **{said: {dtype} for said, dtype in TYPES.items()}}
    assert kind.accepts == frozenset().union(*(groups[one.strip()] for one in plain.split(",")))
    assert kind.takes_all == row.columns.endswith("`*`")
    for dtype in kind.accepts:
        aggregate = kind(dtype, params)
        results = {
            "the column's": dtype,
            "list of int": DType.INT64_LIST,
            "list": dtype.list_of if dtype in EVERY_COLUMN else dtype,
            **TYPES,
        }
        said = row.result.removesuffix("; decimal of decimal").split("; ")
        results |= {"int": dtype} if name == "sum" and dtype in DECIMALS else {}
        expected = (
            results[said[1].removesuffix(" of float")] if len(said) > 1 and dtype is DType.FLOAT64 else results[said[0]]
        )
        assert aggregate.result_dtype is expected, dtype
        data, valid = aggregate.value(aggregate.init(1), At(np.array([0]), 60_000_000))
        value = data.tolist()[0] if valid[0] else None
        said_value = row.nothing.strip("`")
        assert {"null": None, "0": 0, "0.0": 0.0, "[]": [], "{}": "{}", "[0, 0, …]": [0] * (len(params) + 1)}[
            said_value
        ] == value
