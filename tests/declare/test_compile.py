"""What definitions mean in the plan."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headrace.plan import Column, DType, Feature, FeatureRef, Plan

MINUTE = 60_000_000
HOUR = 60 * MINUTE


def feature_of(compiled: Callable[..., Plan], arguments: str, more: str = "") -> Feature:
    """The one feature that these arguments of an Aggregation make."""
    plan = compiled(
        f"""
        v = stream_view(
            name="spending", source=orders, entities=[customer], aggregations=[Aggregation({arguments})], {more}
        )
        """
    )
    return plan.views["spending"].features[0]


def test_a_source_has_its_models_columns_and_its_tags(compiled: Callable[..., Plan]) -> None:
    plan = compiled(
        """
        v = stream_view(
            name="spending", source=orders, entities=[customer], aggregations=[Aggregation("*", "count")]
        )
        """
    )
    source = plan.sources["orders"]
    assert plan.project == "shop"
    assert (source.topic, source.model, source.key, source.timestamp_field) == (
        "orders",
        "events:Order",
        "customer",
        "placed_at",
    )
    assert source.max_future_us == HOUR
    assert source.columns == (
        Column(name="customer", dtype=DType.STRING, nullable=False),
        Column(name="shop", dtype=DType.INT64, nullable=False),
        Column(name="placed_at", dtype=DType.TIMESTAMP, nullable=False),
        Column(name="shipped_at", dtype=DType.TIMESTAMP, nullable=True),
        Column(name="price", dtype=DType.FLOAT64, nullable=False),
        Column(name="items", dtype=DType.INT64, nullable=False),
        Column(name="paid", dtype=DType.BOOL, nullable=False),
        Column(name="channel", dtype=DType.STRING, nullable=True),
    )


def test_a_source_that_no_view_reads_is_in_the_plan_so_that_its_log_can_begin(compiled: Callable[..., Plan]) -> None:
    assert list(compiled("").sources) == ["orders"]


def test_a_kafka_source_of_another_system_is_left_alone(compiled: Callable[..., Plan]) -> None:
    plan = compiled(
        """
        other = KafkaSource(
            name="other", topic="", timestamp_field="t", message_format=JsonFormat(schema_json=""),
            batch_source=FileSource(name="b", path="b.parquet", timestamp_field="t"),
        )
        """
    )
    assert list(plan.sources) == ["orders"]


@pytest.mark.parametrize(
    ("arguments", "window_us", "slide_us"),
    [
        ("", None, None),
        ("time_window=timedelta(hours=1)", HOUR, HOUR),
        ("time_window=timedelta(hours=1), slide_interval=timedelta(minutes=5)", HOUR, 5 * MINUTE),
        ("time_window=timedelta(hours=1), slide_interval=timedelta(microseconds=1)", HOUR, 1),
    ],
)
def test_a_window_tumbles_unless_it_slides_and_none_is_a_lifetime(
    compiled: Callable[..., Plan], arguments: str, window_us: int | None, slide_us: int | None
) -> None:
    feature = feature_of(compiled, f'function="count", column="*", {arguments}')
    assert (feature.window_us, feature.slide_us) == (window_us, slide_us)


@pytest.mark.parametrize(
    ("slide", "more", "slide_us"),
    [
        ("", "enable_tiling=True", 5 * MINUTE),
        ("", "enable_tiling=True, tiling_hop_size=timedelta(minutes=1)", MINUTE),
        ("slide_interval=timedelta(minutes=2)", "enable_tiling=True, tiling_hop_size=timedelta(minutes=1)", 2 * MINUTE),
        ("", "tiling_hop_size=timedelta(minutes=1)", HOUR),
    ],
)
def test_with_tiling_the_hop_is_the_slide_where_none_is_given(
    compiled: Callable[..., Plan], slide: str, more: str, slide_us: int
) -> None:
    feature = feature_of(compiled, f'function="count", column="*", time_window=timedelta(hours=1), {slide}', more)
    assert (feature.window_us, feature.slide_us) == (HOUR, slide_us)


@pytest.mark.parametrize(
    ("function", "column", "dtype"),
    [
        ("count", "*", DType.INT64),
        ("count", "channel", DType.INT64),
        ("sum", "items", DType.INT64),
        ("sum", "paid", DType.INT64),
        ("sum", "price", DType.FLOAT64),
        ("mean", "paid", DType.FLOAT64),
        ("min", "items", DType.INT64),
        ("max", "shipped_at", DType.TIMESTAMP),
        ("min", "paid", DType.BOOL),
        ("last", "channel", DType.STRING),
    ],
)
def test_a_feature_has_the_type_of_what_its_function_gives(
    compiled: Callable[..., Plan], function: str, column: str, dtype: DType
) -> None:
    feature = feature_of(compiled, f'function="{function}", column="{column}", name="made"')
    assert (feature.name, feature.function, feature.column, feature.dtype) == ("made", function, column, dtype)


def test_avg_is_mean(compiled: Callable[..., Plan]) -> None:
    assert feature_of(compiled, 'function="avg", column="price"').function == "mean"


def test_a_view_has_the_columns_of_its_join_keys_in_its_order(compiled: Callable[..., Plan]) -> None:
    plan = compiled(
        """
        buyer = Entity(name="buyer", join_keys=["customer"], value_type=ValueType.STRING)
        v = stream_view(
            name="spending", source=orders, entities=[shop, buyer], aggregations=[Aggregation("*", "count")]
        )
        """
    )
    assert plan.views["spending"].join_keys == ("shop", "customer")
    assert [column.dtype for column in plan.views["spending"].entities] == [DType.INT64, DType.STRING]


def test_a_service_keeps_its_order_and_each_feature_once(compiled: Callable[..., Plan]) -> None:
    plan = compiled(
        """
        def of(name, entity):
            return stream_view(
                name=name, source=orders, entities=[entity],
                aggregations=[Aggregation("price", function) for function in ("min", "max", "sum")],
            )
        a, b = of("a", customer), of("b", shop)
        s = FeatureService(name="model", features=[b[["sum_price", "min_price"]], "a:max_price", a])
        """
    )
    assert plan.services["model"] == tuple(
        FeatureRef(view=view, feature=feature)
        for view, feature in [
            ("b", "sum_price"),
            ("b", "min_price"),
            ("a", "max_price"),
            ("a", "min_price"),
            ("a", "sum_price"),
        ]
    )


def test_definitions_may_be_spread_over_folders(compiled: Callable[..., Plan]) -> None:
    plan = compiled(
        "",
        **{
            "more/shipping__py": """
            from datetime import timedelta
            from feast import Aggregation
            from headrace.declare import stream_view
            from views import customer, orders

            shipping = stream_view(
                name="shipping", source=orders, entities=[customer],
                aggregations=[Aggregation(function="last", column="shipped_at")],
            )
            """
        },
    )
    assert list(plan.views) == ["shipping"]


def test_what_feast_has_besides_stream_views_is_left_alone(compiled: Callable[..., Plan]) -> None:
    plan = compiled(
        """
        from feast import FeatureView
        batch = FeatureView(
            name="batch", entities=[customer],
            schema=[Field(name="customer", dtype=String), Field(name="x", dtype=Int64)],
            source=FileSource(name="b", path="b.parquet", timestamp_field="t"),
        )
        """
    )
    assert plan.views == {}


def test_the_plan_does_not_depend_on_the_order_of_definitions(compiled: Callable[..., Plan]) -> None:
    one = 'a = stream_view(name="one", source=orders, entities=[shop], aggregations=[Aggregation("*", "count")])\n'
    two = 'b = stream_view(name="two", source=orders, entities=[shop], aggregations=[Aggregation("*", "count")])\n'
    swapped = two.replace("b =", "a =") + one.replace("a =", "b =")
    assert compiled(one + two).hash == compiled(swapped).hash
