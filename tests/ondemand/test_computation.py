"""What a function is given and returns: each mode, each type, and everything that it may get wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from headrace.errors import OnDemandError, PlanError
from headrace.ondemand import Computation, Inputs
from headrace.ondemand.inputs import python_values
from headrace.plan import DType
from tests.ondemand.examples import on_demand_view, write_files

BIG = 2**53 + 1
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def computation(
    repo: Path,
    body: str,
    features: Mapping[str, DType] | None = None,
    request: Mapping[str, DType] | None = None,
    **more: Any,
) -> Computation:
    """The computation of a function `f(inputs)` with this body, over request fields."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    write_files(repo, views=f"import pandas as pd\nimport numpy as np\nimport datetime\n\ndef f(inputs):\n{lines}\n")
    view = on_demand_view(
        repo, "views:f", features or {"y": DType.FLOAT64}, request=request or {"x": DType.FLOAT64}, **more
    )
    return Computation.of(view, repo)


def run(made: Computation, **lists: Sequence[Any]) -> dict[str, list[Any]]:
    rows = len(next(iter(lists.values())))
    found = made.run(Inputs(made.dtypes, rows, lists=lists))
    return {name: python_values(array, made.view.feature(name).dtype) for name, array in found.arrays.items()}


def test_modes_compute_the_same(tmp_path: Path) -> None:
    python = computation(tmp_path / "a", 'return {"y": [x * 2 for x in inputs["x"]]}')
    single = computation(tmp_path / "b", 'return {"y": inputs["x"] * 2}', singleton=True)
    pandas = computation(tmp_path / "c", 'return pd.DataFrame({"y": inputs["x"] * 2})', mode="pandas")
    for one in (python, single, pandas):
        assert run(one, x=[1.5, -0.0, 1e300]) == {"y": [3.0, -0.0, 2e300]}
        assert run(one, x=[]) == {"y": []}


def test_inputs_have_short_and_full_names_unless_two_views_share_one(tmp_path: Path) -> None:
    write_files(tmp_path, views='def f(inputs):\n    return {"y": [",".join(sorted(inputs))] * len(inputs["a__n"])}\n')
    inputs = {"a:n": DType.INT64, "b:n": DType.INT64, "b:m": DType.INT64}
    view = on_demand_view(tmp_path, "views:f", {"y": DType.STRING}, inputs=inputs, request={"k": DType.INT64})
    found = run(Computation.of(view, tmp_path), a__n=[1], b__n=[2], b__m=[3], k=[4])
    assert found == {"y": ["a__n,b__m,b__n,k,m"]}


@pytest.mark.parametrize("mode", ["python", "singleton", "pandas"])
@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (DType.INT64, [BIG, -BIG, 2**63 - 1, -(2**63), None, 0]),
        (DType.FLOAT64, [0.1, -0.0, float("inf"), 5e-324, None]),
        (DType.BOOL, [True, False, None]),
        (DType.STRING, ["", "ä", "x" * 1000, None]),
        (DType.TIMESTAMP, [NOON, NOON + timedelta(microseconds=1), datetime(1, 1, 1, tzinfo=UTC), None]),
        (DType.DATE, [date(2026, 1, 5), date(1, 1, 1), None]),
        (DType.INT64_LIST, [[BIG, 1], [], None]),
        (DType.FLOAT64_LIST, [[0.1], [], None]),
        (DType.STRING_LIST, [["a", "b"], [], None]),
        (DType.TIMESTAMP_LIST, [[NOON], None]),
    ],
)
def test_every_type_goes_in_and_out_unchanged(tmp_path: Path, mode: str, dtype: DType, values: list[Any]) -> None:
    body = {
        "python": 'return {"y": inputs["x"]}',
        "singleton": 'return {"y": inputs["x"]}',
        "pandas": 'return pd.DataFrame({"y": inputs["x"]})',
    }[mode]
    more: dict[str, Any] = {"mode": "pandas"} if mode == "pandas" else {"singleton": mode == "singleton"}
    made = computation(tmp_path, body, {"y": dtype}, {"x": dtype}, **more)
    assert repr(run(made, x=values)["y"]) == repr(values)


