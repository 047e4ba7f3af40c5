"""The builders make real Feast objects, and plain Feast objects mean the same."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from feast import Aggregation, Entity, FileSource, KafkaSource, StreamFeatureView, ValueType
from feast.data_format import DeltaFormat, JsonFormat
from feast.types import Bool, Float64, Int64, String, UnixTimestamp
from pydantic import AwareDatetime, BaseModel

from headrace.declare import event_source, stream_view
from headrace.declare.feast_import import quiet_feast
from headrace.plan import Plan


class Order(BaseModel):
    customer: str
    placed_at: AwareDatetime
    price: float
    items: int
    paid: bool


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with quiet_feast():
        yield


def orders() -> KafkaSource:
    return event_source(name="orders", model=Order, topic="shop.orders", key="customer", timestamp_field="placed_at")


def customer() -> Entity:
    return Entity(name="customer", value_type=ValueType.STRING)


def test_a_source_is_a_real_kafka_source_with_its_model_in_the_tags() -> None:
    source = event_source(
        name="orders",
        model=Order,
        topic="shop.orders",
        key="customer",
        timestamp_field="placed_at",
        max_future=timedelta(minutes=5),
        tags={"team": "shop"},
        description="What was ordered.",
        owner="shop@example.org",
    )
    assert type(source) is KafkaSource
    assert (source.name, source.kafka_options.topic, source.timestamp_field) == ("orders", "shop.orders", "placed_at")
    assert (source.description, source.owner) == ("What was ordered.", "shop@example.org")
    assert source.tags == {
        "team": "shop",
        "headrace.model": f"{Order.__module__}:Order",
        "headrace.key": "customer",
        "headrace.max_future_us": "300000000",
    }
    assert isinstance(source.kafka_options.message_format, JsonFormat)
    ddl = "customer string, placed_at timestamp, price double, items bigint, paid boolean"
    assert source.kafka_options.message_format.schema_json == ddl


def test_the_batch_source_that_feast_insists_on_is_the_log() -> None:
    log = orders().batch_source
    assert isinstance(log, FileSource)
    assert (log.name, log.path) == ("orders_log", "../.headrace/log/shop.orders")
    assert isinstance(log.file_format, DeltaFormat)
    elsewhere = event_source(
        name="o", model=Order, topic="o", timestamp_field="placed_at", log_path="s3://lake/orders"
    ).batch_source
    assert isinstance(elsewhere, FileSource)
    assert elsewhere.path == "s3://lake/orders"


def test_a_source_without_a_key_has_no_key_tag() -> None:
    source = event_source(name="orders", model=Order, topic="orders", timestamp_field="placed_at")
    assert "headrace.key" not in source.tags


def test_a_view_is_a_real_stream_feature_view_with_its_schema_inferred() -> None:
    view = stream_view(
        name="spending",
        source=orders(),
        entities=[customer()],
        aggregations=[
            Aggregation(function="count", column="*", time_window=timedelta(hours=1), name="orders_1h"),
            Aggregation(function="sum", column="items", name="items_ever"),
            Aggregation(function="avg", column="items", name="items_mean"),
            Aggregation(function="max", column="placed_at", name="newest"),
            Aggregation(function="last", column="paid", name="last_paid"),
            Aggregation(function="last", column="customer", name="last_customer"),
        ],
        tags={"team": "shop"},
        description="What a customer spends.",
        ttl=timedelta(days=2),
    )
    assert type(view) is StreamFeatureView
    assert [(field.name, field.dtype) for field in view.entity_columns] == [("customer", String)]
    assert [(field.name, field.dtype) for field in view.features] == [
        ("orders_1h", Int64),
        ("items_ever", Int64),
        ("items_mean", Float64),
        ("newest", UnixTimestamp),
        ("last_paid", Bool),
        ("last_customer", String),
    ]
    assert (view.timestamp_field, view.tags, view.description) == (
        "placed_at",
        {"team": "shop"},
        "What a customer spends.",
    )
    assert view.ttl == timedelta(days=2)


def test_a_feature_without_a_name_gets_one_that_tells_what_it_is() -> None:
    view = stream_view(
        name="spending",
        source=orders(),
        entities=[customer()],
        aggregations=[
            Aggregation(function="mean", column="price", time_window=timedelta(hours=1)),
            Aggregation(function="avg", column="price", time_window=timedelta(minutes=90)),
            Aggregation(function="count", column="*", time_window=timedelta(days=7)),
            Aggregation(function="last", column="price"),
            Aggregation(function="count", column="*"),
        ],
    )
    names = ["mean_price_1h", "mean_price_90m", "count_7d", "last_price", "count"]
    assert [made.name for made in view.aggregations] == names
    assert [field.name for field in view.features] == names


BUILT = """
v = stream_view(
    name="spending",
    source=orders,
    entities=[customer, shop],
    aggregations=[
        Aggregation(function="avg", column="price", time_window=timedelta(hours=1), slide_interval=timedelta(0, 300)),
        Aggregation(function="count", column="*", time_window=timedelta(days=1)),
        Aggregation(function="last", column="channel", name="last_channel"),
    ],
)
s = FeatureService(name="model", features=[v[["last_channel", "mean_price_1h"]], v])
"""

PLAIN_SOURCE = """
orders = KafkaSource(
    name="orders",
    topic="orders",
    timestamp_field="placed_at",
    message_format=JsonFormat(schema_json=""),
    batch_source=FileSource(name="anything", path="nowhere.parquet", timestamp_field="placed_at"),
    tags={"headrace.model": "events:Order", "headrace.key": "customer"},
)
"""

PLAIN = """
v = StreamFeatureView(
    name="spending",
    source=orders,
    entities=[customer, shop],
    timestamp_field="placed_at",
    aggregations=[
        Aggregation(function="mean", column="price", time_window=timedelta(hours=1), slide_interval=timedelta(0, 300)),
        Aggregation(function="count", column="*", time_window=timedelta(days=1)),
        Aggregation(function="last", column="channel", name="last_channel"),
    ],
    schema=[
        Field(name="customer", dtype=String),
        Field(name="mean_price_1h", dtype=Float64),
        Field(name="count_1d", dtype=Int64),
        Field(name="last_channel", dtype=String),
    ],
)
s = FeatureService(name="model", features=["spending:last_channel", v[["mean_price_1h"]], "spending"])
"""


def test_plain_feast_objects_compile_to_the_same_plan(compiled: Callable[..., Plan]) -> None:
    built, plain = compiled(BUILT), compiled(PLAIN, PLAIN_SOURCE)
    assert built == plain
    assert built.hash == plain.hash


def test_a_built_view_reads_a_plain_source(compiled: Callable[..., Plan]) -> None:
    assert compiled(BUILT, PLAIN_SOURCE).hash == compiled(BUILT).hash


@pytest.mark.slow
def test_importing_the_builders_imports_no_feast() -> None:
    code = "import sys; from headrace.declare import event_source, apply; sys.exit('feast' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_users_see_nothing_of_feasts_warning_about_stream_views(compiled: Callable[..., Plan]) -> None:
    compiled(PLAIN, PLAIN_SOURCE)  # warnings are errors here
