"""What was used of late is known, and what was not is forgotten."""

from __future__ import annotations

from headrace.records.two_generation_cache import Recent


def test_value_that_is_asked_for_stays_however_many_others_come() -> None:
    recent: Recent[str, int] = Recent(10)
    recent.put({"hot": 1, "cold": 2}, 2)
    for number in range(100):
        assert recent.found(["hot"]) == [1], number
        recent.put({f"other {number}": 3}, 1)
    assert recent.found(["cold", "hot"]) == [None, 1]


def test_no_more_is_kept_than_two_generations() -> None:
    recent: Recent[int, int] = Recent(10)
    for number in range(1000):
        recent.put({number: 1}, 1)
    known = [value for value in recent.found(range(1000)) if value]
    assert 10 <= len(known) <= 22


def test_later_value_wins_whichever_generation_the_earlier_one_is_in() -> None:
    recent: Recent[str, str] = Recent(3)
    recent.put({"a": "old"}, 1)
    recent.weigh(5)
    recent.put({"a": "new"}, 1)
    assert recent.found(["a", "never"]) == ["new", None]
    recent.weigh(5)
    assert recent.found(["a"]) == ["new"]
    recent.clear()
    assert recent.found(["a"]) == [None]
