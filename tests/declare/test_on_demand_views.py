"""On-demand feature views of a repo become views of the plan, or errors with file and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.plan import DType, FeatureRef, Plan

SPENDING = """
from feast import RequestSource
from feast.on_demand_feature_view import OnDemandFeatureView, on_demand_feature_view

spending = stream_view(
    name="spending",
    source=orders,
    entities=[customer],
    aggregations=[
        Aggregation(function="sum", column="price", name="spent"),
        Aggregation(function="count", column="*", name="orders"),
    ],
)
basket = RequestSource(name="basket", schema=[Field(name="total", dtype=Float64), Field(name="items", dtype=Int64)])

"""
SHARE = """
@on_demand_feature_view(
    sources=[spending, basket],
    schema=[Field(name="share", dtype=Float64)],
    mode="python",
    {more}
)
def share(inputs):
    {body}
"""
RIGHT = 'return {"share": [(one or 0.0) for one in inputs["spent"]]}'


def share(body: str = RIGHT, more: str = "") -> str:
    return SPENDING + SHARE.format(body=body, more=more)


def test_view_is_compiled_with_its_inputs_fields_and_function(compiled: Callable[..., Plan]) -> None:
    plan = compiled(share() + 'model = FeatureService(name="model", features=[spending[["orders"]], share])\n')
    view = plan.on_demand_views["share"]
    assert [(one.ref.view, one.ref.feature, one.dtype) for one in view.inputs] == [
        ("spending", "spent", DType.FLOAT64),
        ("spending", "orders", DType.INT64),
    ]
    assert [(one.name, one.dtype) for one in view.request] == [("total", DType.FLOAT64), ("items", DType.INT64)]
    assert [(one.name, one.dtype) for one in view.features] == [("share", DType.FLOAT64)]
    assert (view.mode, view.singleton, view.function, view.on_error) == ("python", False, "views:share", "error")
    assert len(view.code) == 16
    assert plan.services["model"] == (
        FeatureRef(view="spending", feature="orders"),
        FeatureRef(view="share", feature="share"),
    )


def test_every_form_that_feast_has_is_read(compiled: Callable[..., Plan]) -> None:
    plan = compiled(
        SPENDING
        + """
def halves(inputs):
    return {"half": inputs["spent"] / 2}

def frames(inputs):
    import pandas as pd
    return pd.DataFrame({"half": inputs["spent"] / 2})

one = OnDemandFeatureView(
    name="one", sources=[spending[["spent"]]], schema=[Field(name="half", dtype=Float64)],
    udf=halves, udf_string="", mode="python", singleton=True, tags={"headrace.on_error": "null", "team": "fraud"},
)
two = on_demand_feature_view(
    name="two", sources=[spending.projection], schema=[Field(name="half", dtype=Float64)], mode="pandas"
)(frames)
three = on_demand_feature_view(
    name="three", input_schema=[Field(name="spent", dtype=Float64)], schema=[Field(name="half", dtype=Float64)],
    mode="python",
)(halves)
"""
    )
    assert set(plan.on_demand_views) == {"one", "two", "three"}
    one, two, three = (plan.on_demand_views[name] for name in ("one", "two", "three"))
    assert (one.mode, one.singleton, one.on_error, one.function) == ("python", True, "null", "views:halves")
    assert [feature.ref.feature for feature in one.inputs] == ["spent"]
    assert (two.mode, two.function, len(two.inputs)) == ("pandas", "views:frames", 2)
    assert (three.inputs, [field.name for field in three.request]) == ((), ["spent"])


def test_function_of_another_module_is_found_there(compiled: Callable[..., Plan]) -> None:
    plan = compiled(
        SPENDING
        + """
from formulas import half

