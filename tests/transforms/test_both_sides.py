"""A view with a udf, SQL columns, filters and offsets means the same online, in the log and by a loop written here."""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from headrace.testing import Testbed
from tests.declare.conftest import write_repo

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
VIEWS = """
    from datetime import timedelta
    from feast import Entity, ValueType
    from headrace import aggregation, event_source, stream_view
    from events import Order

    customer = Entity(name="customer", value_type=ValueType.STRING)
    orders = event_source(name="orders", model=Order, topic="orders", key="customer", timestamp_field="placed_at")

    {udf}

    spending = stream_view(
        name="spending",
        source=orders,
        entities=[customer],
        udf=with_tax,
        mode="{mode}",
        udf_columns={{"taxed": float}},
        derived={{"each": "taxed / items", "weekday": "dayname(placed_at)"}},
        aggregations=[
            aggregation("sum", "taxed", window=timedelta(hours=1), slide=timedelta(minutes=5), name="taxed_1h"),
            aggregation("max", "each", window=timedelta(hours=1), slide=timedelta(minutes=5), where="paid", name="dearest_paid"),
            aggregation("count", window=timedelta(hours=1), slide=timedelta(minutes=5), where="each > 30 AND channel = 'web'",
                        offset=timedelta(minutes=30), name="dear_web_before"),
            aggregation("last", "weekday", name="weekday"),
        ],
    )
"""  # noqa: E501
UDFS = {
    "python": """def with_tax(events):
        return {"taxed": [None if price is None or price > 90 else price * 1.5 for price in events["price"]]}
""",
    "pandas": """def with_tax(events):
        events["taxed"] = (events["price"] * 1.5).where(events["price"] <= 90)
        return events
""",
}


@pytest.mark.parametrize("mode", ["python", "pandas"])
def test_online_and_history_are_what_a_loop_finds(tmp_path: Path, mode: str) -> None:
    udf = textwrap.indent(UDFS[mode], "    ").replace("\n    \n", "\n")
    repo = write_repo(tmp_path, {"views.py": textwrap.dedent(VIEWS.format(udf=udf.strip(), mode=mode))})
    random = Random(7)
    orders: list[dict[str, Any]] = [
        {
            "customer": random.choice("ab"),
            "shop": 1,
            "placed_at": NOON + timedelta(minutes=random.randrange(120)),
            "shipped_at": None,
            "price": random.choice([10.0, 40.0, 80.0, 95.0]),
            "items": random.randrange(1, 4),
            "paid": random.random() < 0.5,
            "channel": random.choice(["web", "app", None]),
        }
        for _ in range(120)
    ]
    known: list[datetime] = [order["placed_at"] + timedelta(minutes=random.choice([0, 0, 3, 40])) for order in orders]
    with Testbed(repo) as bed:
        for start in range(0, len(orders), 13):
            bed.send("orders", orders[start : start + 13], known_at=known[start : start + 13])
        spine: list[dict[str, Any]] = [
            {"customer": customer, "event_timestamp": NOON + timedelta(minutes=minute)}
            for customer in "abc"
            for minute in (0, 31, 62, 95, 140)
        ]
        history = bed.history(["spending:*"], spine).to_pylist()
        for row, found in zip(spine, history, strict=True):
            wanted = brute_force(orders, known, row["customer"], row["event_timestamp"])
            served = bed.online(["spending:*"], [{"customer": row["customer"]}], at=row["event_timestamp"]).to_pylist()[
                0
            ]
            for name, value in wanted.items():
                assert same(found[f"spending__{name}"], value), (row, name)
                assert same(served[f"spending__{name}"], value), (row, name)


def same(found: Any, wanted: Any) -> bool:
    return bool(found == (pytest.approx(wanted, rel=1e-9) if isinstance(wanted, float) else wanted))


def brute_force(orders: list[dict[str, Any]], known: list[datetime], customer: Any, t: Any) -> dict[str, Any]:
    mine = [
        {**order, "taxed": None if order["price"] > 90 else order["price"] * 1.5}
        for order, known_at in zip(orders, known, strict=True)
        if order["customer"] == customer and known_at <= t
    ]
    for order in mine:
        order["each"] = None if order["taxed"] is None else order["taxed"] / order["items"]

    def within(before: int) -> list[dict[str, Any]]:
        tile = int((t - NOON).total_seconds()) // 300 - before
        return [order for order in mine if tile - 12 < int((order["placed_at"] - NOON).total_seconds()) // 300 <= tile]

    now, dear = within(0), within(6)
    paid = [order["each"] for order in now if order["paid"] and order["each"] is not None]
    latest = max((order["placed_at"] for order in mine), default=None)
    return {
        "taxed_1h": sum(order["taxed"] or 0 for order in now),
        "dearest_paid": max(paid, default=None),
        "dear_web_before": sum((order["each"] or 0) > 30 and order["channel"] == "web" for order in dear),
        "weekday": latest and latest.strftime("%A"),
    }
