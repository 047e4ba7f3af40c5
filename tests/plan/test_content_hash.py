"""A field that was added later does not change the hash of what was written before it."""

from __future__ import annotations

from pathlib import Path

from headrace.plan import read_plan
from headrace.state import LocalState
from tests.plan.examples import PLAN

WRITTEN = Path(__file__).with_name("plan_before_formats.json")
"""Written by the last version whose sources named no format.

It has a column `format` of type json, to be told from the field.
"""


def test_plan_written_before_sources_named_a_format_still_loads_with_its_hashes() -> None:
    plan = read_plan(LocalState(WRITTEN.parent).file(WRITTEN.name))
    assert plan.hash == "6afcc2af7ca2832c"
    assert plan.views["v"].hash == "a3143c4667bcd680"
    assert plan.sources["s"].format == "json"
    assert "format" in (plan.views["v"].input or plan).model_dump()["columns"]


def test_hashes_are_those_of_earlier_versions() -> None:
    assert PLAN.hash == "4a011725171506f4"
    assert {name: view.hash for name, view in PLAN.views.items()} == {
        "shops": "d6e13845a088e184",
        "buyers": "6983acb6a41df90e",
    }


def test_another_format_is_another_plan() -> None:
    orders = PLAN.sources["orders"].model_copy(update={"format": "avro"})
    other = PLAN.model_copy(update={"sources": {**PLAN.sources, "orders": orders}})
    assert other.hash != PLAN.hash
