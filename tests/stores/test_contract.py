"""What every online store keeps to: memory, LMDB and Redis pass the same suite."""

from __future__ import annotations

import struct

import pytest

from headrace.errors import StaleWriteError, StoreBehindError
from headrace.events.source_partition import SourcePartition
from headrace.stores import JournalEntry, Moment, OnlineStore, Position, RecordKey, Write

VIEW, OTHER = "00112233445566aa", "ffeeddccbbaa9988"
HERE, THERE = SourcePartition("orders", 0), SourcePartition("orders", 11)


def record(applied: int, body: str = "") -> bytes:
    """Bytes with the applied offset where a record has it; the store looks at nothing else."""
    return b"HR\x02\x00\x00\x00\x00\x00" + struct.pack("<q", applied) + body.encode()


def write(entity: str, partition: int, expected: int | None, applied: int, view: str = VIEW) -> Write:
    return Write(RecordKey(view, entity.encode(), partition), expected, record(applied, entity))


def test_new_store_is_empty(store: OnlineStore) -> None:
    assert store.read([RecordKey(VIEW, b"a", 0)]) == [None]
    assert store.positions() == {}
    assert store.journal() == []
    assert store.meta() == {}
    assert store.lookup({VIEW: [b"a", b"b"]}) == Moment({VIEW: [[], []]}, {})


def test_reads_come_in_the_order_asked(store: OnlineStore) -> None:
    store.commit([write("a", 0, None, 3), write("b", 0, None, 4)], {})
    keys = [RecordKey(VIEW, b"b", 0), RecordKey(VIEW, b"never", 0), RecordKey(VIEW, b"a", 0)]
    assert store.read(keys) == [record(4, "b"), None, record(3, "a")]
    assert store.read([]) == []


def test_lookup_gives_all_partitions_of_an_entity_in_numeric_order(store: OnlineStore) -> None:
    partitions = [2, 10, 0, 300]
    store.commit([write("a", partition, None, partition) for partition in partitions], {})
    store.commit([write("a", 1, None, 9, view=OTHER), write("ab", 5, None, 9)], {})
    moment = store.lookup({OTHER: [b"a"], VIEW: [b"a", b"never"]})
    found, nothing = moment.records[VIEW]
    assert moment.records[OTHER] == [[(1, record(9, "a"))]]
    assert found == [(partition, record(partition, "a")) for partition in sorted(partitions)]
    assert nothing == []


@pytest.mark.parametrize("entity", ['["ü"]', '["' + "x" * 2000 + '"]', '[""]', "[1]", '["1"]', '["a:b\\u0000c"]'])
def test_entities_of_any_text_and_length_stay_apart(store: OnlineStore, entity: str) -> None:
    store.commit([write(entity, 0, None, 1), write(entity + " ", 0, None, 2)], {})
    assert store.lookup({VIEW: [entity.encode()]}).records == {VIEW: [[(0, record(1, entity))]]}


@pytest.mark.parametrize("expected", [None, 2, 4, 2**53 + 1])
def test_write_is_refused_unless_the_record_is_the_one_read(store: OnlineStore, expected: int | None) -> None:
    store.commit([write("a", 0, None, 3)], {HERE: Position(3, 30, 300)})
    with pytest.raises(StaleWriteError, match="another worker owns the partition"):
        store.commit([write("b", 0, None, 7), write("a", 0, expected, 7)], {HERE: Position(7, 70, 700)})
    assert store.read([RecordKey(VIEW, b"a", 0), RecordKey(VIEW, b"b", 0)]) == [record(3, "a"), None]
    assert store.positions() == {HERE: Position(3, 30, 300)}
    store.commit([write("a", 0, 3, 8)], {})
    assert store.read([RecordKey(VIEW, b"a", 0)]) == [record(8, "a")]


def test_write_that_expects_a_record_is_refused_where_there_is_none(store: OnlineStore) -> None:
    with pytest.raises(StaleWriteError):
        store.commit([write("a", 0, 5, 6)], {})


def test_store_that_has_lost_writes_is_noticed_before_anything_is_written(store: OnlineStore) -> None:
    store.commit([], {HERE: Position(4, 40, 400)})
    store.commit([], {HERE: Position(5, 50, 500)}, {HERE: 4})
    store.commit([], {HERE: Position(9, 50, 500)}, {HERE: 5})
    for held in ({HERE: 10}, {HERE: 9, THERE: 0}, {HERE: 100}):
        with pytest.raises(StoreBehindError, match=r"(?s)has lost writes.*Start the worker again"):
            store.commit([write("a", 0, None, 12)], {HERE: Position(12, 90, 900)}, held)
    assert store.positions() == {HERE: Position(9, 50, 500)}
    assert store.lookup({VIEW: [b"a"]}).records == {VIEW: [[]]}


