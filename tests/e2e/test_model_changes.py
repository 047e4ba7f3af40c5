"""Every change of an event model works, from log to lookups, history, audit and refill, or is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.declare import apply
from headrace.errors import DefinitionError, LogError
from tests.e2e.model_changes import BASE, CHANGES, FEATURES, FIELDS, LATE, WEB, Rides, counted, same


@pytest.fixture
def rides(tmp_path: Path) -> Rides:
    made = Rides(tmp_path)
    made.write(FIELDS, FEATURES)
    apply(made.project)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("change", [name for name, case in CHANGES.items() if not case.refused])
def test_change_of_a_model_works_everywhere(rides: Rides, change: str) -> None:
    case = CHANGES[change]
    rides.load(case.logged)
    before = rides.lookup()
    assert before["rides"] == 2
    rides.write(case.fields, case.features, case.more, case.before)
    apply(rides.project)
    # The version before is served until the new one is built, also with events of the new model.
    assert rides.lookup() == before
    rides.load([case.late])
    rides.follow()
    assert rides.lookup()["rides"] == 3
    rides.audited()
    rides.backfill()
    found = rides.lookup()
    assert same(found, case.expected)
    assert same(rides.history(), case.expected)
    rides.audited()
    rides.rebuild()
    assert rides.lookup() == found


@pytest.mark.slow
@pytest.mark.parametrize("change", [name for name, case in CHANGES.items() if case.refused])
def test_change_that_cannot_work_is_refused_and_leaves_everything_as_it_was(rides: Rides, change: str) -> None:
    case = CHANGES[change]
    rides.load(case.logged)
    before, plan = rides.lookup(), rides.project.plan_file.read()
    rides.write(case.fields, case.features, case.more, case.before)
    with pytest.raises(DefinitionError, match=case.refused) as refused:
        apply(rides.project)
    assert "Nothing was applied" in str(refused.value)
    assert rides.project.plan_file.read() == plan
    assert rides.lookup() == before == rides.history()
    rides.write(FIELDS, FEATURES)  # the way back
    assert not apply(rides.project).diff
    rides.load([LATE])
    assert rides.lookup()["rides"] == 3


@pytest.mark.parametrize("change", [name for name, case in CHANGES.items() if case.refused])
def test_any_change_works_where_nothing_is_logged_yet(rides: Rides, change: str) -> None:
    case = CHANGES[change]
    rides.write(case.fields, case.features, case.more, case.before)
    assert apply(rides.project).diff
    rides.write(FIELDS, FEATURES)
    assert apply(rides.project).diff


def test_default_that_changes_is_what_earlier_events_have_from_then_on(rides: Rides) -> None:
    rides.load(BASE)
    for default, web in (("web", 2), ("app", 0), ("web", 2)):
        rides.write(FIELDS + f'channel: str = "{default}"\n', WEB)
        apply(rides.project)
        rides.backfill()
        assert rides.lookup() == rides.history() == {"rides": 2, "web": web}
    rides.audited()


def test_field_that_was_away_for_a_while_is_refused_without_a_default_and_has_it_with_one(rides: Rides) -> None:
    rides.load(BASE)
    rides.write(FIELDS.replace("code: str\n", ""), FEATURES)
    apply(rides.project)
    rides.load([{"n": 1}])
    rides.write(FIELDS, FEATURES)
    with pytest.raises(DefinitionError, match=r"Ride\.code has no default .* and 1 logged events are without it"):
        apply(rides.project)
    rides.write(FIELDS.replace("code: str", 'code: str = "z"'), counted('aggregation("last", "code", name="last")'))
    apply(rides.project)
    rides.backfill()
    assert rides.lookup() == rides.history() == {"rides": 3, "last": "z"}


def test_float_may_become_an_integer_again_as_long_as_nothing_was_logged_with_it(rides: Rides) -> None:
    rides.load(BASE)
    rides.write(FIELDS.replace("n: int", "n: float"), FEATURES)
    apply(rides.project)
    rides.write(FIELDS, FEATURES)
    apply(rides.project)
    assert rides.lookup() == {"rides": 2, "ns": 11}
    rides.write(FIELDS.replace("n: int", "n: float"), FEATURES)
    apply(rides.project)
    rides.load([{**LATE, "n": 0.5}])
    rides.write(FIELDS, FEATURES)
    with pytest.raises(DefinitionError, match=r"Ride\.n is int64 now, and logged events hold double"):
        apply(rides.project)


def test_store_is_not_emptied_where_the_log_cannot_fill_it_again(rides: Rides) -> None:
    rides.load(BASE)
    before = rides.lookup()
    (file,) = (rides.project.log_path / "rides").rglob("part-*.parquet")
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    with pytest.raises(LogError, match="does not read"):
        rides.rebuild()
    assert rides.lookup() == before
    file.write_bytes(whole)
    rides.rebuild()
    assert rides.lookup() == before
