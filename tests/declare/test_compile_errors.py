"""Sources, views and services that cannot work are refused with the file and what to write instead."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Refuse = Callable[..., str]
Where = Callable[..., str]


def problem_of(message: str, what: str) -> str:
    """The problem among those of a message that says this."""
    return next(part for part in message.replace("\nfeature_repo/", "\0feature_repo/").split("\0") if what in part)


VIEW = """
v = stream_view(
    name="spending",
    source=orders,
    entities=[customer],
    aggregations=[Aggregation(function="mean", column="price")],
)
"""


def source(*changes: tuple[str, str]) -> str:
    """A source written by hand, with changes."""
    text = """
orders = KafkaSource(
    name="orders",
    topic="orders",
    timestamp_field="placed_at",
    message_format=JsonFormat(schema_json=""),
    batch_source=FileSource(name="orders_log", path="nowhere.parquet", timestamp_field="placed_at"),
    tags={"headrace.model": "events:Order", "headrace.key": "customer"},
)
"""
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(
    ("old", "new", "at", "what", "hint"),
    [
        ('"headrace.model": "events:Order", ', "", "orders = ", "does not say which pydantic model its events have",
         'tags={"headrace.model": "events:Departure"}'),
        ("events:Order", "events:Oder", "tags=", "has no class 'Oder'", "Did you mean 'Order'?"),
        ("events:Order", "event:Order", "tags=", "there is no event.py", "Did you mean 'events'?"),
        ("events:Order", "events.Order", "tags=", "'events.Order' is not written as module:Class", "'events:Order'"),
        ("headrace.key", "headrace.keys", "tags=", "there is no tag 'headrace.keys'",
         "Did you mean 'headrace.key'?"),
        ('"customer"}', '"custmer"}', "tags=", "the key 'custmer' is not a field of its model",
         "Did you mean 'customer'?"),
        ('"customer"}', '"customer", "headrace.max_future_us": "1h"}', "tags=", "headrace.max_future_us is '1h'",
         'Write microseconds, such as "3600000000" for 1h.'),
        ('timestamp_field="placed_at",\n', 'timestamp_field="placed",\n', "timestamp_field=",
         "the timestamp_field 'placed' is not a field of its model",
         "Did you mean 'placed_at'? Write timestamp_field=, one of: placed_at."),
        ('timestamp_field="placed_at",\n', 'timestamp_field="items",\n', "timestamp_field=",
         "the timestamp_field 'items' is of type int64",
         "Make it an AwareDatetime, or write timestamp_field=, one of: placed_at."),
        ('timestamp_field="placed_at",\n', 'timestamp_field="shipped_at",\n', "timestamp_field=",
         "the timestamp_field 'shipped_at' can be missing", "Take `| None` off"),
        ('topic="orders"', 'topic=""', "orders = ", "has no topic", "Write topic='orders'"),
        ('topic="orders"', 'topic="my orders"', "topic=", "'my orders' is not a topic's name", "letters, digits"),
        ('JsonFormat(schema_json="")', '__import__("feast.data_format").data_format.AvroFormat("")', "orders = ",
         "has the format 'avro', and headrace reads: json.", 'message_format=JsonFormat(schema_json="")'),
        ('"customer"}', '"customer", "headrace.format": "jsn"}', "tags=", "has the format 'jsn'",
         "Did you mean 'json'? Write format=\"json\" in event_source"),
        ('topic="orders"', 'topic="orders", field_mapping={"a": "b"}', "orders = ", "has a field_mapping",
         "Field(alias=...)"),
    ],
)  # fmt: skip
def test_sources(refused: Refuse, line_of: Where, old: str, new: str, at: str, what: str, hint: str) -> None:
    message = refused(VIEW, source((old, new)))
    problem = problem_of(message, what)
    assert problem.startswith(f"{line_of(at)}: source 'orders'")
    assert hint in problem.partition("\n  → ")[2]


def test_a_source_without_a_batch_source(refused: Refuse, line_of: Where) -> None:
    batch = 'batch_source=FileSource(name="orders_log", path="nowhere.parquet", timestamp_field="placed_at"),'
    message = refused("", source((batch, "")))
    assert message.startswith(f"{line_of('orders = ')}: source 'orders' has no batch_source")
    message = refused(VIEW, source((batch, "")))  # where a view reads it, Feast itself refuses to go on
    assert message.startswith(f"{line_of('v = ')}: importing it failed: ValueError: A batch_source needs to be")
    assert "headrace.event_source" in message


def test_a_field_that_is_kept_as_json_text_is_told_where_a_feature_uses_it(refused: Refuse, line_of: Where) -> None:
    events = """
    from pydantic import AwareDatetime, BaseModel

    class Order(BaseModel):
        customer: str
        price: list[int]
        placed_at: AwareDatetime
    """
    message = refused(VIEW, events__py=events)
    assert "mean of 'price', which is kept as JSON text" in message


def test_a_format_that_headrace_does_not_read(refused: Refuse, line_of: Where) -> None:
    other = (
        'other = event_source(name="other", model=Order, topic="o", timestamp_field="placed_at",\n'
        '    format="msgpack")\n'
    )
    message = refused(other)
    assert message.startswith(
        f"{line_of('format=')}: source 'other' has the format 'msgpack', and headrace reads: json"
    )


def test_two_sources_of_one_topic(refused: Refuse, line_of: Where) -> None:
    again = 'again = event_source(name="again", model=Order, topic="orders", timestamp_field="placed_at")\n'
    message = refused(again)
    assert message.startswith(f"{line_of('orders = ')}: source 'orders' reads the topic 'orders', and so does")
    assert "the source 'again'" in message
    assert "a topic has one source" in message


def test_two_sources_of_one_name(refused: Refuse, line_of: Where) -> None:
    again = '\nagain = event_source(name="Orders", model=Order, topic="again", timestamp_field="placed_at")\n'
    message = refused(again)
    assert "two sources are named 'orders'" in message
    assert f"Rename one; the other is at {line_of('again = ')}." in message


def test_a_source_of_another_ones_dead_letters(refused: Refuse) -> None:
    message = refused('zz = event_source(name="zz", model=Order, topic="orders.dlq", timestamp_field="placed_at")\n')
    assert "source 'zz' reads 'orders.dlq', where dead letters of 'orders' go" in message


@pytest.mark.parametrize(
    ("old", "new", "what", "hint"),
    [
        ('[Aggregation(function="mean", column="price")]', "[]", "it has no aggregations",
         "Write aggregations=[Aggregation("),
        ("entities=[customer]", "entities=[]", "it has no entities", "Write entities=[...]"),
        ("entities=[customer]", 'entities=[Entity(name="buyer", join_keys=["customer"], value_type=ValueType.STRING)]',
         "its entity 'buyer' is not bound to a name in any file", '`buyer = Entity(name="buyer", ...)`'),
    ],
)  # fmt: skip
def test_views(refused: Refuse, line_of: Where, old: str, new: str, what: str, hint: str) -> None:
    assert old in VIEW
    message = refused(VIEW.replace(old, new))
    where = line_of("entities=[Entity") if "Entity" in new else line_of("v = ")
    assert message.startswith(f"{where}: view 'spending': {what}")
    assert hint in message.partition("\n  → ")[2]


@pytest.mark.parametrize(
    ("entity", "what", "hint"),
    [
        ('Entity(name="e", join_keys=["custmer"], value_type=ValueType.STRING)',
         "its entity 'e' has the join key 'custmer', which is not a field of events:Order",
         "Did you mean 'customer'? Write join_keys=[...], one of: customer, shop,"),
        ('Entity(name="e", join_keys=["price"], value_type=ValueType.DOUBLE)',
         "the join key 'price', a float: keys that look equal may differ in their last bit", "int or a str"),
        ('Entity(name="e", join_keys=["shop"], value_type=ValueType.STRING)',
         "the join key 'shop', declared string, and events:Order has int64", "value_type=ValueType.INT64"),
        ('Entity(name="e", join_keys=["shop"], value_type=ValueType.BYTES)',
         "the join key 'shop', declared BYTES, and events:Order has int64", "value_type=ValueType.INT64"),
    ],
)  # fmt: skip
def test_entities(refused: Refuse, line_of: Where, entity: str, what: str, hint: str) -> None:
    message = refused(f"e = {entity}\n" + VIEW.replace("[customer]", "[e]"))
    assert message.startswith(f"{line_of('v = ')}: view 'spending': ")
    assert what in message
    assert hint in message.partition("\n  → ")[2]


PLAIN = """
v = StreamFeatureView(
    name="spending",
    source=orders,
    entities=[customer],
    timestamp_field="placed_at",
    aggregations=[Aggregation(function="mean", column="price", name="mean_price")],
    schema=[Field(name="customer", dtype=String), Field(name="mean_price", dtype=Float64)],
)
"""
SCHEMA = 'schema=[Field(name="customer", dtype=String), Field(name="mean_price", dtype=Float64)]'


@pytest.mark.parametrize(
    ("old", "new", "what", "hint"),
    [
        ('timestamp_field="placed_at"', 'timestamp_field="shipped_at"',
         "its timestamp_field is 'shipped_at', and its source's 'placed_at'", "Write timestamp_field='placed_at'."),
        (SCHEMA, "schema=[]", "its schema lacks mean_price", f"Write {SCHEMA}, or make the view with"),
        ('name="mean_price", dtype', 'name="price", dtype', "its schema lacks mean_price", f"Write {SCHEMA}"),
        ('name="mean_price", dtype', 'name="price", dtype', "its schema has price, which no aggregation makes", SCHEMA),
        ("Float64", "Float32", "its schema says mean_price is FLOAT, and the aggregation makes float64", SCHEMA),
        ("aggregations=[", "udf=(lambda df: df), udf_string='x', aggregations=[",
         "its udf is not at the top level of a module", "Write it as a def at the top level"),
    ],
)  # fmt: skip
def test_plain_views(refused: Refuse, old: str, new: str, what: str, hint: str) -> None:
    assert old in PLAIN
    message = refused(PLAIN.replace(old, new))
    problem = problem_of(message, what)
    assert problem.startswith("feature_repo/views.py:")
    assert f": view 'spending': {what}" in problem
    assert hint in problem.partition("\n  → ")[2]


def test_a_plain_view_without_a_timestamp_field_which_feast_refuses(refused: Refuse, line_of: Where) -> None:
    message = refused(PLAIN.replace('timestamp_field="placed_at",', ""))
    assert message.startswith(f"{line_of('v = ')}: importing it failed: ValueError: aggregations must have a time")
    assert "Write timestamp_field=, the same as the source's." in message


def test_a_plain_view_of_an_entity_without_a_type(refused: Refuse) -> None:
    bare = 'import warnings; warnings.simplefilter("ignore")\nbare = Entity(name="customer")\n'
    schema = SCHEMA.replace('Field(name="customer", dtype=String), ', "")
    message = refused(
        bare + PLAIN.replace("[customer]", "[bare]").replace(SCHEMA, schema).replace("v =", "customer = bare\nv =")
    )
    assert "view 'spending': its entity 'customer' has no value_type" in message
    assert "value_type=ValueType.STRING" in message


def test_a_view_of_something_that_is_no_kafka_source(refused: Refuse) -> None:
    push = """
    from feast import PushSource
    pushed = PushSource(name="p", batch_source=FileSource(name="b", path="b.parquet", timestamp_field="placed_at"))
    """
    message = refused(push + PLAIN.replace("source=orders", "source=pushed").replace("\n", "\n    "))
    assert "view 'spending': its source is PushSource." in message
    assert "Write source=, a KafkaSource" in message


def test_two_views_of_one_name(refused: Refuse) -> None:
    message = refused(VIEW + VIEW.replace("v =", "w =").replace("spending", "Spending"))
    assert "two views are named" in message
    assert "Rename one; the other is at feature_repo/views.py:" in message


@pytest.mark.parametrize(
    ("features", "what", "hint"),
    [
        ("[v, 'spendings']", "'spendings' is not a view of this repo that headrace serves",
         "Did you mean 'spending'? Views are: spending."),
        ("['spending:mean_prise']", "the view 'spending' has no feature 'mean_prise'",
         "Did you mean 'mean_price'? It has: mean_price."),
        ("['spending@v2:mean_price']", "'spending@v2' is not a view of this repo", "Did you mean 'spending'?"),
        ("[v.with_name('other')]", "it renames the view 'spending' or its join keys", "Take the view as it is"),
        ("[v.with_join_key_map({'customer': 'buyer'})]", "it renames the view 'spending'", "Take the view as it is"),
        ("[]", "it has no features", "Write features=[...]"),
    ],
)  # fmt: skip
def test_services(refused: Refuse, line_of: Where, features: str, what: str, hint: str) -> None:
    message = refused(f'{VIEW}\ns = FeatureService(name="model", features={features})\n')
    assert message.startswith(f"{line_of('s = ')}: feature service 'model': ")
    assert what in message
    assert hint in message.partition("\n  → ")[2]


def test_a_part_of_a_view_that_is_not_there_which_feast_refuses(refused: Refuse, line_of: Where) -> None:
    message = refused(f'{VIEW}\ns = FeatureService(name="model", features=[v[["mean_prise"]]])\n')
    said = "importing it failed: ValueError: Feature mean_prise does not exist in this feature view."
    assert message.startswith(f"{line_of('s = ')}: {said}")
    assert "Name features that the view's aggregations make" in message


def test_a_service_of_a_view_that_headrace_does_not_serve(refused: Refuse) -> None:
    message = refused(
        f"""
{VIEW}
from feast import FeatureView, KinesisSource
other = FeatureView(
    name="other", entities=[customer], schema=[Field(name="x", dtype=Int64)],
    source=KinesisSource(
        name="k", record_format=JsonFormat(schema_json=""), region="r", stream_name="s", timestamp_field="t",
        batch_source=FileSource(name="b", path="b.parquet", timestamp_field="t"),
    ),
)
s = FeatureService(name="model", features=[v, other])
"""
    )
    assert "feature service 'model': 'other' is not a view of this repo that headrace serves" in message


def test_service_names(refused: Refuse, line_of: Where) -> None:
    message = refused(f'{VIEW}\ns = FeatureService(name="a:b", features=[v])\n')
    assert "feature service 'a:b': that name cannot be used in a request" in message
    message = refused(
        f'{VIEW}\ns = FeatureService(name="m", features=[v])\nt = FeatureService(name="m", features=[v])\n'
    )
    assert f"{line_of('t = ')}: two feature services are named 'm'." in message
    assert f"the other is at {line_of('s = ')}" in message


def test_everything_that_is_wrong_is_said_at_once(refused: Refuse, line_of: Where) -> None:
    message = refused(
        """
        one = stream_view(
            name="one",
            source=orders,
            entities=[customer],
            aggregations=[
                Aggregation(function="mean", column="prise", name="a"),
                Aggregation(function="meen", column="price", name="b"),
                Aggregation(function="sum", column="price", name="fine"),
            ],
        )
        two = stream_view(name="two", source=orders, entities=[shop], aggregations=[])
        s = FeatureService(name="model", features=[one[["fine"]], "two:nothing"])
        """,
        source=source(('"customer"}', '"custmer"}')),
    )
    assert message.startswith("5 definitions in feature_repo cannot work:\n")
    for at, said in (
        ("tags=", "source 'orders': the key 'custmer'"),
        ('name="a"', "view 'one', feature 'a': the column 'prise'"),
        ('name="b"', "view 'one', feature 'b': the function 'meen'"),
        ("two = ", "view 'two': it has no aggregations"),
        ("s = ", "feature service 'model': the view 'two' has no feature 'nothing'"),
    ):
        assert f"\n{line_of(at)}: {said}" in message
    assert message.count("\n  → ") == 5
    assert "fine" not in message


def test_a_view_made_in_a_loop_is_told_by_its_file(refused: Refuse) -> None:
    message = refused(
        """
        for name in ("a", "b"):
            globals()[name] = stream_view(
                name=name, source=orders, entities=[shop], aggregations=[Aggregation(function="sum", column="prise")]
            )
        """
    )
    assert "feature_repo/views.py: view 'a', feature 'sum_prise'" in message
    assert "feature_repo/views.py: view 'b', feature 'sum_prise'" in message
