"""An answer as Python values, Arrow, pandas and JSON: types, names and order."""

from __future__ import annotations

import json
import math
import pickle
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headrace.lookup import FeatureClient, OnlineFeatures
from headrace.lookup.response import Block, FeatureValues
from headrace.stores import OnlineStore
from tests.lookup.conftest import EPOCH, PLAN, at, fill, order

FEATURES = ["shops:last_gift", "shops:last_note", "shops:newest", "shops:mean_price_60", "shops:max_pieces_60"]


@pytest.fixture
def answer(store: OnlineStore, client: FeatureClient) -> OnlineFeatures:
    fill(store, order(5, gift=False, note="ü", price=2.5, pieces=2**62), order(6, shop="b", price=None, pieces=None))
    rows: dict[str, Any] = {"shop": ["a", "b", "never"], "buyer": np.array([7, 7, 7])}
    return client.get_online_features([*FEATURES, "desk"], rows)


COLUMNS: dict[str, list[Any]] = {
    "shop": ["a", "b", "never"],
    "buyer": [7, 7, 7],
    "shops__last_gift": [False, None, None],
    "shops__last_note": ["ü", None, None],
    "shops__newest": [at(5), at(6), None],
    "shops__mean_price_60": [2.5, None, None],
    "shops__max_pieces_60": [2**62, None, None],
    "refunds__refunds_ever": [0, 0, 0],
    "shops__count_60": [1, 1, 0],
    "pairs__count_60": [1, 1, 0],
}


def test_dict_has_keys_and_then_features_in_the_order_asked(answer: OnlineFeatures) -> None:
    columns = answer.to_dict()
    assert list(columns) == list(COLUMNS)
    assert columns == COLUMNS
    for values in columns.values():
        assert {type(value).__module__ for value in values} <= {"builtins", "datetime"}
    assert [type(value) for value in columns["shops__last_gift"]] == [bool, type(None), type(None)]


def test_answer_may_be_pickled(answer: OnlineFeatures) -> None:
    copied = pickle.loads(pickle.dumps(answer))  # noqa: S301 our own bytes
    assert copied.to_dict() == answer.to_dict()
    assert copied.records() == answer.records()


def test_arrow_has_the_plans_types_whatever_the_values(answer: OnlineFeatures, client: FeatureClient) -> None:
    table = answer.to_arrow()
    assert table.to_pydict() == COLUMNS
    types = {name: kind for name, kind in zip(table.schema.names, table.schema.types, strict=True) if "__" in name}
    utc = pa.timestamp("us", "UTC")
    expected = [pa.bool_(), pa.string(), utc, pa.float64(), pa.int64(), pa.int64(), pa.int64(), pa.int64()]
    assert list(types.values()) == expected
    nothing = client.get_online_features([*FEATURES, "desk"], [{"shop": "never", "buyer": 1}])
    assert nothing.to_arrow().schema.types[2:] == expected


def test_data_frame_has_the_same_columns(answer: OnlineFeatures) -> None:
    frame = answer.to_df()
    assert list(frame.columns) == list(COLUMNS)
    assert frame["shop"].tolist() == COLUMNS["shop"]
    assert frame["shops__count_60"].tolist() == [1, 1, 0]
    assert frame["shops__mean_price_60"].isna().tolist() == [False, True, True]
    assert str(frame["shops__newest"].dt.tz) == "UTC"


def test_records_are_json_with_status_freshness_and_evidence(answer: OnlineFeatures) -> None:
    first, second, third = json.loads(json.dumps(answer.records(), allow_nan=False))
    assert first == {
        "at": "1970-01-01T00:00:00.000006Z",
        "at_us": 6,
        "keys": {"shop": "a", "buyer": 7},
        "features": {
            "shops__last_gift": False,
            "shops__last_note": "ü",
            "shops__newest": "1970-01-01T00:00:00.000005Z",
            "shops__mean_price_60": 2.5,
            "shops__max_pieces_60": 2**62,
            "refunds__refunds_ever": 0,
            "shops__count_60": 1,
            "pairs__count_60": 1,
        },
        "views": {
            "shops": {"status": "present", "newest_event": "1970-01-01T00:00:00.000005Z"},
            "refunds": {"status": "unknown_key", "newest_event": None},
            "pairs": {"status": "present", "newest_event": "1970-01-01T00:00:00.000005Z"},
        },
        "evidence": {"shops": {"0": 0}, "refunds": {}, "pairs": {"0": 0}},
        "plan": PLAN.hash,
    }
    assert second["evidence"]["shops"] == {"0": 1}
    assert third["keys"] == {"shop": "never", "buyer": 7}
    assert list(first["features"]) == [name for name in COLUMNS if "__" in name]


