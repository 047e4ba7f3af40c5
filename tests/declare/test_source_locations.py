"""Places in files: what errors point at."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from headrace.declare.source_locations import Locator

TEXT = """
class Order:
    pass

def make(name):
    thing = object()
    return thing

one = object()
two: object = object()
if True:
    three = object()
four, five = object(), object()
six = dict(
    name="inner",
    note="here",
)
make(
    name="unbound",
)
"""


def located(tmp_path: Path) -> tuple[Locator, ModuleType]:
    file = tmp_path / "shop" / "things.py"
    file.parent.mkdir()
    file.write_text(TEXT, encoding="utf-8")
    module = ModuleType("things")
    exec(compile(TEXT, str(file), "exec"), vars(module))  # noqa: S102
    locator = Locator(tmp_path / "shop")
    locator.read(file, module)
    return locator, module


def test_an_object_is_where_it_was_assigned(tmp_path: Path) -> None:
    locator, module = located(tmp_path)
    lines = {"one": 9, "two": 10, "three": 12, "four": 13, "five": 13, "six": 14}
    for name, line in lines.items():
        assert str(locator.of(getattr(module, name), "")) == f"shop/things.py:{line}"


def test_a_text_inside_a_place_is_on_its_own_line(tmp_path: Path) -> None:
    locator, module = located(tmp_path)
    place = locator.of(module.six, "")
    assert str(place.at("here")) == "shop/things.py:16"
    assert str(place.at("nowhere")) == "shop/things.py:14"


def test_an_object_that_was_not_assigned_is_where_its_name_was_given(tmp_path: Path) -> None:
    locator, _ = located(tmp_path)
    assert str(locator.of(object(), "unbound", "make")) == "shop/things.py:18"
    assert str(locator.of(object(), "unbound", "other")) == "shop"
    assert str(locator.of(object(), "unknown", "make")) == "shop"


def test_a_class_is_where_it_begins(tmp_path: Path) -> None:
    locator, _ = located(tmp_path)
    assert str(locator.of_class("Order")) == "shop/things.py:2"
    assert str(locator.of_class("Other")) == "shop"
