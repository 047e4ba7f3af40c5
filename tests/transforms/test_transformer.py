"""Transforms add columns row by row, and a row that they cannot digest gets nulls without taking others with it."""

from __future__ import annotations

import textwrap
import time
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest

from headrace.errors import HeadraceError, PlanError
from headrace.plan import Column, DType, Feature, Transform, View
from headrace.transforms import Transformer, failure_counts, sql_dtype
from headrace.transforms.row_isolation import Made

EVENTS = pa.table(
    {
        "price": pa.array([10.0, None, 2.5], pa.float64()),
        "items": pa.array([2, 3, None], pa.int64()),
        "note": pa.array(["7", "ten", None], pa.string()),
        "at": pa.array([0, 1, 2], pa.timestamp("us", "UTC")),
    }
)
FUNCTIONS = """
    def doubled(events):
        return {"doubled": [None if items is None else items * 2 for items in events["items"]]}

    def doubled_frame(events):
        events["doubled"] = events["items"] * 2
        return events

    def picky(events):
        return {"doubled": [int(note) * 2 for note in events["note"]]}

    def short(events):
        return {"doubled": [1]}

    def odd_values(events):
        return {"doubled": [1, "two", 3], "sign": ["+", "-", "+"]}

    def odd_frame(events):
        events["doubled"] = [1, "two", 3][: len(events)]
        events["sign"] = "+"
        return events

    def one_of_two(events):
        return {"sign": ["+" for _ in events["note"]]}
"""


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    (tmp_path / "functions.py").write_text(textwrap.dedent(FUNCTIONS))
    return tmp_path


def view_of(*transforms: Transform) -> View:
    feature = Feature(name="n", function="count", column="*", window_us=None, slide_us=None, dtype=DType.INT64)
    key = Column(name="note", dtype=DType.STRING)
    return View(name="v", source="s", entities=(key,), features=(feature,), transforms=transforms)


def sql(dtype: DType = DType.INT64, **expressions: str) -> Transform:
    columns = tuple(Column(name=name, dtype=dtype) for name in expressions)
    return Transform(kind="sql", columns=columns, expressions=expressions)


def function(name: str, kind: str = "python") -> Transform:
    columns = (Column(name="doubled", dtype=DType.INT64),)
    return Transform.model_validate({"kind": kind, "columns": columns, "function": f"functions:{name}"})


def test_sql_computes_columns_and_later_steps_read_them() -> None:
    made = Transformer(view_of(sql(total="items * 2"), sql(DType.BOOL, many="total > 4"))).apply(EVENTS)
    assert made.column("total").to_pylist() == [4, 6, None]
    assert made.column("many").to_pylist() == [False, True, None]
    assert made.column("many").type == pa.bool_()


def test_times_are_utc_wherever_the_worker_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    made = Transformer(view_of(sql(hour='hour("at")'))).apply(EVENTS)
    assert made.column("hour").to_pylist() == [0, 0, 0]


@pytest.mark.parametrize(("name", "kind"), [("doubled", "python"), ("doubled_frame", "pandas")])
def test_a_function_computes_columns_with_nulls_kept(repo: Path, name: str, kind: str) -> None:
    made = Transformer(view_of(function(name, kind)), repo).apply(EVENTS)
    assert made.column("doubled").to_pylist() == [4, 6, None]
    assert made.column("doubled").type == pa.int64()
    assert made.column("items").to_pylist() == [2, 3, None]


@pytest.mark.parametrize("transform", [function("picky"), sql(doubled="CAST(note AS BIGINT) * 2")])
def test_a_row_that_fails_gets_nulls_alone(repo: Path, transform: Transform) -> None:
    # Faust's logging set-up, in another test, disables loggers that were there before it.
    with patch.object(failure_counts.logger, "warning") as warning:
        made = Transformer(view_of(transform), repo).apply(EVENTS)
    assert made.column("doubled").to_pylist() == [14, None, None]
    said = warning.call_args.args[0] % warning.call_args.args[1:]
    assert said.startswith(f"v.doubled: the {'udf' if transform.function else 'expression'} ")
    assert f"failed on {2 if transform.function else 1} of 3 events, which get nulls: " in said
    assert "\n" not in said
    if transform.function:
        assert 'in picky: return {"doubled": [int(note) * 2 for note in events["note"]]}' in said


