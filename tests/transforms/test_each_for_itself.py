"""The value of an expression or a udf depends only on itself and its event, whatever else fails in the batch."""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.plan import Column, DType, Feature, Transform, View
from headrace.testing import Testbed
from headrace.transforms import Transformer, sql_dtype
from tests.declare.conftest import write_repo

SOURCE = {
    "n": (DType.INT64, pa.int64(), st.sampled_from([None, -(2**63), -1, 0, 1, 7, 2**31, 2**62, 2**63 - 1])),
    "x": (DType.FLOAT64, pa.float64(), st.sampled_from([None, 0.0, -1.5, 1e308, float("inf"), float("nan")])),
    "code": (
        DType.STRING,
        pa.string(),
        st.sampled_from([None, "", "abc", "700", "-1", "2026-01-05", "1e400", "(", "é"]),
    ),
}
FIELDS = [Column(name=name, dtype=dtype) for name, (dtype, _, _) in SOURCE.items()]
EXPRESSIONS = [
    "CAST(code AS INT) > 100",
    "CAST(code AS BIGINT)",
    "CAST(code AS DOUBLE)",
    "strptime(code, '%Y-%m-%d') < TIMESTAMP '2027-01-01'",
    "n + 1",
    "n * n",
    "10 // n",
    "n % 0",
    "CAST(x AS BIGINT)",
    "sqrt(x)",
    "ln(n)",
    "to_timestamp(n)",
    "chr(CAST(n AS INT))",
    "regexp_matches('abc', code)",
    "substr(code, 2)",
    "n > 0",
    "CASE WHEN n <> 0 THEN 10 // n END",
    "code IS NULL",
    "CAST(n AS UBIGINT)",
    "CAST(n AS DECIMAL(18, 2))",
    "CAST(n AS HUGEINT) * 4",
    "hour(TIMESTAMPTZ '2026-01-05 12:00:00+00' AT TIME ZONE code)",
    "'abc' LIKE 'a%' ESCAPE code",
]

rows = st.lists(
    st.fixed_dictionaries({name: values for name, (_, _, values) in SOURCE.items()}), min_size=1, max_size=5
)


def table_of(events: list[dict[str, Any]]) -> pa.Table:
    return pa.table({name: pa.array([event[name] for event in events], kind) for name, (_, kind, _) in SOURCE.items()})


def transformer_of(expressions: dict[str, str]) -> Transformer:
    known = list(FIELDS)
    made = []
    for name, text in expressions.items():
        made.append(Column(name=name, dtype=sql_dtype(text, known)))
        known.append(made[-1])
    transform = Transform(kind="sql", columns=tuple(made), expressions=expressions)
    feature = Feature(name="n", function="count", column="*", window_us=None, slide_us=None, dtype=DType.INT64)
    return Transformer(View(name="v", source="s", entities=(FIELDS[2],), features=(feature,), transforms=(transform,)))


def shown(column: pa.ChunkedArray) -> list[str]:
    return [repr(value) for value in column.to_pylist()]  # NaN is NaN


def test_a_time_zone_that_there_is_not_fails_on_its_event_alone() -> None:
    """DuckDB's TRY does not catch it, nor what an ESCAPE of two characters raises."""
    made = transformer_of(
        {
            "hour": "hour(TIMESTAMPTZ '2026-01-05 12:00:00+00' AT TIME ZONE code)",
            "like": "'abc' LIKE 'a%' ESCAPE code",
            "plain": "n + 1",
        }
    ).apply(
        table_of(
            [{"n": n, "x": None, "code": code} for n, code in [(1, "Asia/Tokyo"), (2, "abc"), (3, "UTC"), (4, None)]]
        )
    )
    assert made["hour"].to_pylist() == [21, None, 12, None]
    assert made["like"].to_pylist() == [None] * 4
    assert made["plain"].to_pylist() == [2, 3, 4, 5]


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(events=rows, chosen=st.lists(st.sampled_from(EXPRESSIONS), min_size=1, max_size=4, unique=True))
def test_an_expression_alone_is_that_expression_beside_others(events: list[dict[str, Any]], chosen: list[str]) -> None:
    named = {f"c{number}": text for number, text in enumerate(chosen)}
    together = transformer_of(named).apply(table_of(events))
    for name, text in named.items():
        alone = transformer_of({name: text})
        by_event = [alone.apply(table_of([event])).column(name) for event in events]
        assert shown(together.column(name)) == [shown(one)[0] for one in by_event]


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    events=rows,
    base=st.sampled_from(["n + 1", "n * n", "to_timestamp(n)", "CAST(code AS BIGINT)", "CAST(n AS UBIGINT)"]),
)
def test_an_expression_of_one_that_fails_is_null_there_alone(events: list[dict[str, Any]], base: str) -> None:
    """The second reads the first: the same whether a fetch holds an event that fails or not."""
    named = {"a": base, "b": "a IS NULL", "c": "10 // n", "d": "n > 0"}
    together = transformer_of(named).apply(table_of(events))
    assert together.column("b").to_pylist() == [value is None for value in together.column("a").to_pylist()]
    alone = transformer_of({"d": "n > 0"}).apply(table_of(events))
    assert together.column("d").to_pylist() == alone.column("d").to_pylist()