def test_decimals_go_in(tmp_path: Path) -> None:
    made = computation(
        tmp_path, 'return {"y": [str(x) for x in inputs["x"]]}', {"y": DType.STRING}, {"x": DType.DECIMAL_2}
    )
    assert run(made, x=[Decimal("1.50"), Decimal("-0.05")]) == {"y": ["1.50", "-0.05"]}


def test_nan_is_no_null_in_python_mode(tmp_path: Path) -> None:
    made = computation(tmp_path, 'return {"y": [None if x is None else x for x in inputs["x"]]}')
    assert repr(run(made, x=[float("nan"), None])["y"]) == "[nan, None]"


def test_pandas_frames_keep_integers_and_nulls_apart(tmp_path: Path) -> None:
    body = 'return pd.DataFrame({"y": inputs["x"] + 1, "kind": [str(inputs["x"].dtype)] * len(inputs)})'
    features = {"y": DType.INT64, "kind": DType.STRING}
    made = computation(tmp_path, body, features, {"x": DType.INT64}, mode="pandas")
    assert run(made, x=[BIG, None]) == {"y": [BIG + 1, None], "kind": ["int64[pyarrow]"] * 2}


def test_integers_that_pandas_made_floats_are_refused(tmp_path: Path) -> None:
    made = computation(
        tmp_path,
        'return pd.DataFrame({"y": inputs["x"].astype("float64")})',
        {"y": DType.INT64},
        {"x": DType.INT64},
        mode="pandas",
    )
    with pytest.raises(OnDemandError, match="returned 'y' as float64, and it is declared int64"):
        run(made, x=[BIG])


def test_nan_of_a_numpy_column_is_null_and_of_an_arrow_column_nan(tmp_path: Path) -> None:
    body = 'return pd.DataFrame({"y": np.array([np.nan, 1.0]), "z": inputs["x"] - inputs["x"]})'
    made = computation(tmp_path, body, {"y": DType.FLOAT64, "z": DType.FLOAT64}, mode="pandas")
    found = run(made, x=[float("inf"), 1.0])
    assert repr(found) == "{'y': [None, 1.0], 'z': [nan, 0.0]}"


@pytest.mark.parametrize(
    ("returned", "dtype", "expected"),
    [
        ("[1, 2.5]", DType.FLOAT64, [1.0, 2.5]),
        ("(1.0, None)", DType.FLOAT64, [1.0, None]),
        ("np.array([1.0, 2.0])", DType.FLOAT64, [1.0, 2.0]),
        ("[np.float64(1.5), np.int64(2)]", DType.FLOAT64, [1.5, 2.0]),
        ("[np.int64(7), np.int32(8)]", DType.INT64, [7, 8]),
        ("[np.bool_(True), False]", DType.BOOL, [True, False]),
        ("pd.Series(['a', 'b'])", DType.STRING, ["a", "b"]),
        ("[np.array([1, 2]), (3,)]", DType.INT64_LIST, [[1, 2], [3]]),
        (
            "[datetime.datetime(2026, 1, 5, 13, tzinfo=datetime.timezone(datetime.timedelta(hours=1))), None]",
            DType.TIMESTAMP,
            [NOON, None],
        ),
    ],
)
def test_values_that_mean_the_same_are_taken(tmp_path: Path, returned: str, dtype: DType, expected: list[Any]) -> None:
    made = computation(tmp_path, f'return {{"y": {returned}}}', {"y": dtype})
    assert run(made, x=[1.0, 2.0]) == {"y": expected}
    assert made.run(Inputs(made.dtypes, 2, lists={"x": [1.0, 2.0]})).problems == {}


