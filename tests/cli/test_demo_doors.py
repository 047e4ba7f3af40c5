"""The demo's doors: what counts as a value that differs."""

from __future__ import annotations

import math

import pytest

from headrace.cli.demo_doors import n_differing


@pytest.mark.parametrize(
    ("value", "other"), [(0.0, -0.0), (1, 1.0), (None, math.nan), (2**53, 2**53 + 1), ("1", 1), (0.1, 0.1 + 2**-56)]
)
def test_values_that_are_alike_but_not_the_same_differ(value: object, other: object) -> None:
    assert n_differing({"s": {"v__f": [5, value]}}, {"s": {"v__f": [5, other]}}) == 1


def test_equal_values_do_not_differ() -> None:
    columns = {"v__f": [math.nan, None, -0.0, "ü", [1, None]]}
    assert n_differing({"s": columns}, {"s": {"v__f": [float("nan"), None, -0.0, "ü", [1, None]]}}) == 0


def test_a_feature_that_a_door_leaves_out_is_not_passed_over() -> None:
    with pytest.raises(KeyError):
        n_differing({"s": {"v__f": [1]}}, {"s": {}})
