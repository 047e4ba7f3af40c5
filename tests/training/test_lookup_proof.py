from __future__ import annotations

import json
import math
from typing import Any

import pytest

from headrace import TrainingClient
from headrace.config import Project
from headrace.errors import LookupRequestError
from headrace.log import EventLog
from headrace.plan import write_plan
from tests.training.conftest import MINUTE, PLAN, SOURCE, START_US, VIEW, plan_of, rides, with_one_more


def lookup(minute: float, applied: dict[str, int], city: str = "a", **features: Any) -> dict[str, Any]:
    return {
        "at_us": int(START_US + minute * MINUTE),
        "keys": {"city": city},
        "features": {f"city_rides__{name}": value for name, value in features.items()},
        "evidence": {"city_rides": applied},
        "plan": PLAN.hash,
    }


def test_lookups_that_the_log_confirms_match(project: Project) -> None:
    records = [
        lookup(20, {"0": 20}, n_10m=10, mean_price_10m=1.55, seats_10m=20, last_at="2013-01-01T00:20:00Z"),
        lookup(20, {"0": 15}, n_10m=5, max_price=1.5),
        lookup(20, {}, n_10m=0, mean_price_10m=None, max_price=None, last_at=None),
        lookup(20, {"0": 30, "1": 12}, "b", n_10m=2),
    ]
    report = TrainingClient(project).verify_lookups(json.loads(json.dumps(records)))
    assert report.mismatches == ()
    assert (report.matches, report.values) == (4, 11)


def test_evidence_decides_whatever_the_clocks_did(project: Project) -> None:
    # The ride of minute 20 was known half a minute later, and still this lookup had it.
    report = TrainingClient(project).verify_lookups([lookup(20, {"0": 20}, max_price=2.0)])
    assert report.matches == 1


def test_what_differs_is_reported_with_both_values(project: Project) -> None:
    records = [lookup(20, {"0": 20}, n_10m=10), lookup(20, {"0": 20}, n_10m=11, seats_10m=20)]
    report = TrainingClient(project).verify_lookups(records)
    assert report.matches == 1
    (mismatch,) = report.mismatches
    assert (mismatch.number, mismatch.feature, mismatch.served, mismatch.recomputed) == (1, "city_rides__n_10m", 11, 10)
    assert str(mismatch) == ("lookup 1 (city=a at 2013-01-01T00:20:00Z): city_rides__n_10m: served 11, recomputed 10")


@pytest.mark.parametrize(
    ("served", "same"),
    [
        (1.55, True),
        (1.55 * (1 + 1e-12), True),
        (1.55 * (1 + 1e-6), False),
        (None, False),
        ("high", False),
        ("nan", False),
    ],
)
def test_doubles_match_to_nine_digits(project: Project, served: Any, same: bool) -> None:
    report = TrainingClient(project).verify_lookups([lookup(20, {"0": 20}, mean_price_10m=served)])
    assert report.matches == int(same)


@pytest.mark.parametrize("served", [10.0000001, "10", True, None])
def test_integers_match_exactly(project: Project, served: Any) -> None:
    assert TrainingClient(project).verify_lookups([lookup(20, {"0": 20}, n_10m=served)]).matches == 0


@pytest.mark.parametrize("served", [math.nan, "nan"])
def test_nan_matches_nan(project: Project, served: Any) -> None:
    nan = rides(0, [60]).drop_columns(["price"]).append_column("price", [[math.nan]])
    EventLog(project.log_path, SOURCE).append(nan, {0: 60})
    assert TrainingClient(project).verify_lookups([lookup(61, {"0": 60}, mean_price_10m=served)]).matches == 1


def test_log_that_is_behind_the_lookup_is_the_reason(project: Project) -> None:
    report = TrainingClient(project).verify_lookups([lookup(80, {"0": 75}, n_10m=5), lookup(20, {"0": 20}, n_10m=10)])
    assert report.matches == 1
    assert str(report.mismatches[0]).endswith("it knew rides-0 up to offset 75, and the log has it up to 59")


def test_lookup_of_another_plan_is_not_recomputed(project: Project) -> None:
    record = lookup(20, {"0": 20}, n_10m=10, long_gone=3)
    write_plan(plan_of(with_one_more("city_rides", VIEW)), project.plan_file)
    report = TrainingClient(project).verify_lookups([record])
    assert report.matches == 0
    assert f"served under the plan {PLAN.hash}, and the plan is now" in str(report.mismatches[0])


def test_no_lookups_make_an_empty_report(project: Project) -> None:
    report = TrainingClient(project).verify_lookups([])
    assert (report.matches, report.values, report.mismatches) == (0, 0, ())


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"at_us": 0}, "Lookup 0 has no 'keys'"),
        (lookup(20, {}, n_1h=3), "Lookup 0 has the feature 'city_rides__n_1h', which the plan does not have"),
        ({**lookup(20, {}, n_10m=3), "keys": {}}, "Lookup 0 has 'city_rides__n_10m', but no key 'city'"),
    ],
)
def test_what_is_no_lookup_is_refused(project: Project, record: dict[str, Any], message: str) -> None:
    with pytest.raises(LookupRequestError, match=message):
        TrainingClient(project).verify_lookups([record])