WRONG = [
    ("return [1.0]", "returned a list, and not a dict"),
    ("return None", "returned a NoneType, and not a dict"),
    ('return {"z": [1.0]}', "returned no 'y' (it returned 'z')"),
    ("return {}", "returned no 'y' (it returned nothing)"),
    ('return {"y": 1.0}', "returned 'y' as 1.0 (float), and not as a list with a value per row"),
    ('return {"y": "a"}', "returned 'y' as 'a' (str), and not as a list with a value per row"),
    ('return {"y": [1.0, 2.0]}', "returned 2 values of 'y' for 1 rows"),
    ('return {"y": ["1.0"]}', "returned 'y' as '1.0' (str), and it is declared float64"),
    ('return {"y": [True]}', "returned 'y' as True (bool), and it is declared float64"),
    ('return {"y": [2**53 + 1]}', "returned 'y' as 9007199254740993 (int), and it is declared float64"),
    ('return {"y": [[1.0]]}', "returned 'y' as [1.0] (list), and it is declared float64"),
    ('return {"y": [1 / 0]}', "failed: ZeroDivisionError: division by zero (views.py:6)"),
    ('return {"y": [undefined]}', "failed: NameError: name 'undefined' is not defined (views.py:6)"),
]


@pytest.mark.parametrize(("body", "said"), WRONG, ids=[said for _, said in WRONG])
def test_what_a_python_function_gets_wrong_is_named_with_view_and_row(tmp_path: Path, body: str, said: str) -> None:
    with pytest.raises(OnDemandError) as caught:
        run(computation(tmp_path, body), x=[1.0])
    assert f"The on-demand view 'computed' cannot be computed for row 0: views:f {said}" in str(caught.value)
    assert "tags={'headrace.on_error': 'null'}" in str(caught.value)


TYPES = [
    (DType.INT64, "1.0", "1.0 (float), and it is declared int64"),
    (DType.INT64, "True", "True (bool), and it is declared int64"),
    (DType.INT64, "2**63", "a value of 'y' that int64 cannot hold"),
    (DType.BOOL, "1", "1 (int), and it is declared bool"),
    (DType.STRING, "1", "1 (int), and it is declared string"),
    (DType.STRING, "b'x'", "b'x' (bytes), and it is declared string"),
    (DType.TIMESTAMP, "datetime.datetime(2026, 1, 5)", "2026-01-05T00:00:00, a time without a zone"),
    (DType.TIMESTAMP, "5", "5 (int), and it is declared timestamp"),
    (DType.DATE, "datetime.datetime(2026, 1, 5)", "and it is declared date"),
    (DType.INT64_LIST, "[1.5]", "1.5 (float), and it is declared int64_list (int64 inside)"),
    (DType.INT64_LIST, "5", "5 (int), and it is declared int64_list"),
]


@pytest.mark.parametrize(("dtype", "value", "said"), TYPES, ids=[said for _, _, said in TYPES])
def test_value_of_a_wrong_type_is_named(tmp_path: Path, dtype: DType, value: str, said: str) -> None:
    with pytest.raises(OnDemandError) as caught:
        run(computation(tmp_path, f'return {{"y": [{value}]}}', {"y": dtype}), x=[1.0])
    assert said in str(caught.value)


FRAMES = [
    ("return {'y': [1.0, 2.0]}", "returned a dict, and not a DataFrame"),
    ("return inputs['x']", "returned a Series, and not a DataFrame"),
    ("return pd.DataFrame({'z': inputs['x']})", "returned no column 'y', or more than one (it returned 'z')"),
    (
        "return pd.DataFrame({'y': inputs['x']}).head(1) if len(inputs) > 1 else pd.DataFrame({'y': [1.0, 2.0]})",
        "returned 2 rows for 1",
    ),
    ("return pd.DataFrame({'y': inputs['x']}, index=[5] * len(inputs))", "in another order, or with another index"),
    ("return pd.DataFrame({'y': ['a'] * len(inputs)})", "returned 'y' as 'a' (str), and it is declared float64"),
    ("return pd.DataFrame({'y': inputs['x'].astype('string[pyarrow]')})", "and it is declared float64"),
    ("return pd.DataFrame({'y': inputs['nope']})", "failed: KeyError: 'nope'"),
]


