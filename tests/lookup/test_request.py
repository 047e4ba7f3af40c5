"""Rows of join keys: the shapes that are read, and those that are refused with what to write instead."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from enum import Enum
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from headrace.errors import LookupRequestError
from headrace.lookup import FeatureClient, Status
from headrace.lookup.request import entity_columns
from headrace.plan import Column, DType, View
from headrace.stores import OnlineStore
from tests.lookup.conftest import fill, order


class Shop(str, Enum):  # noqa: UP042 there are such enums
    """No StrEnum: its str() is not its value."""

    A = "a"


NOON = datetime(2013, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def filled(store: OnlineStore, client: FeatureClient) -> FeatureClient:
    fill(store, order(1, shop="a", buyer=7, member=True, day=NOON), order(2, shop="a", buyer=8, member=False))
    fill(store, order(3, shop="ü", buyer=7, member=True, day=NOON), partition=1)
    return client


def counts(client: FeatureClient, view: str, entity_rows: Any) -> list[int]:
    found: list[int] = client.get_online_features([f"{view}:count_60"], entity_rows).to_dict()[f"{view}__count_60"]
    return found


def test_rows_or_columns_mean_the_same(filled: FeatureClient) -> None:
    rows = [{"shop": "a", "buyer": 7}, {"shop": "ü", "buyer": 7}, {"shop": "ü", "buyer": 8}]
    columns = {"shop": ["a", "ü", "ü"], "buyer": [7, 7, 8]}
    assert counts(filled, "pairs", rows) == counts(filled, "pairs", columns) == [1, 1, 0]
    assert counts(filled, "pairs", tuple(rows)) == [1, 1, 0]
    frame = pd.DataFrame(columns)
    assert counts(filled, "pairs", frame.to_dict("records")) == [1, 1, 0]
    assert counts(filled, "pairs", {name: frame[name] for name in frame}) == [1, 1, 0]


def test_frames_mean_the_same_as_rows(filled: FeatureClient) -> None:
    columns = {"shop": ["a", "ü", "ü"], "buyer": [7, 7, 8]}
    frame, table = pd.DataFrame(columns), pa.table(columns)
    views = table.set_column(0, "shop", pa.array(columns["shop"], pa.string_view()))

    class Streams:
        """A frame of another library, polars' among them."""

        def __arrow_c_stream__(self, schema: Any = None) -> Any:
            return views.__arrow_c_stream__(schema)

    kinds: list[Any] = [
        frame,
        frame.astype({"shop": "category", "buyer": "Int64"}),
        frame.set_axis([5, 5, 1]),
        table,
        table.to_batches()[0],
        views,
        table.set_column(0, "shop", table.column("shop").dictionary_encode()),
        Streams(),
        {"shop": table.column("shop"), "buyer": table.column("buyer").combine_chunks()},
        {"shop": frame["shop"], "buyer": frame["buyer"].to_numpy()},
        [{"shop": np.str_(shop), "buyer": np.int32(buyer)} for shop, buyer in zip(*columns.values(), strict=True)],
    ]
    for kind in kinds:
        assert counts(filled, "pairs", kind) == [1, 1, 0]
        assert (
            filled.get_online_features(["pairs:count_60"], kind).to_arrow().column("shop").to_pylist()
            == columns["shop"]
        )
    with pytest.raises(LookupRequestError, match="Row 0 of entity_rows has no 'shop'"):
        counts(filled, "pairs", frame.set_index("shop"))


def test_feature_service_may_be_given_itself(filled: FeatureClient) -> None:
    def service(**views: list[str]) -> Any:
        made = [
            SimpleNamespace(name=view, features=[SimpleNamespace(name=one) for one in of]) for view, of in views.items()
        ]
        return SimpleNamespace(name="desk", feature_view_projections=made)

    desk = service(refunds=["refunds_ever"], shops=["count_60"], pairs=["count_60"])
    rows = [{"shop": "a", "buyer": 7}]
    by_name = filled.get_online_features("desk", rows).to_dict()
    assert filled.get_online_features(desk, rows).to_dict() == by_name
    assert filled.get_online_features([desk, "shops:count_60"], rows).to_dict() == by_name
    with pytest.raises(LookupRequestError, match=r"(?s)has other features of 'shops' than.*headrace apply"):
        filled.get_online_features(service(shops=["other"]), rows)


