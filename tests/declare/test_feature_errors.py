"""Aggregations that cannot work are refused with the file, the view and what to write instead."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Refuse = Callable[..., str]
Where = Callable[..., str]

HOUR = "time_window=timedelta(hours=1)"


@pytest.mark.parametrize(
    ("arguments", "what", "hint"),
    [
        (f"slide_interval=timedelta(minutes=7), {HOUR}", "slide_interval 7m does not divide time_window 1h",
         "slide_interval=timedelta(minutes=6)"),
        (f"slide_interval=timedelta(hours=2), {HOUR}", "slide_interval 2h is longer than time_window 1h",
         "slide_interval=timedelta(hours=1) (tumbling)"),
        (f"slide_interval=-timedelta(minutes=5), {HOUR}", "slide_interval -5m is not a length of time",
         "a positive one that divides 1h"),
        ("time_window=timedelta(0)", "time_window 0s is not a length", "leave it out for a lifetime"),
        ("time_window=-timedelta(hours=1)", "time_window -1h is not a length", "leave it out for a lifetime"),
        ("time_window=timedelta.max", "is not a length that a window can have", "leave it out for a lifetime"),
        ("slide_interval=timedelta(hours=1)", "slide_interval 1h without a time_window", "leave slide_interval out"),
    ],
)  # fmt: skip
def test_windows(feature_refused: Refuse, line_of: Where, arguments: str, what: str, hint: str) -> None:
    message = feature_refused(f'name="made", function="mean", column="price", {arguments}')
    assert message.startswith(f"{line_of('Aggregation(name=')}: view 'spending', feature 'made': ")
    assert what in message
    assert f"\n  → Write {hint}" in message or hint in message.partition("\n  → ")[2]


@pytest.mark.parametrize(
    ("arguments", "what", "hint"),
    [
        ('function="mean", column="prise"', "column 'prise' is not in the source's model",
         "Did you mean 'price'? The model's fields are: customer, shop, "),
        ('function="mean", column="xyz"', "column 'xyz' is not in the source's model",
         "The model's fields are: customer"),
        ('function="mean", column="channel"', "mean of 'channel', which is of type string",
         "time_since_first or decayed_count of it, or mean of one of: shop, price, items, paid."),
        ('function="sum", column="placed_at"', "sum of 'placed_at', which is of type timestamp",
         "count, min, max, last, first, "),
        ('function="meen", column="price"', "function 'meen' is unknown",
         "Did you mean 'mean'? Functions are: count, sum, mean, min, max, last, first, "),
        ('function="MAX", column="price"', "function 'MAX' is unknown", "Did you mean 'max'?"),
        ('function="percent(0.9)", column="price"', "function 'percent(0.9)' is unknown", "Functions are: count"),
        ('column="price"', "it has no function", "Functions are: count"),
        ('function="count"', "count of no column", 'Write column="*"'),
        ('function="mean"', "mean of no column", "Write column=, one of: shop, price, items, paid."),
        ('function="sum", column="*"',
         "sum of '*': only count, rate, time_since_last, time_since_first or decayed_count take it",
         "Name the column: shop, price, items, paid."),
    ],
)  # fmt: skip
def test_functions_and_columns(feature_refused: Refuse, line_of: Where, arguments: str, what: str, hint: str) -> None:
    message = feature_refused(f'name="made", {arguments}')
    assert message.startswith(f"{line_of('Aggregation(name=')}: view 'spending', feature 'made': ")
    assert what in message
    assert hint in message.partition("\n  → ")[2]


@pytest.mark.parametrize("name", ["a__b", "_a", "a_", "a-b", "a:b", "a.b", "1a", "*", "größe"])
def test_names_that_would_make_result_columns_ambiguous(
    feature_refused: Refuse, line_of: Where, refused: Refuse, name: str
) -> None:
    message = feature_refused(f'function="sum", column="price", name="{name}"')
    assert (
        f"{line_of('Aggregation(function')}: view 'spending', feature '{name}': the name '{name}' cannot be used"
        in message
    )
    assert "a column of results is called view__feature. Write another name=." in message
    message = refused(
        f"""
        v = stream_view(
            name="{name}", source=orders, entities=[shop], aggregations=[Aggregation(function="count", column="*")]
        )
        """
    )
    assert f"{line_of('v = ')}: view '{name}': that name cannot be used" in message


def test_a_default_name_can_be_no_name_either(refused: Refuse) -> None:
    events = """
    from pydantic import AwareDatetime, BaseModel

    class Order(BaseModel):
        customer: str
        price__net: float
        placed_at: AwareDatetime
    """
    made = 'aggregations=[Aggregation("price__net", "mean")]'
    message = refused(f'v = stream_view(name="v", source=orders, entities=[customer], {made})', events__py=events)
    assert "feature 'mean_price__net': the name 'mean_price__net' cannot be used" in message
    assert "Write another name=." in message


@pytest.mark.parametrize("other", ["total", "TOTAL"])
def test_a_feature_name_twice_in_a_view(refused: Refuse, line_of: Where, other: str) -> None:
    message = refused(
        f"""
        v = stream_view(
            name="spending",
            source=orders,
            entities=[customer],
            aggregations=[
                Aggregation(function="sum", column="price", name="total"),
                Aggregation(function="sum", column="items", name="{other}"),
            ],
        )
        """
    )
    where = line_of(f'"{other}"') if other == "TOTAL" else line_of('name="total"')
    assert f"{where}: view 'spending': '{other}' is the name of a feature too" in message
    assert "Write another name=." in message


def test_a_feature_named_like_the_join_key(feature_refused: Refuse) -> None:
    message = feature_refused('function="last", column="price", name="customer"')
    assert "view 'spending': 'customer' is the name of a join key too" in message


def test_a_hop_that_does_not_divide_the_window(feature_refused: Refuse) -> None:
    message = feature_refused(
        f'function="sum", column="price", name="made", {HOUR}',
        "enable_tiling=True, tiling_hop_size=timedelta(minutes=7),",
    )
    assert "feature 'made': tiling_hop_size 7m does not divide time_window 1h" in message
    assert "Write tiling_hop_size=timedelta(minutes=6)." in message


def test_a_hop_as_long_as_a_window_which_feast_refuses(feature_refused: Refuse, line_of: Where) -> None:
    message = feature_refused(
        'function="sum", column="price", name="made", time_window=timedelta(minutes=5)', "enable_tiling=True,"
    )
    assert message.startswith(f"{line_of('v = ')}: importing it failed: ValueError: tiling_hop_size")
    assert "Write a tiling_hop_size shorter than every time_window" in message
