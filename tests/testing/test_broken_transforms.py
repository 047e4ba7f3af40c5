"""A udf that is broken fails the test that sends events, instead of passing for events without a value."""

from __future__ import annotations

import re
import textwrap
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import TransformError
from headrace.testing import Testbed
from tests.declare.conftest import write_repo

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVENTS = """
    from pydantic import AwareDatetime, BaseModel


    class Order(BaseModel):
        customer: str
        placed_at: AwareDatetime
        items: int
        code: str
"""
VIEWS = """
    from feast import Entity, ValueType
    from headrace import aggregation, event_source, stream_view
    from events import Order

    customer = Entity(name="customer", value_type=ValueType.STRING)
    orders = event_source(name="orders", model=Order, topic="orders", key="customer", timestamp_field="placed_at")


    def shares(events):
        return {"share": [100 / items for items in events["items"]]}


    spending = stream_view(
        name="spending",
        source=orders,
        entities=[customer],
        udf=shares,
        mode="python",
        udf_columns={"share": float},
        aggregations=[
            aggregation("sum", "share", name="share"),
            aggregation("count", where="CAST(code AS INT) > 1", name="n"),
        ],
    )
"""


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = {"events.py": textwrap.dedent(EVENTS), "views.py": textwrap.dedent(VIEWS)}
    return write_repo(tmp_path_factory.mktemp("repo"), files)


def orders(*items: int, code: str = "7") -> list[dict[str, Any]]:
    return [{"customer": "a", "placed_at": NOON, "items": one, "code": code} for one in items]


def test_a_udf_that_fails_on_most_events_fails_the_send_with_its_traceback(repo: Path) -> None:
    with Testbed(repo) as bed:
        with pytest.raises(TransformError) as raised:
            bed.send("orders", orders(0, 0, 5))
        said = str(raised.value)
        assert "spending.share: the udf views:shares failed on 2 of 3 events: ZeroDivisionError: " in said
        assert re.search(r"views\.py:\d+ in .*: return {\"share\": \[100 / items for items", said)
        assert "allow_failures=True" in said


def test_a_udf_that_fails_on_some_events_does_not(repo: Path) -> None:
    with Testbed(repo) as bed:
        bed.send("orders", orders(5, 4, 0))
        assert bed.online(["spending:share"], [{"customer": "a"}], at=NOON)["spending__share"].to_pylist() == [45.0]


def test_failures_may_be_what_a_test_is_about(repo: Path) -> None:
    with Testbed(repo, allow_failures=True) as bed:
        bed.send("orders", orders(0, 0, 5))
        assert bed.online(["spending:share"], [{"customer": "a"}], at=NOON)["spending__share"].to_pylist() == [20.0]


def test_an_expression_that_fails_on_all_of_several_events_fails_the_send_and_one_bad_event_does_not(
    repo: Path,
) -> None:
    with Testbed(repo) as bed:
        bed.send("orders", orders(1, code="abc"))
        with pytest.raises(TransformError, match=r"the expression 'CAST\(code AS INT\) > 1' failed on 3 of 3 events"):
            bed.send("orders", orders(1, 2, code="abc"))