def test_a_function_that_loses_rows_is_tried_row_by_row(repo: Path) -> None:
    made = Transformer(view_of(function("short")), repo).apply(EVENTS)
    assert made.column("doubled").to_pylist() == [1, 1, 1]


def two_columns(name: str, kind: str = "python") -> Transform:
    columns = (Column(name="doubled", dtype=DType.INT64), Column(name="sign", dtype=DType.STRING))
    return Transform.model_validate({"kind": kind, "columns": columns, "function": f"functions:{name}"})


@pytest.mark.parametrize(("name", "kind"), [("odd_values", "python"), ("odd_frame", "pandas")])
def test_a_value_of_a_wrong_type_is_null_alone(repo: Path, name: str, kind: str) -> None:
    made = Transformer(view_of(two_columns(name, kind)), repo).apply(EVENTS)
    assert made.column("doubled").to_pylist() == [1, None, 3]
    assert made.column("sign").null_count == 0


def test_a_column_that_a_function_leaves_out_is_null_alone(repo: Path) -> None:
    transformer = Transformer(view_of(two_columns("one_of_two")), repo)
    made = transformer.apply(EVENTS)
    assert made.column("doubled").to_pylist() == [None, None, None]
    assert made.column("sign").to_pylist() == ["+", "+", "+"]
    assert [(name, one.failed, one.is_broken) for name, one in transformer.failures.by_column().items()] == [
        ("doubled", 3, True)
    ]


def test_an_expression_sees_what_those_before_it_made(repo: Path) -> None:
    """A column holds what the plan says, whether it is read by an expression of the same transform or by a filter."""
    made = Transformer(
        view_of(
            Transform(
                kind="sql",
                columns=(
                    Column(name="small", dtype=DType.INT64),
                    Column(name="large", dtype=DType.INT64),
                    Column(name="far", dtype=DType.TIMESTAMP),
                    Column(name="far_is_null", dtype=DType.BOOL),
                ),
                expressions={
                    "small": "CAST(items AS TINYINT)",
                    "large": "small * 1000000",  # beyond a TINYINT
                    "far": "to_timestamp(items * 100000000000)",  # beyond the calendar
                    "far_is_null": "far IS NULL",
                },
            )
        )
    ).apply(EVENTS)
    assert made.column("large").to_pylist() == [2_000_000, 3_000_000, None]
    assert made.column("far").to_pylist() == [datetime(8307, 10, 1, 19, 33, 20, tzinfo=UTC), None, None]
    assert made.column("far_is_null").to_pylist() == [False, True, True]


def test_no_events_make_no_values(repo: Path) -> None:
    made = Transformer(view_of(function("doubled"), sql(more="doubled + 1")), repo).apply(EVENTS.slice(0, 0))
    assert (made.num_rows, made.column_names[-2:]) == (0, ["doubled", "more"])


def test_a_function_that_is_gone_or_changed_is_refused(repo: Path) -> None:
    with pytest.raises(PlanError, match="'functions:absent' cannot be loaded"):
        Transformer(view_of(function("absent")), repo)
    changed = function("doubled").model_copy(update={"code": "0" * 16})
    with pytest.raises(PlanError, match="has changed since it was applied"):
        Transformer(view_of(changed), repo)


