"""Which source partitions the incarnations of a topic have, and what of them is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.errors import LogError
from headrace.log import Gap, TopicHistory, TopicNotes, topic_history
from headrace.log.log_columns import FIRST_IMPORT
from headrace.state import LocalState

NOW = "2024-05-01T12:00:00+00:00"


def history(partitions: int = 3) -> TopicHistory:
    return TopicHistory.begun("c/1", partitions, {}, NOW)


def gap(at: TopicHistory, partition: int, first: int, last: int) -> Gap:
    return Gap(partition, at.number(partition), first, last, NOW)


def test_a_topic_made_anew_gets_the_numbers_after_those_of_the_one_before() -> None:
    anew = history(3).renewed("c/2", 2, {}, NOW).renewed("d/3", 4, {}, NOW)
    assert [anew.number(partition) for partition in range(4)] == [5, 6, 7, 8]
    assert anew.sealed == range(5)
    assert [anew.place(number) for number in (0, 2, 3, 4, 5)] == [(0, 0), (0, 2), (1, 0), (1, 1), (2, 0)]


def test_a_partition_added_later_never_meets_another_incarnations() -> None:
    anew = history(3).grown(5).renewed("c/2", 2, {}, NOW)
    assert anew.number(0) == 5
    assert anew.grown(9).number(8) == 13


def test_numbers_that_stores_hold_are_not_given_again() -> None:
    assert history(3).renewed("c/2", 2, {}, NOW, used=7).number(0) == 8


def test_imported_partitions_stand_for_none_of_kafkas() -> None:
    assert history().kafka(FIRST_IMPORT) is None
    assert history().place(FIRST_IMPORT) is None


def test_a_topic_made_anew_too_often_is_refused() -> None:
    with pytest.raises(LogError, match="no source partition is left"):
        history(10_000).renewed("c/2", 10_000, {}, NOW)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a loaded machine draws slowly
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 4)), min_size=1, max_size=6))
def test_every_partition_of_every_incarnation_has_a_number_of_its_own(sizes: list[tuple[int, int]]) -> None:
    found = history(sizes[0][0])
    numbers: list[tuple[int, int, int]] = []
    for incarnation, (partitions, added) in enumerate(sizes):
        if incarnation:
            found = found.renewed(f"c/{incarnation}", partitions, {}, NOW)
        found = found.grown(partitions + added)
        for partition in range(partitions + added):
            assert found.kafka(found.number(partition)) == partition
            numbers.append((found.number(partition), incarnation, partition))
    assert [number for number, _, _ in numbers] == list(range(found.size))
    assert [found.place(number) for number, _, _ in numbers] == [(at, partition) for _, at, partition in numbers]
    assert found.lineage == "c/1"


def test_the_next_offset_lies_behind_what_is_logged_and_behind_an_accepted_gap() -> None:
    begun = TopicHistory.begun("c/1", 2, {1: 10}, NOW)
    assert [begun.next_offset(0, None), begun.next_offset(1, None), begun.next_offset(1, 12)] == [0, 10, 13]
    accepted = begun.with_gaps([gap(begun, 0, 20, 25), gap(begun, 0, 26, 26), gap(begun, 1, 10, 11)])
    assert [accepted.next_offset(0, last) for last in (18, 19, 26, 30)] == [19, 27, 27, 31]
    assert accepted.next_offset(1, None) == 12


def test_a_gap_of_a_sealed_partition_moves_nothing_of_the_live_one() -> None:
    begun = history(1)
    anew = begun.with_gaps([gap(begun, 0, 0, 4)]).renewed("c/2", 1, {}, NOW)
    assert anew.next_offset(0, None) == 0
    assert [one.count for one in anew.gaps] == [5]


def test_notes_read_back_as_they_were_written_and_keep_other_topics(tmp_path: Path) -> None:
    notes = TopicNotes(LocalState(tmp_path / "log"))
    begun = TopicHistory.begun("c/1", 2, {1: 10}, NOW)
    rides = begun.with_gaps([gap(begun, 1, 12, 14)]).moved("d/1").renewed("d/2", 2, {}, NOW, newest_us=77)
    notes.update(lambda _: {"rides": rides})
    notes.update(lambda _: {"sales": history()})
    assert notes.read() == {"rides": rides, "sales": history()}
    assert topic_history(LocalState(tmp_path / "log"), "rides") == rides
    assert topic_history(LocalState(tmp_path / "log"), "clicks") is None


def test_notes_that_do_not_read_back_are_refused(tmp_path: Path) -> None:
    (tmp_path / "_topics.json").write_text('{"topics": {"rides": {"incarnations": [], "gaps": []}}}')
    with pytest.raises(LogError, match="cannot be understood"):
        TopicNotes(LocalState(tmp_path)).read()
