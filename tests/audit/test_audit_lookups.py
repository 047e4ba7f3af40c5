"""`headrace audit`: what was served is recomputed from the log, and every difference is found."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from typer.testing import CliRunner

from headrace.audit import audit_lookups, since_us
from headrace.audit.report import skew_of
from headrace.cli import app
from headrace.errors import LookupRequestError
from headrace.plan import Plan, write_plan
from tests.audit.conftest import Shop
from tests.audit.edits import edit_by_hand
from tests.worker.shop import PLAN, record

runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})


def test_lookups_that_were_served_right_all_match(shop: Shop) -> None:
    shop.serve("a", "b", "nobody")
    shop.serve("c")
    report = audit_lookups(shop.project)
    assert (report.lookups, report.matches, report.values) == (4, 4, 16)
    assert report.ok
    assert (report.pending, report.other_plan, report.unrecorded) == (0, 0, 0)


def test_record_edited_by_hand_is_found_with_feature_and_size_of_the_skew(shop: Shop) -> None:
    shop.serve("a", "b")
    edit_by_hand(shop.store, "a", 3)
    shop.serve("a", "b")
    report = audit_lookups(shop.project)
    assert (report.lookups, report.matches, report.mismatched, report.values) == (4, 3, 1, 16)
    (skew,) = report.skews
    assert (skew.keys, skew.feature) == ({"shop": "a"}, "shop_sales__pieces_ever")
    assert (skew.served, skew.recomputed, skew.absolute, skew.relative) == (6, 3, 3.0, 1.0)
    (feature,) = report.by_feature()
    assert (feature.mismatches, feature.absolute, feature.relative) == (1, 3.0, 1.0)


def test_command_ends_with_1_on_a_mismatch_and_names_it(shop: Shop) -> None:
    shop.serve("a", "b")
    arguments = ["audit", "--since", "1h", "--project", str(shop.project.root)]
    good = runner.invoke(app, arguments)
    assert good.exit_code == 0
    assert "100% · 2/2 lookups match" in good.output
    edit_by_hand(shop.store, "a", 1)
    shop.serve("a")
    bad = runner.invoke(app, arguments)
    assert bad.exit_code == 1
    assert "66.66% · 2/3 lookups match" in bad.output
    assert "shop_sales:pieces_ever" in bad.output
    told = runner.invoke(app, [*arguments, "--json"])
    assert told.exit_code == 1
    found = json.loads(told.stdout)
    assert (found["ok"], found["lookups"], found["compared"], found["matches"]) == (False, 3, 3, 2)
    assert found["mismatches"][0]["feature"] == "shop_sales__pieces_ever"
    assert found["mismatches"][0]["absolute"] == 1.0
    assert found["features"] == [
        {"feature": "shop_sales__pieces_ever", "mismatches": 1, "absolute": 1.0, "relative": pytest.approx(1 / 3)}
    ]


def test_command_without_recorded_lookups_says_how_to_record_them(shop: Shop) -> None:
    shown = runner.invoke(app, ["audit", "--project", str(shop.project.root)])
    assert shown.exit_code == 0
    assert "No lookup was recorded so far" in shown.output


def test_lookup_command_records_where_the_project_says_so(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["lookup", "--key", "shop=a", "--feature", "shop_sales:*", "--json", "--project", str(shop.project.root)]
    served = runner.invoke(app, asked)
    assert served.exit_code == 0
    assert audit_lookups(shop.project).lookups == 0
    monkeypatch.setenv("HEADRACE_AUDIT_SAMPLE", "1")
    assert runner.invoke(app, asked).exit_code == 0
    assert audit_lookups(shop.project).matches == 1


def test_lookups_are_judged_by_what_they_knew_not_by_what_came_later(shop: Shop) -> None:
    shop.serve("a")
    shop.sell(record(3, "a", 0.5, price=100.0, late=5))
    shop.serve("a")
    report = audit_lookups(shop.project)
    assert (report.matches, report.ok) == (2, True)


def test_lookup_ahead_of_the_log_is_pending_until_the_log_has_caught_up(shop: Shop) -> None:
    pipeline = shop.sell(record(3, "b", 5), logged=False)
    shop.serve("b", "c")
    report = audit_lookups(shop.project)
    assert (report.lookups, report.pending, report.matches, report.ok) == (2, 1, 1, True)
    pipeline.flush()
    report = audit_lookups(shop.project)
    assert (report.pending, report.matches, report.ok) == (0, 2, True)


def test_lookup_of_an_earlier_plan_is_recomputed_by_that_plan(shop: Shop) -> None:
    shop.serve("a")
    renamed = Plan(project="renamed", sources=PLAN.sources, views={})
    write_plan(renamed, shop.project.plan_file)
    report = audit_lookups(shop.project)
    assert (report.lookups, report.matches, report.other_plan) == (1, 1, 0)


def test_lookup_of_a_plan_that_was_not_kept_is_counted_apart(shop: Shop) -> None:
    shop.serve("a")
    write_plan(Plan(project="renamed", sources=PLAN.sources, views={}), shop.project.plan_file)
    for path in (shop.project.state / "plans").iterdir():
        path.unlink()
    report = audit_lookups(shop.project)
    assert (report.lookups, report.other_plan, report.compared, report.share) == (1, 1, 0, None)


def test_since_leaves_out_what_was_served_before(shop: Shop) -> None:
    shop.serve("a")
    between = time.time_ns() // 1000
    shop.serve("a", "b")
    assert audit_lookups(shop.project).lookups == 3
    assert audit_lookups(shop.project, between).lookups == 2
    assert audit_lookups(shop.project, since_us("0s")).lookups == 0


@pytest.mark.parametrize(("text", "us"), [("90s", 90), ("30m", 1800), ("1h", 3600), ("7d", 604800), ("1 w", 604800)])
def test_since_is_a_stretch_of_time(text: str, us: int) -> None:
    now = 10**15
    assert since_us(text, now) == now - us * 1_000_000


@pytest.mark.parametrize("text", ["", "1", "h", "1y", "-1h", "yesterday"])
def test_since_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(LookupRequestError, match="must be a length of time"):
        since_us(text)


@pytest.mark.parametrize(
    ("served", "recomputed", "skew"),
    [
        (11, 10, (1.0, 0.1)),
        (7.5, 5.0, (2.5, 0.5)),
        (3, 0, (3.0, None)),
        (None, 5, (None, None)),
        (5, None, (None, None)),
        (True, False, (None, None)),
        ("nan", 5.0, (None, None)),
        ("a", "b", (None, None)),
        ("2013-01-01T00:01:00Z", datetime(2013, 1, 1, tzinfo=UTC), (60.0, None)),
    ],
)
def test_skew_has_a_size_where_there_is_one(served: Any, recomputed: Any, skew: tuple[Any, Any]) -> None:
    assert skew_of(served, recomputed) == skew