@pytest.mark.parametrize("wrap", [list, tuple, np.array, lambda values: np.array(values, object), pd.Series])
def test_columns_may_be_of_numpy_and_pandas(filled: FeatureClient, wrap: Callable[[list[Any]], Any]) -> None:
    assert counts(filled, "pairs", {"shop": wrap(["a", "ü"]), "buyer": wrap([7, 7])}) == [1, 1]
    assert counts(filled, "members", {"member": wrap([True, False])}) == [2, 1]


@pytest.mark.parametrize(
    ("view", "row"),
    [
        ("buyers", {"buyer": np.int64(8)}),
        ("buyers", {"buyer": np.int8(8)}),
        ("buyers", {"buyer": np.array(8)}),
        ("members", {"member": np.False_}),
        ("pairs", {"shop": np.str_("a"), "buyer": np.uint64(8)}),
        ("pairs", {"shop": Shop.A, "buyer": 8}),
    ],
)
def test_scalars_of_numpy_and_enums_of_text_are_their_values(
    filled: FeatureClient, view: str, row: dict[str, Any]
) -> None:
    assert counts(filled, view, [row]) == [1]


def test_entity_may_be_a_time(filled: FeatureClient) -> None:
    days = [NOON, pd.Timestamp(NOON), NOON.replace(hour=13)]
    assert counts(filled, "days", {"day": days}) == [2, 2, 0]
    naive = NOON.replace(tzinfo=None)
    with pytest.raises(LookupRequestError, match="day=2013-01-01T12:00:00, which has no time zone"):
        counts(filled, "days", [{"day": naive}])


def test_numbers_and_texts_that_look_alike_are_other_keys(filled: FeatureClient) -> None:
    with pytest.raises(LookupRequestError, match=r"buyer='7'(?s:.*)keyed by int64 values(?s:.*)Python int"):
        counts(filled, "buyers", [{"buyer": "7"}])


ON_DAYS = View(name="on", source="orders", entities=(Column(name="on", dtype=DType.DATE),), features=())


@pytest.mark.parametrize(
    "rows",
    [
        [{"on": date(1969, 12, 31)}],
        {"on": np.array(["1969-12-31"], "datetime64[D]")},
        pa.table({"on": [date(1969, 12, 31)]}),
        pd.DataFrame({"on": [date(1969, 12, 31)]}),
    ],
)
def test_dates_are_keys_in_any_shape_of_rows(rows: Any) -> None:
    assert entity_columns(rows, [ON_DAYS])[1] == {"on": [b"[-1]"]}


@pytest.mark.parametrize("given", [NOON, datetime(2013, 1, 1), "2013-01-01", 15706])  # noqa: DTZ001
def test_what_is_no_date_is_no_key_of_dates(given: Any) -> None:
    with pytest.raises(LookupRequestError, match=r"keyed by date values(?s:.*)Python date"):
        entity_columns([{"on": given}], [ON_DAYS])


