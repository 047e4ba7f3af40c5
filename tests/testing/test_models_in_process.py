"""Models that no import finds: made by `create_model`, in a function, or several of one name."""

from __future__ import annotations

import gc
from datetime import UTC, datetime
from typing import Any

import pytest
from feast import Entity, ValueType
from pydantic import AwareDatetime, BaseModel, create_model

from headrace import aggregation, event_source, stream_view
from headrace.errors import DefinitionError
from headrace.testing import Testbed

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


class Order(BaseModel):
    shop: str
    at: AwareDatetime
    cents: int


def definitions(model: type[BaseModel], column: str, name: str = "orders") -> list[Any]:
    shop = Entity(name="shop", value_type=ValueType.STRING)
    orders = event_source(name=name, topic=name, model=model, key="shop", timestamp_field="at")
    total = aggregation("sum", column, name="total")
    return [shop, stream_view(name=f"of_{name}", source=orders, entities=[shop], aggregations=[total])]


def total(objects: list[Any], **event: Any) -> Any:
    with Testbed(objects) as bed:
        bed.send("orders", [{"shop": "s", "at": NOON, **event}])
        assert not bed.dead_letters()
        return bed.online(["of_orders:total"], [{"shop": "s"}], at=NOON)["of_orders__total"].to_pylist()[0]


def made_in_a_function() -> list[Any]:
    class Sale(BaseModel):
        shop: str
        at: AwareDatetime
        units: int

    return definitions(Sale, "units")


def made_by_create_model() -> list[Any]:
    return definitions(create_model("Sale", shop=(str, ...), at=(AwareDatetime, ...), units=(int, ...)), "units")


@pytest.mark.parametrize("make", [made_in_a_function, made_by_create_model])
def test_a_model_lives_as_long_as_the_source_that_was_made_with_it(make: Any) -> None:
    objects = make()
    gc.collect()
    assert total(objects, units=3) == 3


def test_two_models_of_one_name_do_not_stand_in_for_each_other() -> None:
    """The second has the name of the first, and that of a class that an import finds."""
    whole = definitions(Order, "cents")
    euros = definitions(create_model("Order", shop=(str, ...), at=(AwareDatetime, ...), euros=(float, ...)), "euros")
    cents = definitions(create_model("Order", shop=(str, ...), at=(AwareDatetime, ...), cents=(float, ...)), "cents")
    assert total(euros, euros=1.5) == 1.5
    assert total(whole, cents=2) == 2
    assert total(cents, cents=2.5) == 2.5
    assert total(euros, euros=1.25) == 1.25


def test_two_sources_of_one_name_and_different_models_are_refused() -> None:
    first = definitions(Order, "cents")
    other = create_model("Order", shop=(str, ...), at=(AwareDatetime, ...), cents=(int, 0))
    second = definitions(other, "cents")
    second[1].name = "another"
    with pytest.raises(DefinitionError, match="two sources are named 'orders'"):
        Testbed([*first, second[1]])