@pytest.mark.parametrize(("price", "shown"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")])
def test_numbers_that_json_has_not_are_written_as_text(
    store: OnlineStore, client: FeatureClient, price: float, shown: str
) -> None:
    fill(store, order(5, price=price))
    answer = client.get_online_features(["windows:max_price_60"], [{"shop": "a", "score": np.float64(price)}])
    (record,) = json.loads(json.dumps(answer.records(), allow_nan=False))
    assert record["features"] == {"windows__max_price_60": shown}
    assert record["keys"] == {"shop": "a", "score": shown}
    assert str(answer.to_dict()["windows__max_price_60"][0]) == shown
    assert str(answer.to_arrow()["windows__max_price_60"][0].as_py()) == shown


def test_keys_of_numpy_and_times_are_json_too(store: OnlineStore, client: FeatureClient) -> None:
    fill(store, order(5))
    rows: dict[str, Any] = {"buyer": np.array([7]), "member": np.array([True]), "day": [EPOCH]}
    answer = client.get_online_features(["buyers:count_60", "members:count_60", "days:count_60"], rows)
    (record,) = json.loads(json.dumps(answer.records()))
    assert record["keys"] == {"buyer": 7, "member": True, "day": "1970-01-01T00:00:00Z"}
    assert list(record["features"].values()) == [1, 1, 1]


def test_lists_are_lists_of_python_values() -> None:
    from headrace.events.columns import Values
    from headrace.plan import DType

    found: dict[str, tuple[DType, list[Any], list[Any]]] = {
        "flags": (DType.BOOL_LIST, [[1, 0], [], []], [[True, False], [], None]),
        "times": (DType.TIMESTAMP_LIST, [[0, 5], [7], []], [[at(0), at(5)], [at(7)], None]),
        "prices": (DType.FLOAT64_LIST, [[1.5, math.nan], [2.0], []], [[1.5, "nan"], [2.0], None]),
    }
    values = {name: np.empty(3, object) for name in found}
    for name, (_, computed, _) in found.items():
        for row, one in enumerate(computed):
            values[name][row] = one
    valid = np.array([True, True, False])
    answer = OnlineFeatures(
        at_us=0,
        plan_hash="",
        topics={},
        entity_rows=[{}, {}, {}],
        dtypes={name: dtype for name, (dtype, _, _) in found.items()},
        values={name: Values(data, valid) for name, data in values.items()},
        views={},
    )
    shown = answer.to_dict()
    assert shown["flags"] == found["flags"][2]
    assert [type(one) for one in shown["flags"][0]] == [bool, bool]
    assert shown["times"] == found["times"][2]
    table = answer.to_arrow()
    assert table.schema.field("times").type == pa.list_(pa.timestamp("us", "UTC"))
    assert table["flags"].to_pylist() == found["flags"][2]
    assert [row["features"]["prices"] for row in answer.records()] == found["prices"][2]
    assert answer.records()[0]["features"]["times"] == ["1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000005Z"]
    json.dumps(answer.records(), allow_nan=False)


def test_values_are_cut_out_by_name_and_made_as_lists_in_the_order_asked() -> None:
    blocks = [
        Block((("b",), ("a", "twin")), np.array([1, 2, 3, 4]), np.array([True, False, True, True])),
        Block((("flag",),), np.array([0, 1]), np.array([True, True])),
    ]
    values = FeatureValues({"a": None, "flag": bool, "b": None, "twin": None}, blocks)
    assert list(values) == ["a", "flag", "b", "twin"]
    assert len(values) == 4
    assert [column.tolist() for column in values["a"]] == [[2, 4], [False, True]]
    lists = values.lists()
    assert list(lists.items()) == [("a", [None, 4]), ("flag", [False, True]), ("b", [1, 3]), ("twin", [None, 4])]
    assert lists["a"] is not lists["twin"]
    with pytest.raises(KeyError):
        values["c"]