EVENTS = """
    from pydantic import AwareDatetime, BaseModel


    class Order(BaseModel):
        customer: str
        placed_at: AwareDatetime
        price: float
        items: int
        channel: str | None
"""
VIEWS = """
    from datetime import timedelta
    from feast import Entity, ValueType
    from headrace import aggregation, event_source, stream_view
    from events import Order

    customer = Entity(name="customer", value_type=ValueType.STRING)
    orders = event_source(name="orders", model=Order, topic="orders", key="customer", timestamp_field="placed_at")


    def ratios(events):
        return {
            "per_item": [price / (items - 2) for price, items in zip(events["price"], events["items"])],
            "code": [int(channel) for channel in events["channel"]],
        }


    whole = dict(
        udf=ratios,
        mode="python",
        udf_columns={"per_item": float, "code": int},
        derived={"when": "to_timestamp(items * 1000000000)", "share": "100 // (items - 1)"},
    )
    FEATURES = {
        "paid": aggregation("count", where="price > 10", name="paid"),
        "coded": aggregation("count", where="CAST(channel AS INT) > 100", name="coded"),
        "dear": aggregation("sum", "share", name="dear"),
        "each": aggregation("max", "per_item", name="each"),
        "code": aggregation("last", "code", name="code"),
        "when": aggregation("last", "when", name="when"),
        "all": aggregation("count", name="all"),
    }

    every = stream_view(name="every", source=orders, entities=[customer], aggregations=list(FEATURES.values()), **whole)
    for name, one in FEATURES.items():
        extras = {} if name == "paid" else whole
        globals()[f"only_{name}"] = stream_view(
            name=f"only_{name}", source=orders, entities=[customer], aggregations=[one], **extras
        )
"""  # noqa: E501
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repo(
        tmp_path_factory.mktemp("repo"), {"events.py": textwrap.dedent(EVENTS), "views.py": textwrap.dedent(VIEWS)}
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_feature_alone_is_that_feature_beside_others_online_and_in_history(repo: Path, seed: int) -> None:
    orders: list[dict[str, Any]] = [
        {
            "customer": "ab"[number % 2],
            "placed_at": NOON + timedelta(minutes=number),
            "price": [5.0, 20.0, 40.0][(number + seed) % 3],
            "items": [1, 2, 3, 9, 500][(number * (seed + 1)) % 5],
            "channel": ["web", "700", None, "7"][(number + seed) % 4],
        }
        for number in range(17)
    ]
    with Testbed(repo, allow_failures=True) as bed:
        for start in range(0, len(orders), 5):
            bed.send("orders", orders[start : start + 5])
        at = NOON + timedelta(hours=1)
        names = [feature.name for feature in bed.plan.views["every"].features]
        asked = ["every:*", *(f"only_{name}:*" for name in names)]
        spine = [{"customer": customer, "event_timestamp": at} for customer in "ab"]
        [online, history] = [
            bed.online(asked, [{"customer": one["customer"]} for one in spine], at=at).to_pylist(),
            bed.history(asked, spine).to_pylist(),
        ]
        for served, trained, customer in zip(online, history, "ab", strict=True):
            for name in names:
                found = {
                    served[f"every__{name}"],
                    served[f"only_{name}__{name}"],
                    trained[f"every__{name}"],
                    trained[f"only_{name}__{name}"],
                }
                assert len(found) == 1, (customer, name, found)
            mine = [order for order in orders if order["customer"] == customer]
            assert served["every__all"] == len(mine)
            assert served["every__paid"] == sum(order["price"] > 10 for order in mine)
            assert served["every__coded"] == sum(order["channel"] == "700" for order in mine)
            assert served["every__dear"] == sum(100 // (order["items"] - 1) for order in mine if order["items"] != 1)
            codes = [
                int(order["channel"]) for order in mine if order["items"] != 2 and order["channel"] in ("700", "7")
            ]
            assert served["every__code"] == (codes[-1] if codes else None)
