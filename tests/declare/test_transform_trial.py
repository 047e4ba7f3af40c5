"""`plan` and `apply` try transforms on events made from the model, and refuse those that fail on all of them."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from headrace.config import Project
from headrace.declare import apply, plan_changes
from headrace.errors import DefinitionError
from tests.declare.conftest import write_repo

VIEWS = """
    from feast import Entity, ValueType
    from headrace import aggregation, event_source, stream_view
    from events import Order

    customer = Entity(name="customer", value_type=ValueType.STRING)
    orders = event_source(name="orders", model=Order, topic="orders", key="customer", timestamp_field="placed_at")


    def worth(events):
        {body}


    spending = stream_view(
        name="spending",
        source=orders,
        entities=[customer],
        udf=worth,
        mode="python",
        udf_columns={{"worth": float}},
        derived={derived},
        aggregations=[aggregation("sum", "worth", name="worth_ever"), aggregation("count", where={where!r}, name="n")],
    )
"""
EVENTS = """
    from typing import Annotated
    from pydantic import AwareDatetime, BaseModel, Field


    class Order(BaseModel):
        customer: str
        placed_at: AwareDatetime
        price: Annotated[float, Field(gt=0)]
        items: Annotated[int, Field(ge=1, le=20)]
        code: Annotated[str, Field({code})]
"""
RIGHT = 'return {"worth": [price * items for price, items in zip(events["price"], events["items"])]}'


def project_of(
    tmp_path: Path, body: str = RIGHT, derived: str = "{}", where: str = "price > 1", code: str = "max_length=40"
) -> Project:
    views = textwrap.dedent(VIEWS).format(body=body, derived=derived, where=where)
    repo = write_repo(tmp_path, {"views.py": views, "events.py": textwrap.dedent(EVENTS).format(code=code)})
    return Project.load(repo.parent)


@pytest.mark.parametrize(
    "body",
    [
        'return {"worth": [price * itmes for price, items in zip(events["price"], events["items"])]}',
        'return {"worth": [event["price"] for event in events]}',
        'return {"wroth": [1.0 for _ in events["price"]]}',
        'return {"worth": ["none of these is a number" for _ in events["price"]]}',
        'return {"worth": [int(code.split("|")[3]) for code in events["code"]]}',
    ],
)
def test_a_function_that_fails_on_every_event_is_refused_with_its_place(tmp_path: Path, body: str) -> None:
    project = project_of(tmp_path, body)
    for command in (plan_changes, apply):
        with pytest.raises(DefinitionError) as raised:
            command(project)
        assert "view 'spending': the udf views:worth fails on all " in raised.value.what
        assert raised.value.what.startswith("feature_repo/views.py:")
        assert "Field(examples=[…])" in str(raised.value.hint)
    assert not project.plan_file.exists()


@pytest.mark.parametrize(
    "body",
    [
        RIGHT,
        # It fails on some of the events that are made, as it may on some of those that come.
        'return {"worth": [float(code) for code in events["code"]]}',
        'import json; return {"worth": [json.loads(code)["a"] for code in events["code"]]}',
        "from datetime import datetime; "
        'return {"worth": [datetime.fromisoformat(code).timestamp() for code in events["code"]]}',
    ],
)
def test_a_function_that_works_on_some_event_passes(tmp_path: Path, body: str) -> None:
    assert not plan_changes(project_of(tmp_path, body)).warnings


def test_examples_of_the_model_say_what_texts_are_like(tmp_path: Path) -> None:
    body = 'return {"worth": [int(code.split("|")[3]) for code in events["code"]]}'
    assert plan_changes(project_of(tmp_path, body, code='examples=["a|b|c|7"]'))


def test_an_expression_of_numbers_that_fails_on_every_event_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"the expression 'items // 0 > 1' fails on all 52 events"):
        plan_changes(project_of(tmp_path, where="items // 0 > 1"))


def test_an_expression_of_texts_that_no_made_text_fits_is_a_warning(tmp_path: Path) -> None:
    where = "strptime(code, '%d of %B in %Y') > TIMESTAMP '2026-01-01'"
    [warning] = plan_changes(project_of(tmp_path, where=where)).warnings
    assert "fails on all 52 events made from events:Order: InvalidInputException" in warning


def test_a_model_of_which_no_event_can_be_made_is_a_warning(tmp_path: Path) -> None:
    [warning] = plan_changes(project_of(tmp_path, code='pattern="^[A-Z]{3}-[0-9]{9}$"')).warnings
    assert "The transforms of spending were not tried" in warning
    assert not plan_changes(
        project_of(tmp_path, code='pattern="^[A-Z]{3}-[0-9]{9}$", examples=["ABC-123456789"]')
    ).warnings
