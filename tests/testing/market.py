"""Feast objects as a user writes them: trades of a market, by symbol and by account."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from feast import Aggregation, Entity, FeatureService, ValueType
from pydantic import AwareDatetime, BaseModel

from headrace import event_source, stream_view

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


class Trade(BaseModel):
    symbol: str
    account: int
    traded_at: AwareDatetime
    price: float
    shares: int | None


symbol = Entity(name="symbol", join_keys=["symbol"], value_type=ValueType.STRING)
account = Entity(name="account", join_keys=["account"], value_type=ValueType.INT64)
trades = event_source(name="trades", model=Trade, topic="trades", timestamp_field="traded_at", key="symbol")
by_symbol = stream_view(
    name="by_symbol",
    source=trades,
    entities=[symbol],
    aggregations=[
        Aggregation(
            function="count", column="*", time_window=timedelta(minutes=10), slide_interval=timedelta(minutes=1)
        ),
        Aggregation(function="sum", column="shares", name="shares"),
        Aggregation(function="last", column="price", name="last_price"),
    ],
)
by_account = stream_view(
    name="by_account",
    source=trades,
    entities=[account],
    aggregations=[Aggregation(function="mean", column="price", time_window=timedelta(hours=1), name="mean_price")],
)
desk = FeatureService(name="desk", features=[by_symbol, by_account])


def trade(
    minute: float, symbol: str = "A", account: int = 1, price: float = 1.0, shares: int | None = 1
) -> dict[str, object]:
    return {"symbol": symbol, "account": account, "traded_at": at(minute), "price": price, "shares": shares}
