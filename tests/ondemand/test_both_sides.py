"""The same inputs give the same values to the bit: from a lookup and from a training set, in chunks of any size.

The values are compared with a plain loop over rows, which knows nothing of headrace.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.events.event_batch import ARROW_TYPES
from headrace.ondemand import Computation, Inputs
from headrace.plan import DType
from tests.ondemand.examples import on_demand_view, write_files

VIEWS = """
    import pandas as pd


    def _row(whole, real, flag, text, when):
        if text == "fails":
            raise ValueError("this row fails")
        return {
            "next": None if whole is None else whole + 1,
            "half": None if real is None else real / 2,
            "both": None if real is None or flag is None else (real if flag else -real),
            "upper": None if text is None else text.upper(),
            "later": None if when is None else when + pd.Timedelta(seconds=1).to_pytimedelta(),
            "pair": None if whole is None else [whole, whole],
        }


    def rows(inputs):
        names = ("whole", "real", "flag", "text", "when")
        made = [_row(*values) for values in zip(*(inputs[name] for name in names))]
        return {name: [one[name] for one in made] for name in ("next", "half", "both", "upper", "later", "pair")}


    def single(inputs):
        return _row(inputs["whole"], inputs["real"], inputs["flag"], inputs["text"], inputs["when"])


    def frame(inputs):
        if (inputs["text"] == "fails").any():
            raise ValueError("this row fails")
        pair = [None if pd.isna(one) else [one, one] for one in inputs["whole"]]
        return pd.DataFrame({
            "next": inputs["whole"] + 1,
            "half": inputs["real"] / 2,
            "both": inputs["real"].where(inputs["flag"], -inputs["real"]).where(inputs["flag"].notna(), None),
            "upper": inputs["text"].str.upper(),
            "later": inputs["when"] + pd.Timedelta(seconds=1),
            "pair": pd.Series(pair, index=inputs.index, dtype=object),
        })
"""
TYPES = {
    "whole": DType.INT64,
    "real": DType.FLOAT64,
    "flag": DType.BOOL,
    "text": DType.STRING,
    "when": DType.TIMESTAMP,
}
FEATURES = {
    "next": DType.INT64,
    "half": DType.FLOAT64,
    "both": DType.FLOAT64,
    "upper": DType.STRING,
    "later": DType.TIMESTAMP,
    "pair": DType.INT64_LIST,
}
START = datetime(2026, 1, 5, tzinfo=UTC)
VALUES = {
    "whole": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 2), st.integers(2**53 - 2, 2**53 + 2)),
    "real": st.one_of(st.none(), st.floats(), st.sampled_from([math.nan, -0.0, math.inf, -math.inf])),
    "flag": st.one_of(st.none(), st.booleans()),
    "text": st.one_of(st.none(), st.sampled_from(["", "abc", "ä", "fails", "2026-01-05"])),
    "when": st.one_of(st.none(), st.integers(0, 10**12).map(lambda us: START + timedelta(microseconds=us))),
}
ROWS = st.lists(st.tuples(*VALUES.values()), max_size=6)


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("repo"), views=VIEWS)


@cache
def computation(repo: Path, mode: str) -> Computation:
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "python": ("rows", {}),
        "singleton": ("single", {"singleton": True}),
        "pandas": ("frame", {"mode": "pandas"}),
    }
    function, more = kinds[mode]
    view = on_demand_view(repo, f"views:{function}", FEATURES, request=TYPES, on_error="null", **more)
    return Computation.of(view, repo)


def expected(rows: Sequence[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """A plain loop: what each row should have."""
    found = []
    for whole, real, flag, text, when in rows:
        if text == "fails":
            found.append(dict.fromkeys(FEATURES))
            continue
        found.append(
            {
                "next": None if whole is None else whole + 1,
                "half": None if real is None else real / 2,
                "both": None if real is None or flag is None else math.copysign(1.0, 1.0 if flag else -1.0) * real,
                "upper": None if text is None else text.upper(),
                "later": None if when is None else when + timedelta(seconds=1),
                "pair": None if whole is None else [whole, whole],
            }
        )
    return found


def bits(value: Any) -> Any:
    """A value that tells -0.0 from 0.0; NaN is NaN, whatever its payload."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack("d", value)
    return (type(value).__name__, value)


def table_of(arrays: Mapping[str, pa.ChunkedArray]) -> list[dict[str, Any]]:
    columns = {name: array.to_pylist() for name, array in arrays.items()}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


@pytest.mark.parametrize("mode", ["python", "singleton", "pandas"])
@settings(max_examples=25, deadline=None)
@given(rows=ROWS, chunk=st.sampled_from([1, 2, 3, 1000]), arrow_chunk=st.integers(1, 9))
def test_lookup_training_set_and_plain_loop_agree(
    repo: Path, mode: str, rows: list[tuple[Any, ...]], chunk: int, arrow_chunk: int
) -> None:
    lists = {name: [row[place] for row in rows] for place, name in enumerate(TYPES)}
    arrays = {
        name: pa.chunked_array(
            [
                pa.array(values[at : at + arrow_chunk], ARROW_TYPES[TYPES[name]])
                for at in range(0, len(rows), arrow_chunk)
            ],
            ARROW_TYPES[TYPES[name]],
        )
        for name, values in lists.items()
    }
    whole = computation(repo, mode)
    online = whole.run(Inputs(TYPES, len(rows), lists=lists))
    in_chunks = Computation(whole.view, whole.function, chunk_rows=chunk)
    offline = in_chunks.run(Inputs(TYPES, len(rows), arrays=arrays))
    each = [
        whole.run(Inputs(TYPES, 1, lists={name: [value] for name, value in zip(TYPES, row, strict=True)}))
        for row in rows
    ]
    wanted = [{name: bits(value) for name, value in row.items()} for row in expected(rows)]
    for found in (online.arrays, offline.arrays):
        assert [{name: bits(value) for name, value in row.items()} for row in table_of(found)] == wanted
    assert [bits(one.arrays["next"][0].as_py()) for one in each] == [row["next"] for row in wanted]
    failing = {number for number, row in enumerate(rows) if row[3] == "fails"}
    assert dict(online.problems) == dict(offline.problems)
    assert online.problems.keys() == failing
    assert all(reason.endswith("failed: ValueError: this row fails") for reason in online.problems.values())
