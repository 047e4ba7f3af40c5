from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest

from headrace.history.entity_index import KeyIndex
from headrace.history.spine_rows import key_name


def index_of(**columns: pa.Array) -> KeyIndex:
    return KeyIndex(pa.table({key_name(name): values for name, values in columns.items()}), list(columns))


def found(keys: KeyIndex, *columns: pa.Array) -> list[int]:
    numbers: list[int] = keys.of([pa.chunked_array([column]) for column in columns]).tolist()
    return numbers


def test_rows_of_one_entity_have_one_number() -> None:
    keys = index_of(city=pa.array(["b", "a", "b"]))
    assert keys.size == 2
    assert keys.key_id.tolist() == [0, 1, 0]
    assert found(keys, pa.array(["a", None, "c", "b"])) == [1, -1, -1, 0]


def test_strings_may_come_as_dictionaries() -> None:
    keys = index_of(city=pa.array(["b", "a"]))
    assert found(keys, pa.array(["c", "a", None, "b", "a"]).dictionary_encode()) == [-1, 1, -1, 0, 1]


def test_pair_must_be_in_the_spine_as_a_pair() -> None:
    keys = index_of(city=pa.array(["a", "b"]), zone=pa.array([1, 2]))
    assert found(keys, pa.array(["a", "a", "b", "b", None]), pa.array([1, 2, 2, None, 1])) == [0, -1, 1, -1, -1]


def test_three_keys_are_told_apart() -> None:
    keys = index_of(a=pa.array([1, 1, 2]), b=pa.array([1, 2, 1]), c=pa.array([7, 7, 7]))
    assert keys.size == 3
    assert found(keys, pa.array([2, 1, 2]), pa.array([1, 2, 2]), pa.array([7, 7, 7])) == [
        keys.key_id[2],
        keys.key_id[1],
        -1,
    ]


@pytest.mark.parametrize(("spine", "event"), [(0.0, -0.0), (-0.0, 0.0), (math.nan, -math.nan)])
def test_doubles_that_are_equal_are_one_entity(spine: Any, event: Any) -> None:
    assert found(index_of(x=pa.array([1.5, spine])), pa.array([event, 1.5])) == [1, 0]
