"""Ordinary feature views of Feast become batch views of the plan, or are refused with file and line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from feast import FeatureStore
from pyarrow import parquet

from headrace.config import Project
from headrace.declare import apply, plan_changes
from headrace.declare.duckdb_source import QuerySource
from headrace.declare.feast_import import quiet_feast
from headrace.plan import BatchView, Column, DType, Plan, read_plan

Compile = Callable[..., Plan]
Refuse = Callable[..., str]
Where = Callable[..., str]
Write = Callable[..., Path]

MORE = """
from feast import FeatureView, PushSource
from feast.data_format import DeltaFormat, ParquetFormat
from feast.types import Array, Bytes, Int32, Json, Map
from headrace import query_source
"""

VIEW = (
    MORE
    + """
shop_rows = FileSource(
    name="shop_rows", path="data/shops.parquet", timestamp_field="at", created_timestamp_column="made"
)
shops = FeatureView(
    name="shops",
    entities=[shop],
    ttl=timedelta(days=2),
    schema=[
        Field(name="staff", dtype=Int32),
        Field(name="area", dtype=Float32),
        Field(name="tags", dtype=Array(String)),
    ],
    source=shop_rows,
)
"""
)

STREAM = """
spending = stream_view(
    name="spending",
    source=orders,
    entities=[customer],
    aggregations=[Aggregation(function="count", column="*", time_window=timedelta(hours=1), name="orders_1h")],
)
"""

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def write_shops(root: Path, **changed: pa.Array) -> None:
    """The rows that `VIEW` reads."""
    columns: dict[str, pa.Array] = {
        "shop": pa.array([1], pa.int32()),
        "at": pa.array([MOMENT], pa.timestamp("ns", "UTC")),
        "made": pa.array([MOMENT.replace(tzinfo=None)], pa.timestamp("us")),
        "staff": pa.array([3], pa.int16()),
        "area": pa.array([1.5], pa.float32()),
        "tags": pa.array([["a"]]),
    }
    path = root / "feature_repo" / "data" / "shops.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(columns | changed), path)


def changed(*changes: tuple[str, str]) -> str:
    text = VIEW
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


def shops(plan: Plan) -> BatchView:
    return plan.batch_views["shops"]


def test_view_over_a_file_becomes_a_batch_view(tmp_path: Path, compiled: Compile) -> None:
    write_shops(tmp_path)
    view = shops(compiled(VIEW))
    assert view.entities == (Column(name="shop", dtype=DType.INT64, nullable=False),)
    assert [(column.name, column.dtype) for column in view.columns] == [
        ("staff", DType.INT64),
        ("area", DType.FLOAT64),
        ("tags", DType.STRING_LIST),
    ]
    assert view.ttl_us == 2 * 86_400_000_000
    source = view.source
    assert (source.kind, source.path, source.timestamp_field, source.created_field) == (
        *("parquet", "data/shops.parquet"),
        *("at", "made"),
    )
    assert (view.push, view.online) == (None, True)


def test_source_that_is_not_there_yet_is_no_problem(compiled: Compile) -> None:
    assert shops(compiled(VIEW)).name == "shops"


@pytest.mark.parametrize("ttl", ["timedelta(0)", "None"])
def test_no_ttl_is_any_age(compiled: Compile, ttl: str) -> None:
    assert shops(compiled(changed(("timedelta(days=2)", ttl)))).ttl_us is None


def test_delta_query_and_push_sources(compiled: Compile) -> None:
    plan = compiled(
        MORE
        + """
delta = FileSource(name="delta", path="data/delta", file_format=DeltaFormat(), timestamp_field="at")
query = query_source("query", "SELECT 1 AS shop, now() AS at, now() AS made, 2 AS n", timestamp_field="at",
    created_field="made")