@pytest.mark.parametrize(("body", "said"), FRAMES, ids=[said for _, said in FRAMES])
def test_what_a_pandas_function_gets_wrong_is_named(tmp_path: Path, body: str, said: str) -> None:
    with pytest.raises(OnDemandError) as caught:
        run(computation(tmp_path, body, mode="pandas"), x=[1.0, 2.0])
    assert said in str(caught.value)


def test_sorted_frame_is_refused(tmp_path: Path) -> None:
    made = computation(
        tmp_path, "return pd.DataFrame({'y': inputs['x']}).sort_values('y')", mode="pandas", on_error="null"
    )
    found = made.run(Inputs(made.dtypes, 2, lists={"x": [2.0, 1.0]}))
    assert found.arrays["y"].to_pylist() == [2.0, 1.0]  # row by row it is in order; the trial of `apply` refuses it


@pytest.mark.parametrize("mode", ["python", "singleton", "pandas"])
def test_rows_that_fail_are_null_with_the_reason_where_the_view_says_so(tmp_path: Path, mode: str) -> None:
    body = {
        "python": 'return {"y": [1 / x for x in inputs["x"]], "z": [str(x) for x in inputs["x"]]}',
        "singleton": 'return {"y": 1 / inputs["x"], "z": str(inputs["x"])}',
        "pandas": 'return pd.DataFrame({"y": [1 / x for x in inputs["x"]], "z": [str(x) for x in inputs["x"]]})',
    }[mode]
    more: dict[str, Any] = {"mode": "pandas"} if mode == "pandas" else {"singleton": mode == "singleton"}
    made = computation(tmp_path, body, {"y": DType.FLOAT64, "z": DType.STRING}, on_error="null", **more)
    found = made.run(Inputs(made.dtypes, 40, lists={"x": [float(row % 4) for row in range(40)]}))
    expected = [None if row % 4 == 0 else 1 / (row % 4) for row in range(40)]
    assert found.arrays["y"].to_pylist() == expected
    assert found.arrays["z"].to_pylist() == [
        None if one is None else str(float(row % 4)) for row, one in enumerate(expected)
    ]
    reason = "views:f failed: ZeroDivisionError: float division by zero"
    assert found.problems == dict.fromkeys(range(0, 40, 4), reason)


def test_error_names_the_row_and_what_is_null_in_it(tmp_path: Path) -> None:
    made = computation(tmp_path, 'return {"y": [x + 1 for x in inputs["x"]]}')
    with pytest.raises(OnDemandError) as caught:
        run(made, x=[1.0] * 70 + [None])
    assert "cannot be computed for row 70: views:f failed: TypeError" in str(caught.value)
    assert "In that row x is null." in str(caught.value)


def test_function_that_changes_its_inputs_changes_nothing_else(tmp_path: Path) -> None:
    body = 'inputs["x"][0].append(9.0)\ninputs["x"].clear()\ninputs["x"].append([1.0])\nreturn {"y": inputs["x"]}'
    made = computation(tmp_path, body, {"y": DType.FLOAT64_LIST}, {"x": DType.FLOAT64_LIST})
    given = [[5.0]]
    assert run(made, x=given) == {"y": [[1.0]]}
    assert given == [[5.0]]


def test_changed_function_is_refused(tmp_path: Path) -> None:
    made = computation(tmp_path, 'return {"y": inputs["x"]}')
    text = (tmp_path / "views.py").read_text()
    (tmp_path / "views.py").write_text(text.replace('inputs["x"]', 'inputs["x"] * 1'))
    with pytest.raises(
        PlanError, match="'views:f' of the on-demand view 'computed'.* has changed since it was applied"
    ):
        Computation.of(made.view, tmp_path)


def test_times_from_arrow_are_given_in_utc(tmp_path: Path) -> None:
    made = computation(
        tmp_path, 'return {"y": [x.isoformat() for x in inputs["x"]]}', {"y": DType.STRING}, {"x": DType.TIMESTAMP}
    )
    arrays = {"x": pa.array([NOON], pa.timestamp("us", "UTC"))}
    assert made.run(Inputs(made.dtypes, 1, arrays=arrays)).arrays["y"].to_pylist() == [NOON.isoformat()]