@pytest.mark.parametrize(
    ("expression", "dtype"),
    [
        ("price > 1", DType.BOOL), ("items + 1", DType.INT64), ("items / 2", DType.FLOAT64), ("1.5", DType.FLOAT64),
        ("upper(note)", DType.STRING), ("date_trunc('day', \"at\")", DType.TIMESTAMP),
        ("CAST(\"at\" AS DATE)", DType.DATE), ("DATE '2026-01-05'", DType.DATE),
    ],
)  # fmt: skip
def test_the_type_of_an_expression_is_what_duckdb_says(expression: str, dtype: DType) -> None:
    columns = [
        Column(name="price", dtype=DType.FLOAT64),
        Column(name="items", dtype=DType.INT64),
        Column(name="note", dtype=DType.STRING),
        Column(name="at", dtype=DType.TIMESTAMP),
    ]
    assert sql_dtype(expression, columns) is dtype
    assert datetime(1970, 1, 1, tzinfo=UTC) == EVENTS.column("at")[0].as_py()


@pytest.mark.parametrize(
    "expression",
    ["nothing > 1", "price >", "[price]", "CURRENT_DATE", "price + random()", '"random"()', "now()", "sum(price)"],
)
def test_an_expression_that_cannot_be_a_column_is_refused(expression: str) -> None:
    with pytest.raises(HeadraceError):
        sql_dtype(expression, [Column(name="price", dtype=DType.FLOAT64)])


@pytest.mark.parametrize(
    ("expression", "what"),
    [
        ("row_number() OVER () > 1", "window function"),
        ("price > lag(price) OVER (ORDER BY price)", "window function"),
        ("price > (SELECT avg(price) FROM events)", "subquery"),
        ("price IN (SELECT 1.0)", "subquery"),
        ("EXISTS (FROM read_text('/etc/hostname'))", "subquery"),
        ("unnest([price])", "unnest"),
        ("epoch(age(to_timestamp(price)))", "today"),
    ],
)
def test_an_expression_over_more_than_its_event_is_refused(expression: str, what: str) -> None:
    """Fetches and the log's scan cut events differently, so the two sides would differ."""
    with pytest.raises(HeadraceError, match=what):
        sql_dtype(expression, [Column(name="price", dtype=DType.FLOAT64)])


@pytest.mark.parametrize(
    "expression", ["list_sum([q * 2 FOR q IN [price]])", "price BETWEEN 1 AND 2", "price IN (1, 2)"]
)
def test_an_expression_over_its_event_alone_is_taken(expression: str) -> None:
    sql_dtype(expression, [Column(name="price", dtype=DType.FLOAT64)])


def test_field_called_like_a_word_of_sql_wants_double_quotes() -> None:
    with pytest.raises(
        HeadraceError, match=r'(?s)whose name is an SQL keyword.*Put the name in double quotes: "end" - "at"'
    ):
        sql_dtype("end - at", [Column(name=name, dtype=DType.INT64) for name in ("at", "end")])


def test_fifty_filters_compile_within_two_seconds_of_cpu() -> None:
    columns = [Column(name="amount", dtype=DType.FLOAT64)]
    sql_dtype("amount > -1", columns)  # DuckDB itself starts once
    before = time.process_time()
    assert {sql_dtype(f"amount > {number}", columns) for number in range(50)} == {DType.BOOL}
    assert time.process_time() - before < 2


def test_a_failing_column_is_warned_of_once_a_minute_with_its_counts() -> None:
    now = [0.0]
    noted = failure_counts.Failures("v", lambda: now[0])
    bad = Made(pa.nulls(2, pa.int64()), np.array([True, False]), ValueError("no\nnumber"))
    with patch.object(failure_counts.logger, "warning") as warning:
        for now[0] in (0.0, 1.0, 59.0, 61.0):
            noted.note("share", "the udf m:f", bad, is_function=True)
    said = [call.args[0] % call.args[1:] for call in warning.call_args_list]
    assert said == [
        "v.share: the udf m:f failed on 1 of 2 events, which get nulls: ValueError: no",
        "v.share: the udf m:f failed on 4 of 8 events, which get nulls: ValueError: no",
    ]
    assert noted.by_column()["share"].failed == 4
