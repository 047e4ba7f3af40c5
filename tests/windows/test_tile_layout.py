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


def columns_of(layout: ViewLayout, family: int) -> list[tuple[str, str]]:
    return [(column.name, column.kind) for column in layout.families[family].columns]


def test_state_columns_follow_the_accumulators_and_are_kept_once() -> None:
    assert columns_of(LAYOUT, 0) == [
        ("n", "int64"),  # of all events
        ("n", "int64"),  # of the prices
        ("total", "float64"),  # of the prices, for mean and sum
        ("high", "int64"),
        ("low", "int64"),
    ]
    assert LAYOUT.families[0].slots == ((0,), (1, 2), (3, 4), (2,))
    assert LAYOUT.families[0].made_by == ((0, 0), (1, 0), (1, 1), (2, 0), (2, 1))


def test_only_accumulators_of_one_column_and_filter_share() -> None:
    features = [
        feature("a", "count", "price"),
        feature("b", "mean", "price"),
        feature("c", "min", "price"),
        feature("d", "mean", "pieces"),
        feature("e", "mean", "price", where="is_big"),
        feature("f", "var_pop", "price"),
        feature("g", "stddev_samp", "price"),
        feature("h", "skew", "price"),
    ]
    source = SOURCE.model_copy(update={"columns": (*SOURCE.columns, Column(name="is_big", dtype=DType.BOOL))})
    (family,) = ViewLayout.of(View(name="v", source="s", entities=(), features=tuple(features)), source).families
    assert family.slots == (
        (0,),  # count: n
        (0, 1),  # mean: n, total
        (0, 2),  # min: n, value
        (3, 4, 5),  # mean of pieces: n, high, low
        (6, 7),  # mean of big prices: n, total
        (0, 8, 9),  # var_pop: n, mean, m2
        (0, 8, 9),
        (0, 8, 9, 10),  # skew: and m3
    )
    assert [number for number, _ in family.merged_alone] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert family.merged_together == ((5, (8, 9)), (7, (10,)))


def feature(name: str, function: str, column: str, where: str | None = None) -> Feature:
    return Feature(
        name=name,
        function=function,
        column=column,
        window_us=HOUR,
        slide_us=MINUTE,
        dtype=DType.FLOAT64,
        where=where,
    )


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
