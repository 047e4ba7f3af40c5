"""Filters, offsets, derived columns and transforms: declared in a view, kept in its tags, compiled into the plan."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headrace.plan import DType, Plan

Compile = Callable[..., Plan]
Refuse = Callable[..., str]

IMPORTS = """
    from headrace.declare import aggregation
    from transforms import add_tax, add_tax_frame
"""

TRANSFORMS = """
    def add_tax(events):
        return {"taxed": [None if price is None else price * 1.2 for price in events["price"]]}

    def add_tax_frame(events):
        events["taxed"] = events["price"] * 1.2
        return events
"""


def view_with(arguments: str) -> str:
    return f"""{IMPORTS}
    v = stream_view(name="spending", source=orders, entities=[customer], {arguments})
    """


def test_a_filter_becomes_a_column_of_booleans_that_features_of_one_filter_share(compiled: Compile) -> None:
    plan = compiled(
        view_with(
            """aggregations=[
                aggregation("sum", "price", window=timedelta(hours=1), where="items > 2 AND paid", name="big"),
                aggregation("count", window=timedelta(hours=1), where="items > 2 AND paid", name="many"),
                aggregation("count", window=timedelta(hours=1), where="paid", name="paid"),
                aggregation("count", window=timedelta(hours=1), name="every"),
            ]"""
        ),
        transforms__py=TRANSFORMS,
    )
    big, many, paid, every = plan.views["spending"].features
    (transform,) = plan.views["spending"].transforms
    assert transform.kind == "sql"
    assert big.where is not None
    assert transform.expressions == {big.where: "items > 2 AND paid"}
    assert (many.where, paid.where, every.where) == (big.where, "paid", None)


def test_an_offset_and_parameters_reach_the_plan(compiled: Compile) -> None:
    plan = compiled(
        view_with(
            """aggregations=[
                aggregation("count", window=timedelta(days=7), slide=timedelta(days=1), offset=timedelta(days=1)),
            ]"""
        ),
        transforms__py=TRANSFORMS,
    )
    (feature,) = plan.views["spending"].features
    assert (feature.offset_us, feature.window_us) == (86_400_000_000, 7 * 86_400_000_000)


@pytest.mark.parametrize(
    ("function", "mode", "kind"), [("add_tax", "python", "python"), ("add_tax_frame", "pandas", "pandas")]
)
def test_a_udf_makes_columns_that_sql_and_aggregates_may_read(
    compiled: Compile, function: str, mode: str, kind: str
) -> None:
    plan = compiled(
        view_with(
            f"""udf={function}, mode="{mode}", udf_columns={{"taxed": float}}, derived={{"each": "taxed / items"}},
            aggregations=[Aggregation(function="mean", column="each", time_window=timedelta(hours=1))]"""
        ),
        transforms__py=TRANSFORMS,
    )
    udf, sql = plan.views["spending"].transforms
    assert (udf.kind, udf.function, [column.dtype for column in udf.columns]) == (
        kind,
        f"transforms:{function}",
        [DType.FLOAT64],
    )
    assert (sql.kind, sql.expressions, [column.dtype for column in sql.columns]) == (
        "sql",
        {"each": "taxed / items"},
        [DType.FLOAT64],
    )


def test_a_function_that_changed_makes_another_version_of_the_view(compiled: Compile) -> None:
    body = view_with("""udf=add_tax, udf_columns={"taxed": float},
        aggregations=[Aggregation(function="sum", column="taxed", time_window=timedelta(hours=1))]""")
    before = compiled(body, transforms__py=TRANSFORMS).views["spending"]
    after = compiled(body, transforms__py=TRANSFORMS.replace("1.2", "1.25")).views["spending"]
    assert before.hash != after.hash


@pytest.mark.parametrize(
    ("arguments", "what", "hint"),
    [
        ('aggregations=[aggregation("count", window=timedelta(hours=1), where="amount > 2", name="n")]',
         "the expression 'amount > 2'", "Fields are: customer, shop"),
        ('aggregations=[aggregation("count", window=timedelta(hours=1), where="price", name="n")]',
         "the filter of 'n' is no condition", "Write a comparison"),
        ('aggregations=[aggregation("count", window=timedelta(hours=1), where="price + 1", name="n")]',
         "the filter of 'n' is no condition", "Write a comparison"),
        ('aggregations=[aggregation("count", window=timedelta(hours=2), offset=timedelta(hours=1), name="n")]',
         "the offset 1h of 'n' is no multiple of its slide 2h", "Write a multiple of 2h"),
        ('aggregations=[aggregation("count", offset=timedelta(hours=1), name="n")]',
         "'n' has an offset and no window", "Write a window="),
        ('derived={"price": "items * 2"}, aggregations=[aggregation("count", name="n")]',
         "it makes a column 'price', and there is one with that name", "another name"),
        ('derived={"many": "[items]"}, aggregations=[aggregation("count", name="n")]',
         "which no column can have", "CAST it to BIGINT"),
        ('udf=add_tax, aggregations=[aggregation("count", name="n")]',
         "it does not say which columns its udf adds", "udf_columns="),
        ('udf=add_tax, udf_columns={"taxed": bytes}, aggregations=[aggregation("count", name="n")]',
         "is of type 'bytes'", "Types are int, float"),
        ('tags={"headrace.wher": "{}"}, aggregations=[aggregation("count", name="n")]',
         "there is no tag 'headrace.wher'", "headrace.where"),
        ('tags={"headrace.where": "[]"}, aggregations=[aggregation("count", name="n")]',
         "the tag headrace.where is '[]'", "Write a JSON object"),
        ("""tags={"headrace.where": '{"m": "paid"}'}, aggregations=[aggregation("count", name="n")]""",
         "a filter for 'm', which is none of its features", "Features: n"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_with_a_cure(refused: Refuse, arguments: str, what: str, hint: str) -> None:
    message = refused(view_with(arguments), transforms__py=TRANSFORMS)
    assert what in message
    assert hint in message