def test_positions_never_go_back(store: OnlineStore) -> None:
    for offset in (9, 10, 2**53, 2**53 + 1):
        store.commit([], {HERE: Position(offset, offset, 0), THERE: Position(0, 0, 0)})
        assert store.positions()[HERE] == Position(offset, offset, 0)
    store.commit([], {HERE: Position(2**53, 1, 1), THERE: Position(1, 2, 3)})
    assert store.positions() == {HERE: Position(2**53 + 1, 2**53 + 1, 0), THERE: Position(1, 2, 3)}
    store.commit([], {HERE: Position(2**53 + 1, 5, 5)})
    assert store.positions()[HERE] == Position(2**53 + 1, 5, 5)


def test_positions_are_kept_per_source_partition(store: OnlineStore) -> None:
    store.commit([], {HERE: Position(3, 30, -300), THERE: Position(9, 90, 900)})
    store.commit([], {HERE: Position(4, 40, 400)})
    assert store.positions() == {HERE: Position(4, 40, 400), THERE: Position(9, 90, 900)}
    assert store.lookup({VIEW: [b"a"]}).positions == store.positions()


def test_journal_is_ordered_and_trimmed_per_partition(store: OnlineStore) -> None:
    entries = [JournalEntry(HERE, 0, 4, 100), JournalEntry(HERE, 5, 300, 101), JournalEntry(THERE, 0, 299, 102)]
    store.add_journal([entries[2], entries[1]])
    store.add_journal([entries[0]])
    assert store.journal() == entries
    store.trim_journal({HERE: 299, THERE: 299})
    assert store.journal() == [entries[1]]
    store.trim_journal({})
    assert store.journal() == [entries[1]]


def test_facts_are_kept_and_replaced(store: OnlineStore) -> None:
    store.set_meta({"clock": "system", "view:a": "1"})
    store.set_meta({"view:a": "2"})
    assert store.meta() == {"clock": "system", "view:a": "2"}


def whole(entity: str, partition: int, view: str = VIEW) -> Write:
    """A record that also says whose it is."""
    key = entity.encode()
    body = b"HR\x02\x00\x00\x00\x00\x00" + struct.pack("<qqqII", 3, 0, 0, len(key), 0) + key
    return Write(RecordKey(view, key, partition), None, body)


def test_entities_of_a_view_are_listed_once_each(store: OnlineStore) -> None:
    long = "x" * 2000
    store.commit([whole("a", 0), whole("a", 7), whole("ü*[a]", 0), whole(long, 2), whole("b", 0, OTHER)], {})
    assert sorted(store.entities(VIEW)) == sorted(one.encode() for one in ("a", "ü*[a]", long))
    assert store.entities(OTHER) == [b"b"]
    assert store.entities("00000000000000ff") == []


def test_deleted_entity_is_gone_from_every_partition_of_that_view_only(store: OnlineStore) -> None:
    store.commit([whole("a", 0), whole("a", 7), whole("ab", 0), whole("a", 0, OTHER)], {HERE: Position(3, 30, 300)})
    assert store.delete(VIEW, [b"a", b"never", b"a"]) == 2
    assert store.delete(VIEW, [b"a"]) == 0
    assert store.delete(VIEW, []) == 0
    assert store.entities(VIEW) == [b"ab"]
    assert store.entities(OTHER) == [b"a"]
    assert store.lookup({VIEW: [b"a"]}).records == {VIEW: [[]]}
    assert store.positions() == {HERE: Position(3, 30, 300)}
    with pytest.raises(StaleWriteError):
        store.commit([write("a", 0, 3, 8)], {})
    store.commit([write("a", 0, None, 8)], {})


def test_records_of_one_partition_may_be_deleted_alone(store: OnlineStore) -> None:
    store.commit([whole("a", 0), whole("a", 7), whole("b", 7), whole("a", 7, OTHER)], {HERE: Position(3, 30, 300)})
    assert store.delete(VIEW, [b"a", b"b", b"never"], 7) == 2
    assert store.delete(VIEW, [b"a", b"b"], 7) == 0
    assert store.entities(VIEW) == [b"a"]
    assert [partition for partition, _ in store.lookup({VIEW: [b"a"]}).records[VIEW][0]] == [0]
    assert [partition for partition, _ in store.lookup({OTHER: [b"a"]}).records[OTHER][0]] == [7]


def test_cleared_store_is_a_new_one(store: OnlineStore) -> None:
    store.commit([write("a", 0, None, 3)], {HERE: Position(3, 30, 300)})
    store.add_journal([JournalEntry(HERE, 0, 3, 100)])
    store.set_meta({"clock": "system"})
    store.clear()
    test_new_store_is_empty(store)
    store.commit([write("a", 0, None, 1)], {})


def test_sync_returns(store: OnlineStore) -> None:
    store.commit([write("a", 0, None, 3)], {})
    store.sync()
    assert store.read([RecordKey(VIEW, b"a", 0)]) == [record(3, "a")]