@pytest.mark.parametrize(
    ("view", "row", "message"),
    [
        ("pairs", {"shop": "a"}, r"Row 1 of entity_rows has no 'buyer'(?s:.*)Give every row: shop, buyer"),
        ("pairs", {"shop": None, "buyer": 7}, r"Row 1 of entity_rows has no 'shop'"),
        ("pairs", {}, r"Row 1 of entity_rows has no 'shop'"),
        ("pairs", {"shop": 7, "buyer": 7}, r"Row 1 (?s:.*)shop=7(?s:.*)string values(?s:.*)Python str"),
        ("pairs", {"shop": b"a", "buyer": 7}, r"shop=b'a'"),
        ("pairs", {"shop": ["a"], "buyer": 7}, r"shop=\['a'\]"),
        ("pairs", {"shop": np.array(["a", "b"]), "buyer": 7}, r"shop=array"),
        ("pairs", {"shop": float("nan"), "buyer": 7}, r"shop=nan"),
        ("buyers", {"buyer": 7.0}, r"buyer=7\.0"),
        ("buyers", {"buyer": True}, r"buyer=True"),
        ("buyers", {"buyer": pd.NA}, r"buyer=<NA>"),
        ("members", {"member": 1}, r"member=1(?s:.*)bool values"),
        ("days", {"day": "2013-01-01"}, r"day='2013-01-01'(?s:.*)Python datetime"),
        ("days", {"day": NOON.date()}, r"day=datetime\.date"),
    ],
)
def test_row_that_leaves_out_a_key_or_gives_a_wrong_one_is_named(
    filled: FeatureClient, view: str, row: dict[str, Any], message: str
) -> None:
    good = {"shop": "a", "buyer": 7, "member": True, "day": NOON}
    with pytest.raises(LookupRequestError, match=message):
        counts(filled, view, [good, row])


@pytest.mark.parametrize(
    ("entity_rows", "message"),
    [
        ({"shop": ["a", "b"], "buyer": [7]}, r"differ in length: \{'shop': 2, 'buyer': 1\}"),
        ({"shop": "ab", "buyer": [7, 8]}, r"shop='ab', one value where a column(?s:.*)\[\{"),
        ({"shop": "a", "buyer": 7}, r"shop='a', one value"),
        ({"shop": ["a"], "buyer": 7}, r"buyer=7, one value"),
        (["a"], r"no mapping"),
        ([7], r"no mapping"),
        ("a", r"no mapping"),
    ],
)
def test_entity_rows_of_another_shape_are_refused_with_the_right_ones(
    filled: FeatureClient, entity_rows: Any, message: str
) -> None:
    with pytest.raises(LookupRequestError, match=message) as caught:
        counts(filled, "pairs", entity_rows)
    assert caught.value.hint


@pytest.mark.parametrize("entity_rows", [[], {}, {"shop": []}, ()])
def test_no_rows_are_no_answers(filled: FeatureClient, entity_rows: Any) -> None:
    answer = filled.get_online_features(["shops:*", "refunds:*"], entity_rows)
    assert set(map(tuple, answer.to_dict().values())) == {()}
    assert answer.records() == []
    assert answer.views["shops"].status == []
    assert answer.to_arrow().num_rows == 0
    assert len(answer.to_df()) == 0


def test_columns_that_are_no_keys_are_carried_along(filled: FeatureClient) -> None:
    rows: list[dict[str, Any]] = [{"shop": "a", "request": 1}, {"buyer": 3, "shop": "never"}]
    answer = filled.get_online_features(["shops:count_60"], rows)
    assert answer.to_dict() == {
        "shop": ["a", "never"],
        "request": [1, None],
        "buyer": [None, 3],
        "shops__count_60": [2, 0],
    }
    assert answer.views["shops"].status == [Status.PRESENT, Status.UNKNOWN_KEY]


def test_rows_of_an_answer_are_what_was_asked_whatever_happens_to_that_afterwards(filled: FeatureClient) -> None:
    rows: list[dict[str, Any]] = [{"shop": "a", "request": 1}, {"shop": "ü", "request": 2}]
    columns: dict[str, list[Any]] = {"shop": ["a", "ü"], "request": [1, 2]}
    asked: list[Any] = [rows, columns]
    answers = [filled.get_online_features(["shops:count_60"], one) for one in asked]
    rows[0]["shop"] = columns["shop"][0] = "never"
    for answer in answers:
        answer.to_dict()["shop"][0] = "never"
        assert answer.to_dict()["shop"] == ["a", "ü"]
        assert answer.entity_rows == [{"shop": "a", "request": 1}, {"shop": "ü", "request": 2}]
        assert (len(answer.entity_rows), answer.entity_rows[1]["request"]) == (2, 2)