halved = on_demand_feature_view(
    name="halved", sources=[spending], schema=[Field(name="half", dtype=Float64)], mode="python"
)(half)
""",
        formulas__py='def half(inputs):\n    return {"half": inputs["spent"]}\n',
    )
    assert plan.on_demand_views["halved"].function == "formulas:half"


def test_hash_follows_the_function_and_what_it_uses(compiled: Callable[..., Plan]) -> None:
    text = share('return {"share": [RATE for _ in inputs["spent"]]}')
    hashes = [compiled(f"RATE = {rate}\n{more}{text}") for rate, more in ((1.0, ""), (2.0, ""), (1.0, "OTHER = 1\n"))]
    views = [plan.on_demand_views["share"].hash for plan in hashes]
    assert views[0] == views[2] != views[1]
    assert hashes[0].hash == hashes[2].hash != hashes[1].hash
    assert hashes[0].views == hashes[1].views  # nothing that is stored changes


@pytest.mark.parametrize(
    ("definitions", "said", "hint"),
    [
        (share(more="write_to_online_store=True,"), "it has write_to_online_store=True", "a lookup computes the view"),
        (share(more='tags={"headrace.on_error": "skip"},'), "its tag headrace.on_error is 'skip'", "error, null"),
        (share(more='tags={"headrace.where": "{}"},'), "there is no tag 'headrace.where' of on-demand", "tag is"),
        (share().replace('Field(name="share", dtype=Float64)', 'Field(name="share", dtype=Float32)'),
         "it computes 'share' as FLOAT, which the plan has no type for", "Types are Int64, Float64"),
        (share().replace('Field(name="items", dtype=Int64)', 'Field(name="items", dtype=Int32)').replace(
            "from feast import RequestSource", "from feast import RequestSource\nfrom feast.types import Int32"),
         "its request has 'items' as INT32", "Types are Int64"),
        (share().replace('name="items"', 'name="orders"'), "its request has 'orders', and so has one of the views",
         "Rename the field"),
        (share().replace("sources=[spending, basket]", 'sources=[spending.with_name("s"), basket]'),
         "it renames the view 'spending'", "without with_name"),
        (share("return Field"), "needs Feast, which views.py:", "Move what the function uses"),
        (share().replace("sources=[spending, basket]", "sources=[share0.projection, basket]").replace(
            "@on_demand", SHARE.format(body=RIGHT, more="").replace("def share", "def share0") + "\n@on_demand", 1),
         "its source 'share0' is an on-demand view", "Call that view's function"),
        (SPENDING + 'v = OnDemandFeatureView(name="v", sources=[spending], schema=[Field(name="x", dtype=Float64)], '
         'mode="python", udf=lambda inputs: inputs, udf_string="")', "'<lambda>' is not at the top level", "as a def"),
        (share().replace("def share(", "def spending2(").replace("@on_demand_feature_view(",
            '@on_demand_feature_view(name="Spending",'), "two views are named 'Spending'", "Rename one"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_with_a_hint(
    refused: Callable[..., str], definitions: str, said: str, hint: str
) -> None:
    message = refused(definitions)
    assert said in message
    assert hint in message


def test_place_is_that_of_the_function(refused: Callable[..., str], line_of: Callable[..., str]) -> None:
    message = refused(share(more="write_to_online_store=True,"))
    assert message.startswith(f"{line_of('def share(')}: on-demand view 'share': ")
    message = refused(share(more='tags={"headrace.on_error": "skip"},'))
    assert message.startswith(f"{line_of('tags=')}: on-demand view 'share': ")


def test_source_that_cannot_work_is_named_once(refused: Callable[..., str]) -> None:
    message = refused(share().replace('function="sum"', 'function="summ"'))
    assert "summ" in message
    assert "on-demand view" not in message


def test_feast_refuses_an_on_demand_view_as_a_source_with_our_hint(refused: Callable[..., str]) -> None:
    message = refused(
        share()
        + SHARE.format(body=RIGHT, more="").replace("def share", "def second").replace("[spending, basket]", "[share]")
    )
    assert "importing it failed: TypeCheckError" in message
    assert "call that view's function from this one's" in message


def test_wrapped_function_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    message = refused(
        "import functools\n"
        + share()
        .replace(
            "@on_demand_feature_view(",
            "def twice(function):\n"
            "    @functools.wraps(function)\n"
            "    def called(inputs):\n"
            "        return function(inputs)\n"
            "    return called\n\n@on_demand_feature_view(",
        )
        .replace("def share", "@twice\ndef share")
    )
    assert "its function is not the one that is named 'share'" in message
    assert "no decorator besides on_demand_feature_view" in message
