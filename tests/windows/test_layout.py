"""How a view's features share tiles: one family per slide, one accumulator per function and column in it."""

from __future__ import annotations

import pytest

from headrace.plan import Column, DType, Feature, Source, View
from headrace.windows import ViewLayout, Window

MINUTE, HOUR = 60_000_000, 3_600_000_000
SOURCE = Source(
    name="s",
    topic="t",
    model="m:M",
    key=None,
    timestamp_field="at",
    columns=(
        Column(name="at", dtype=DType.TIMESTAMP),
        Column(name="price", dtype=DType.FLOAT64),
        Column(name="pieces", dtype=DType.INT64),
    ),
)
FEATURES = [
    ("count_1h", "count", "*", HOUR, MINUTE, DType.INT64),
    ("mean_1h", "mean", "price", HOUR, MINUTE, DType.FLOAT64),
    ("mean_2h", "mean", "price", 2 * HOUR, MINUTE, DType.FLOAT64),  # the same accumulator over more tiles
    ("mean_today", "mean", "price", 24 * HOUR, 24 * HOUR, DType.FLOAT64),  # another slide: another family
    ("sum_30m", "sum", "pieces", HOUR // 2, MINUTE, DType.INT64),
    ("sum_price_1h", "sum", "price", HOUR, MINUTE, DType.FLOAT64),  # the same function of another column
    ("last_price", "last", "price", None, None, DType.FLOAT64),
    ("count_ever", "count", "*", None, None, DType.INT64),
]


def view_of(features: list[tuple[str, str, str, int | None, int | None, DType]]) -> View:
    names = ("name", "function", "column", "window_us", "slide_us", "dtype")
    return View(
        name="v",
        source="s",
        entities=(),
        features=tuple(Feature(**dict(zip(names, feature, strict=True))) for feature in features),
    )


LAYOUT = ViewLayout.of(view_of(FEATURES), SOURCE)


def accumulators(layout: ViewLayout, family: int) -> list[tuple[str, str]]:
    return [(one.aggregate.name, one.column) for one in layout.families[family].accumulators]


def test_features_of_one_slide_share_a_family_as_long_as_its_longest_window() -> None:
    assert [(family.slide_us, family.tiles) for family in LAYOUT.families] == [
        (MINUTE, 120),
        (24 * HOUR, 1),
        (None, None),
    ]


def test_features_of_one_function_and_column_share_an_accumulator() -> None:
    assert accumulators(LAYOUT, 0) == [("count", "*"), ("mean", "price"), ("sum", "pieces"), ("sum", "price")]
    assert accumulators(LAYOUT, 1) == [("mean", "price")]
    assert accumulators(LAYOUT, 2) == [("last", "price"), ("count", "*")]
    assert LAYOUT.places["mean_1h"].accumulator == LAYOUT.places["mean_2h"].accumulator == 1


@pytest.mark.parametrize("feature", FEATURES, ids=[feature[0] for feature in FEATURES])
def test_place_leads_to_the_features_accumulator_and_window(
    feature: tuple[str, str, str, int | None, int | None, DType],
) -> None:
    name, function, column, window, slide, dtype = feature
    place = LAYOUT.places[name]
    family = LAYOUT.families[place.family]
    accumulator = family.accumulators[place.accumulator]
    assert family.slide_us == slide
    assert (accumulator.aggregate.name, accumulator.column) == (function, column)
    assert accumulator.aggregate.result_dtype is dtype
    assert place.window == Window(window, slide)


def test_state_columns_follow_the_accumulators() -> None:
    assert [(column.name, column.kind) for column in LAYOUT.families[0].columns] == [
        ("n", "int64"),
        ("n", "int64"),
        ("total", "float64"),
        ("high", "int64"),
        ("low", "int64"),
        ("total", "float64"),
    ]


def test_columns_read_are_named_once_and_everything_is_no_column() -> None:
    assert LAYOUT.columns == ("price", "pieces")
    assert ViewLayout.of(view_of(FEATURES[:1]), SOURCE).columns == ()


def test_same_definition_gives_the_same_layout_also_after_a_roundtrip() -> None:
    again = ViewLayout.of(View.model_validate_json(view_of(FEATURES).model_dump_json()), SOURCE)
    assert again.places == LAYOUT.places
    for ours, theirs in zip(again.families, LAYOUT.families, strict=True):
        assert (ours.slide_us, ours.tiles, ours.columns) == (theirs.slide_us, theirs.tiles, theirs.columns)
    assert [accumulators(again, number) for number in range(3)] == [accumulators(LAYOUT, number) for number in range(3)]


def test_view_without_features_has_no_families() -> None:
    layout = ViewLayout.of(view_of([]), SOURCE)
    assert (layout.families, layout.places, layout.columns) == ((), {}, ())