pushed = PushSource(name="pushed", batch_source=query)
schema = [Field(name="n", dtype=Int64)]
one = FeatureView(name="one", entities=[shop], schema=schema, source=delta, online=False)
two = FeatureView(name="two", entities=[shop], schema=schema, source=query)
three = FeatureView(name="three", entities=[shop], schema=schema, source=pushed)
"""
    )
    one, two, three = (plan.batch_views[name] for name in ("one", "two", "three"))
    assert (one.source.kind, one.source.path, one.online) == ("delta", "data/delta", False)
    assert (two.source.kind, two.source.created_field) == ("query", "made")
    assert two.source.sql == "SELECT 1 AS shop, now() AS at, now() AS made, 2 AS n"
    assert (three.push, three.source) == ("pushed", two.source)
    assert two.rows_hash != three.rows_hash


def test_types_that_are_not_declared_come_from_the_source(tmp_path: Path, compiled: Compile) -> None:
    write_shops(tmp_path, open=pa.array([True]))
    text = changed(("entities=[shop]", "entities=[place]"))
    start, end = text.index("    schema="), text.index("    source=shop_rows")
    view = shops(
        compiled(
            'place = Entity(name="place", join_keys=["shop"], value_type=ValueType.UNKNOWN)\n'
            + text[:start]
            + text[end:]
        )
    )
    assert view.entities[0].dtype is DType.INT64
    assert {column.name: column.dtype for column in view.columns} == {
        "staff": DType.INT64,
        "area": DType.FLOAT64,
        "tags": DType.STRING_LIST,
        "open": DType.BOOL,
    }


def test_services_hold_both_kinds(compiled: Compile) -> None:
    plan = compiled(
        VIEW + STREAM + 'both = FeatureService(name="both", features=[shops[["area", "staff"]], spending])\n'
    )
    assert [f"{ref.view}:{ref.feature}" for ref in plan.services["both"]] == [
        "shops:area",
        "shops:staff",
        "spending:orders_1h",
    ]
    assert [ref.feature for ref in plan.resolve(["shops:*"])] == ["staff", "area", "tags"]


def test_plan_without_batch_views_keeps_its_hash(compiled: Compile) -> None:
    plan = compiled(STREAM)
    without = plan.model_copy(update={"batch_views": {}})
    assert without.hash == plan.hash
    assert plan.batch_views == {}


def test_apply_registers_all_kinds_of_sources_and_reports_changes(tmp_path: Path, write: Write) -> None:
    query = """
seen = query_source("seen", "SELECT 1 AS shop, TIMESTAMPTZ '2026-01-01' AS at, 2 AS n", timestamp_field="at")
visits = FeatureView(name="visits", entities=[shop], source=PushSource(name="pushed", batch_source=seen))
"""
    write_shops(tmp_path)
    repo = write(tmp_path, VIEW + query)
    project = Project.load(tmp_path)
    result = apply(project)
    assert read_plan(project.plan_file) == result.plan
    assert result.plan.batch_views["visits"].columns == (Column(name="n", dtype=DType.INT64),)
    assert {(change.kind, change.name, change.action) for change in result.diff.changes} >= {
        ("view", "shops", "added"),
        ("view", "visits", "added"),
    }
    with quiet_feast():
        registered = FeatureStore(repo_path=str(repo)).get_feature_view("visits")
    assert isinstance(registered.batch_source, QuerySource)
    assert registered.batch_source.sql == "SELECT 1 AS shop, TIMESTAMPTZ '2026-01-01' AS at, 2 AS n"
    assert [field.name for field in registered.features] == ["n"]
    assert not apply(project).diff.changes
    write(tmp_path, changed(("days=2", "days=3"), ('        Field(name="area", dtype=Float32),\n', "")) + query)
    found = {(change.name, change.details) for change in plan_changes(project).changes}
    assert ("shops", ("ttl: 2d → 3d",)) in found
    assert ("shops:area", ()) in found


@pytest.mark.parametrize(
    ("changes", "at", "what", "hint"),
    [
        ([('name="shops"', 'name="my__shops"')], "shops = ", "that name cannot be used", "single underscores"),
        ([('timestamp_field="at", ', "")], "shops = ", "no timestamp_field", "timestamp_field="),
        ([("entities=[shop]", "entities=[]")], "shops = ", "it has no entities", "entities=[...]"),
        ([("dtype=Int32", "dtype=Bytes")], 'Field(name="staff"', "the field 'staff' is BYTES", "Leave the field out"),
        (
            [('name="area"', 'name="Staff"')],
            'Field(name="Staff"',
            "'Staff' is the name of a feature too",
            "field_mapping",
        ),
        ([('name="area"', 'name="size"')], "shops = ", "no column 'size', a feature", "It has: shop"),
        ([("dtype=Int32", "dtype=String")], "shops = ", "'staff' as SMALLINT", "convert it in a query"),
        ([('"made"', '"born"')], "shops = ", "no column 'born', a time", "It has: shop"),
        ([('timestamp_field="at"', 'timestamp_field="area"')], "shops = ", "'area' as FLOAT, which is no", "timestamp"),
    ],
)
def test_view_that_cannot_work_is_refused_with_its_place(
    tmp_path: Path,
    refused: Refuse,
    line_of: Where,
    changes: list[tuple[str, str]],
    at: str,
    what: str,
    hint: str,
) -> None:
    write_shops(tmp_path)
    message = refused(changed(*changes))
    assert what in message
    assert hint in message
    assert line_of(at) in message


def test_two_views_of_one_name_are_refused(refused: Refuse) -> None:
    message = refused(VIEW + STREAM.replace('name="spending"', 'name="Shops"'))
    assert "two views are named" in message


def test_types_that_nobody_declares_are_refused_while_the_source_is_away(refused: Refuse) -> None:
    text = changed(("entities=[shop]", "entities=[place]"))
    message = refused('place = Entity(name="place", join_keys=["shop"], value_type=ValueType.UNKNOWN)\n' + text)
    assert "the type of its join key 'shop' is not known" in message
    assert "has no file at" in message
