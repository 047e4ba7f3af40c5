"""What a worker may go on with by itself, and what a person has to say yes to."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.errors import TopicError
from headrace.log import TopicHistory
from headrace.log.log_columns import FIRST_IMPORT
from headrace.worker.topic_identity import NOTHING_ACCEPTED, Accept, BrokerTopic, Missing, Stored, gap_error, settled

NOW = "2024-05-01T12:00:00+00:00"
BEGUN = TopicHistory.begun("c/1", 2, {}, NOW)
READ = Stored({0: 19, 1: 4}, {0: 19, 1: 4}, {0: 500, 1: 700})
SAID_YES = Accept(gap=True, new_topic=True, cluster=False)


def broker(identity: str = "c/1", begins: tuple[int, ...] = (0, 0), ends: tuple[int, ...] = (20, 5)) -> BrokerTopic:
    return BrokerTopic(identity, dict(enumerate(begins)), dict(enumerate(ends)))


def settle(
    found: BrokerTopic,
    stored: Stored = READ,
    accept: Accept = NOTHING_ACCEPTED,
    history: TopicHistory = BEGUN,
    *,
    is_embedded: bool = False,
) -> TopicHistory:
    return settled("rides", history, found, stored, accept, is_embedded=is_embedded, now=NOW)


def test_the_same_topic_goes_on_as_it_is() -> None:
    assert settle(broker()) is not None
    assert settle(broker()) == BEGUN


def test_new_partitions_are_noted() -> None:
    assert settle(broker(begins=(0, 0, 0), ends=(20, 5, 1))).live.partitions == 3


@pytest.mark.parametrize("accept", [NOTHING_ACCEPTED, Accept(gap=True), Accept(cluster=True)])
def test_a_topic_made_anew_in_the_same_cluster_wants_consent_to_that(accept: Accept) -> None:
    with pytest.raises(TopicError, match="not the one") as caught:
        settle(broker("c/2"), accept=accept)
    assert "--accept-new-topic" in str(caught.value)
    assert "headrace reset" in str(caught.value)
    assert "--accept-cluster" not in str(caught.value)


def test_an_accepted_topic_gets_source_partitions_of_its_own() -> None:
    anew = settle(broker("c/2", ends=(3, 0)), accept=Accept(new_topic=True))
    assert [anew.number(0), anew.number(1), anew.live.starts] == [2, 3, {}]
    assert anew.incarnations[0].sealed_us == 700
    assert settle(broker("c/2", ends=(3, 0)), history=anew) == anew


def test_the_embedded_brokers_topic_goes_on_by_itself() -> None:
    assert settle(broker("d/2"), is_embedded=True).number(0) == 2


def test_a_new_topic_that_has_lost_its_beginning_is_read_from_what_it_has() -> None:
    anew = settle(broker("c/2", begins=(7, 0), ends=(9, 0)), accept=Accept(new_topic=True))
    assert (anew.next_offset(0, None), anew.gaps) == (7, ())


def test_what_is_not_known_of_a_sealed_incarnation_is_noted_as_not_known() -> None:
    emptied = Stored(READ.logged, {}, {})
    assert settle(broker("c/2"), emptied, Accept(new_topic=True)).incarnations[0].sealed_us is None


def test_a_topic_of_which_nothing_was_read_may_become_another_without_asking() -> None:
    imported = Stored({FIRST_IMPORT: 9}, {FIRST_IMPORT: 9}, {FIRST_IMPORT: 1})
    found = settle(broker("d/2", begins=(3, 0), ends=(3, 0)), imported)
    assert (len(found.incarnations), found.number(0), found.next_offset(0, None)) == (1, 0, 3)
    assert found.lineage == "c/1"  # erasures of what was imported go on being kept
    assert settle(broker("e/3"), imported, history=found).live.identity == "e/3"


def test_another_cluster_names_both_ways_on() -> None:
    with pytest.raises(TopicError, match="not the one") as caught:
        settle(broker("d/2"))
    assert "--accept-cluster" in str(caught.value)
    assert "--accept-new-topic" in str(caught.value)


def test_a_mirror_with_the_same_offsets_goes_on_where_the_stores_end() -> None:
    moved = settle(broker("d/2", ends=(25, 5)), accept=Accept(cluster=True))
    assert [moved.number(0), moved.next_offset(0, 19), moved.lineage] == [0, 20, "c/1"]
    assert settle(broker("d/2", ends=(25, 5)), history=moved) == moved
    with pytest.raises(TopicError, match="not the one"):
        settle(broker("c/1"), history=moved)  # back again is a move, too


@pytest.mark.parametrize("found", [broker("d/2", ends=(19, 5)), broker("d/2", begins=(0,), ends=(20,))])
def test_a_mirror_that_lacks_what_was_read_is_refused(found: BrokerTopic) -> None:
    with pytest.raises(TopicError, match="does not have the same offsets"):
        settle(found, accept=Accept(cluster=True))


def test_offsets_that_are_gone_are_named_and_want_consent() -> None:
    with pytest.raises(TopicError) as caught:
        settle(broker(begins=(26, 6), ends=(30, 6)), accept=Accept(new_topic=True, cluster=True))
    assert "rides[0] offsets 20 to 25 (6), rides[1] offset 5 (1) are gone" in str(caught.value)
    assert "--accept-gap" in str(caught.value)


def test_an_accepted_gap_is_noted_and_not_asked_for_again() -> None:
    accepted = settle(broker(begins=(26, 0), ends=(30, 5)), accept=Accept(gap=True))
    assert [(gap.source_partition, gap.first, gap.last) for gap in accepted.gaps] == [(0, 20, 25)]
    assert accepted.next_offset(0, 19) == 26
    assert settle(broker(begins=(26, 0), ends=(30, 5)), history=accepted) == accepted
    with pytest.raises(TopicError, match="offsets 26 to 27"):
        settle(broker(begins=(28, 0), ends=(30, 5)), history=accepted)


def test_a_partition_that_never_had_a_record_can_lose_its_first_ones() -> None:
    with pytest.raises(TopicError, match=r"rides\[1\] offsets 0 to 3 \(4\) are gone"):
        settle(broker(begins=(0, 4), ends=(20, 9)), Stored({0: 19}, {0: 19}, {0: 500}))


def test_a_topic_that_had_lost_records_before_headrace_came_has_no_gap() -> None:
    begun = TopicHistory.begun("c/1", 1, {0: 10}, NOW)
    assert settle(broker(begins=(10,), ends=(10,)), Stored(), history=begun) == begun


def test_a_broker_that_has_lost_records_is_not_read_on_and_nothing_is_read_twice() -> None:
    found = broker(ends=(12, 8))
    with pytest.raises(TopicError, match=r"rides\[0\] ends at offset 12, and 20 comes next"):
        settle(found)
    anew = settle(found, accept=Accept(new_topic=True))
    assert [anew.number(0), anew.next_offset(0, None), anew.next_offset(1, None)] == [2, 12, 5]


def test_where_topics_have_no_id_one_that_ends_early_was_made_anew() -> None:
    begun = TopicHistory.begun("c/", 2, {}, NOW)
    anew = settle(broker("c/", ends=(12, 8)), accept=Accept(new_topic=True), history=begun)
    assert [anew.next_offset(0, None), anew.next_offset(1, None)] == [0, 0]


def test_many_partitions_with_gaps_are_not_all_listed() -> None:
    shown = str(gap_error("rides", [Missing(partition, 0, 9) for partition in range(25)]))
    assert shown.count("rides[") == 10
    assert "and 15 partitions more are gone" in shown


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a loaded machine draws slowly
@given(
    st.lists(
        st.tuples(st.sampled_from(["append", "remove", "anew", "stream"]), st.integers(0, 6)), min_size=1, max_size=30
    )
)
def test_whatever_a_broker_does_every_event_is_read_once_or_noted_as_missing(steps: list[tuple[str, int]]) -> None:
    """A topic is appended to, cut from the front and created again between runs of a worker that accepts everything."""
    made, written, begin = 1, 0, 0
    identity = "c/1"
    history = TopicHistory.begun(identity, 1, {}, NOW)
    logged: dict[int, int] = {}
    read: list[tuple[str, int]] = []
    wanted: list[tuple[str, int]] = []
    never: set[tuple[str, int]] = set()  # gone with a topic, or from a topic before it was first read
    seen = {identity}
    for step, count in steps:
        if step == "append":
            wanted += [(identity, offset) for offset in range(written, written + count)]
            written += count
        elif step == "remove":
            begin = min(begin + count, written)
        elif step == "anew":
            never |= {one for one in wanted if one[0] == identity}
            made += 1
            identity, written, begin = f"c/{made}", 0, 0
        else:
            if identity not in seen:
                never |= {(identity, offset) for offset in range(begin)}
                seen.add(identity)
            stored = Stored(logged, logged, dict.fromkeys(logged, 0))
            history = settle(broker(identity, (begin,), (written,)), stored, SAID_YES, history)
            number = history.number(0)
            following = history.next_offset(0, logged.get(number))
            read += [(identity, offset) for offset in range(following, written)]
            if following < written:
                logged = {**logged, number: written - 1}
    missing = {
        (one.identity, offset)
        for one in history.incarnations
        for gap in history.gaps
        if gap.source_partition == one.base
        for offset in range(gap.first, gap.last + 1)
    }
    unread = {(identity, offset) for offset in range(written)}
    assert len(read) == len(set(read))
    assert not missing & set(read)
    assert set(wanted) - set(read) - missing - never <= unread
