"""The contract of an online store, as tests that any adapter can run.

    import pytest

    from headrace.testing.stores import OnlineStoreContract

    class TestMyStore(OnlineStoreContract):
        @pytest.fixture
        def open_store(self, tmp_path):
            return lambda: MyStore(tmp_path / "store")

`open_store` gives a function that opens one and the same store, open to write; the store is empty at first. What an
adapter cannot do is named in `gaps`, each with its reason: those tests must fail, and pytest reports the reason.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

import pytest

from headrace.config import Clock
from headrace.errors import StaleWriteError, StoreBehindError
from headrace.events.source_partition import SourcePartition
from headrace.stores import (
    CatalogueChange,
    FoundRecords,
    JournalEntry,
    Moment,
    OnlineStore,
    Position,
    Readiness,
    RecordKey,
    Write,
)

__all__ = ["OnlineStoreContract", "OpenStore"]

OpenStore = Callable[[], OnlineStore]

VIEW, OTHER = "00112233445566aa", "ffeeddccbbaa9988"
HERE, THERE = SourcePartition("orders", 0), SourcePartition("orders", 11)
ELSEWHERE = SourcePartition("eu:refunds.v1", 0)
MAX_OFFSET = 2**63 - 1


def key_of(entity: str, source: SourcePartition = HERE, view: str = VIEW) -> RecordKey:
    """The key of a record."""
    return RecordKey(view, entity.encode(), source)


def write(
    entity: str,
    expected: int | None,
    applied: int,
    source: SourcePartition = HERE,
    view: str = VIEW,
    expires_us: int | None = None,
) -> Write:
    """A write whose record no store can read: a store never looks inside."""
    body = f"{view} {entity} {source} {applied}".encode()
    return Write(key_of(entity, source, view), expected, applied, body, expires_us)


class OnlineStoreContract:
    """The tests; see the module for how an adapter runs them.

    Attributes:
        gaps: By test's name, why the adapter cannot pass it.
    """

    gaps: ClassVar[Mapping[str, str]] = {}

    @pytest.fixture(autouse=True)
    def _mark_gap(self, request: pytest.FixtureRequest) -> None:
        name = getattr(request.node, "originalname", request.node.name)
        if name in self.gaps:
            request.applymarker(pytest.mark.xfail(reason=self.gaps[name], strict=True))

    @pytest.fixture
    def open_store(self) -> OpenStore:
        """A function that opens the store; a suite that lacks its own fixture fails here."""
        msg = f"{type(self).__name__} needs a fixture `open_store`."
        raise NotImplementedError(msg)

    @pytest.fixture
    def store(self, open_store: OpenStore) -> Iterator[OnlineStore]:
        """The store, empty and open to write."""
        with open_store() as opened:
            yield opened

    def test_new_store_is_empty(self, store: OnlineStore) -> None:
        assert store.read([key_of("a")]) == [None]
        assert store.positions() == {}
        assert store.journal() == []
        assert store.meta() == {}
        assert store.catalogue().readiness is Readiness.EMPTY
        assert store.lookup({VIEW: [b"a", b"b"]}) == Moment({VIEW: FoundRecords([], [], [])}, {})

    def test_reads_come_in_the_order_asked(self, store: OnlineStore) -> None:
        first, second = write("a", None, 3), write("b", None, 4)
        store.commit([first, second], {})
        assert store.read([second.key, key_of("never"), first.key]) == [second.record, None, first.record]
        assert store.read([]) == []

    def test_record_may_be_any_bytes(self, store: OnlineStore) -> None:
        bodies = [b"", b"\0", b"x" * 100_000, bytes(range(256))]
        writes = [Write(key_of(str(at)), None, at, body) for at, body in enumerate(bodies)]
        store.commit(writes, {})
        assert store.read([one.key for one in writes]) == bodies
        assert store.lookup({VIEW: [b"2"]}).records == {VIEW: FoundRecords([0], [HERE], [bodies[2]])}

    def test_lookup_gives_all_source_partitions_of_an_entity_in_order(self, store: OnlineStore) -> None:
        sources = [SourcePartition("orders", number) for number in (2, 10, 0, 300)] + [ELSEWHERE]
        writes = [write("a", None, at, source) for at, source in enumerate(sources)]
        other, longer = write("a", None, 9, view=OTHER), write("ab", None, 9)
        store.commit([*writes, other, longer], {})
        moment = store.lookup({OTHER: [b"a"], VIEW: [b"never", b"a"]})
        assert moment.records[OTHER] == FoundRecords.of([[(HERE, other.record)]])
        assert moment.records[VIEW] == FoundRecords.of([[], sorted((one.key.source, one.record) for one in writes)])

    @pytest.mark.parametrize(
        "entity",
        [
            *('["ü"]', '[""]', "[1]", '["1"]', '["a:b\\u0000c"]'),
            pytest.param('["' + "x" * 100_000 + '"]', id="100,000 letters"),
        ],
    )
    def test_entities_of_any_text_and_length_stay_apart(self, store: OnlineStore, entity: str) -> None:
        mine, other = write(entity, None, 1), write(entity + " ", None, 2)
        store.commit([mine, other], {})
        assert store.lookup({VIEW: [entity.encode()]}).records == {VIEW: FoundRecords([0], [HERE], [mine.record])}

    def test_topics_of_a_view_stay_apart(self, store: OnlineStore) -> None:
        one, other = write("a", None, 3), write("a", None, 7, ELSEWHERE)
        store.commit([one, other], {})
        assert store.read([one.key, other.key]) == [one.record, other.record]
        with pytest.raises(StaleWriteError):
            store.commit([write("a", 3, 9, ELSEWHERE)], {})
        assert store.delete(VIEW, [b"a"], HERE) == 1
        assert store.read([one.key, other.key]) == [None, other.record]

    @pytest.mark.parametrize("at_once", [True, False])
    @pytest.mark.parametrize("expected", [None, 2, 4, 2**53 + 1, MAX_OFFSET])
    def test_write_is_refused_unless_the_record_is_the_one_read(
        self, store: OnlineStore, expected: int | None, at_once: bool
    ) -> None:
        first = write("a", None, 3)
        store.commit([first], {HERE: Position(3, 30, 300)})
        with pytest.raises(StaleWriteError, match="another worker owns the partition"):
            store.commit([write("a", expected, 7)], {HERE: Position(7, 70, 700)}, at_once=at_once)
        assert store.read([first.key]) == [first.record]
        assert store.positions() == {HERE: Position(3, 30, 300)}
        second = write("a", 3, 8)
        store.commit([second], {}, at_once=at_once)
        assert store.read([first.key]) == [second.record]

    @pytest.mark.parametrize("count", [2, 200])
    def test_commit_at_once_is_written_whole_or_not_at_all(self, store: OnlineStore, count: int) -> None:
        store.commit([write("0", None, 3)], {})
        many = [write(str(number), None, 7) for number in range(count)]
        with pytest.raises(StaleWriteError):
            store.commit(many, {HERE: Position(7, 70, 700)}, at_once=True)
        assert store.read([one.key for one in many[1:]]) == [None] * (count - 1)
        assert store.positions() == {}

    def test_commit_in_chunks_is_finished_by_a_second_attempt(self, store: OnlineStore) -> None:
        many = [write(str(number), None, 7) for number in range(500)]
        store.commit([write("400", None, 3)], {})
        with pytest.raises(StaleWriteError):
            store.commit(many, {HERE: Position(7, 70, 700)}, at_once=False)
        assert store.positions() == {}
        found = store.read([one.key for one in many])
        rest = [one for one, record in zip(many, found, strict=True) if record != one.record]
        again = [one._replace(expected=3) if one.key.entity == b"400" else one for one in rest]
        store.commit(again, {HERE: Position(7, 70, 700)}, at_once=False)
        assert store.read([one.key for one in many]) == [one.record for one in many]
        assert store.positions() == {HERE: Position(7, 70, 700)}

    def test_offsets_that_differ_by_one_are_told_apart_up_to_the_largest(self, store: OnlineStore) -> None:
        for offset in (2**53, MAX_OFFSET - 1):
            entity = str(offset)
            store.commit([write(entity, None, offset)], {})
            for other in (offset - 1, offset + 1):
                with pytest.raises(StaleWriteError):
                    store.commit([write(entity, other, offset)], {})

    def test_write_that_expects_a_record_is_refused_where_there_is_none(self, store: OnlineStore) -> None:
        with pytest.raises(StaleWriteError):
            store.commit([write("a", 5, 6)], {})

    def test_store_that_has_lost_writes_is_detected_before_anything_is_written(self, store: OnlineStore) -> None:
        store.commit([], {HERE: Position(4, 40, 400)})
        store.commit([], {HERE: Position(5, 50, 500)}, {HERE: 4})
        store.commit([], {HERE: Position(9, 50, 500)}, {HERE: 5})
        for required in ({HERE: 10}, {HERE: 9, THERE: 0}, {HERE: 100}):
            with pytest.raises(StoreBehindError, match=r"(?s)has lost writes.*Start the worker again"):
                store.commit([write("a", None, 12)], {HERE: Position(12, 90, 900)}, required)
        assert store.positions() == {HERE: Position(9, 50, 500)}
        assert store.lookup({VIEW: [b"a"]}).records == {VIEW: FoundRecords([], [], [])}

    def test_positions_never_go_back(self, store: OnlineStore) -> None:
        for offset in (9, 10, 2**53, 2**53 + 1):
            store.commit([], {HERE: Position(offset, offset, 0), THERE: Position(0, 0, 0)})
            assert store.positions()[HERE] == Position(offset, offset, 0)
        store.commit([], {HERE: Position(2**53, 1, 1), THERE: Position(1, 2, 3)})
        assert store.positions() == {HERE: Position(2**53 + 1, 2**53 + 1, 0), THERE: Position(1, 2, 3)}
        store.commit([], {HERE: Position(2**53 + 1, 5, 5)})
        assert store.positions()[HERE] == Position(2**53 + 1, 5, 5)

    def test_positions_are_kept_per_source_partition(self, store: OnlineStore) -> None:
        store.commit([], {HERE: Position(3, 30, -300), THERE: Position(9, 90, 900), ELSEWHERE: Position(1, 1, 1)})
        store.commit([], {HERE: Position(4, 40, 400)})
        moved = {HERE: Position(4, 40, 400), THERE: Position(9, 90, 900), ELSEWHERE: Position(1, 1, 1)}
        assert store.positions() == moved
        assert store.lookup({VIEW: [b"a"]}).positions == moved

    def test_journal_is_ordered_and_trimmed_per_source_partition(self, store: OnlineStore) -> None:
        entries = [JournalEntry(HERE, 0, 4, 100), JournalEntry(HERE, 5, 300, 101), JournalEntry(THERE, 0, 299, 102)]
        store.add_journal([entries[2], entries[1]])
        store.add_journal([entries[0]])
        assert store.journal() == entries
        store.trim_journal({HERE: 299, THERE: 299})
        assert store.journal() == [entries[1]]
        store.trim_journal({})
        assert store.journal() == [entries[1]]

    def test_facts_are_kept_replaced_and_removed(self, store: OnlineStore) -> None:
        store.set_meta({"clock": "system", "view:a": "1", "ü": "é"})
        store.set_meta({"view:a": "2", "ü": None, "never": None})
        assert store.meta() == {"clock": "system", "view:a": "2"}

    def test_lookup_reads_the_generation_at_the_same_moment(self, store: OnlineStore) -> None:
        store.change(CatalogueChange().clock(Clock.SYSTEM).serve([], is_filling=True))
        assert store.catalogue().readiness is Readiness.FILLING
        assert store.lookup({}).generation == store.catalogue().generation
        store.end_filling()
        assert store.catalogue().readiness is Readiness.READY
        assert store.lookup({}).generation == store.catalogue().generation

    def test_entities_of_a_view_are_listed_once_each(self, store: OnlineStore) -> None:
        long, kept = "x" * 2000, [write("a", None, 3), write("a", None, 3, THERE), write("ü*[a]", None, 3)]
        store.commit([*kept, write(long, None, 3, THERE), write("b", None, 3, view=OTHER)], {})
        assert sorted(store.entities(VIEW)) == sorted(one.encode() for one in ("a", "ü*[a]", long))
        assert store.entities(OTHER) == [b"b"]
        assert store.entities("00000000000000ff") == []

    def test_deleted_entity_is_gone_from_every_partition_of_that_view_only(self, store: OnlineStore) -> None:
        writes = [
            write("a", None, 3),
            write("a", None, 3, THERE),
            write("ab", None, 3),
            write("a", None, 3, view=OTHER),
        ]
        store.commit(writes, {HERE: Position(3, 30, 300)})
        assert store.delete(VIEW, [b"a", b"never", b"a"]) == 2
        assert store.delete(VIEW, [b"a"]) == 0
        assert store.delete(VIEW, []) == 0
        assert store.entities(VIEW) == [b"ab"]
        assert store.entities(OTHER) == [b"a"]
        assert store.lookup({VIEW: [b"a"]}).records == {VIEW: FoundRecords([], [], [])}
        assert store.positions() == {HERE: Position(3, 30, 300)}
        with pytest.raises(StaleWriteError):
            store.commit([write("a", 3, 8)], {})
        store.commit([write("a", None, 8)], {})

    def test_records_of_one_source_partition_may_be_deleted_alone(self, store: OnlineStore) -> None:
        a, b, other = write("a", None, 3, THERE), write("b", None, 3, THERE), write("a", None, 3, THERE, OTHER)
        store.commit([write("a", None, 3), a, b, other], {})
        assert store.delete(VIEW, [b"a", b"b", b"never"], THERE) == 2
        assert store.delete(VIEW, [b"a", b"b"], THERE) == 0
        assert store.entities(VIEW) == [b"a"]
        assert store.lookup({VIEW: [b"a"]}).records[VIEW].sources == [HERE]
        assert store.lookup({OTHER: [b"a"]}).records[OTHER].sources == [THERE]

    def test_record_is_there_until_it_expires_and_while_it_is_kept(self, store: OnlineStore) -> None:
        far = 4_000_000_000 * 1_000_000
        one = write("a", None, 3, expires_us=far)
        store.commit([one], {}, at_once=False)
        assert store.read([one.key, key_of("never")], keep_us=1_000_000) == [one.record, None]
        assert store.lookup({VIEW: [b"a"]}).records == {VIEW: FoundRecords([0], [HERE], [one.record])}

    def test_epoch_ends_when_somebody_else_changes_records(self, store: OnlineStore) -> None:
        epoch = store.epoch()
        if epoch is None:
            pytest.skip("the store does not detect other writers")
        store.commit([write("a", None, 1), write("b", None, 1)], {}, epoch=epoch)
        assert store.epoch() is epoch
        store.delete(VIEW, [b"a"])
        assert store.epoch() is not epoch
        with pytest.raises(StaleWriteError):
            store.commit([write("a", 1, 2)], {}, epoch=epoch)
        epoch = store.epoch()
        store.commit([write("b", 1, 2)], {})
        assert store.epoch() is not epoch
        epoch = store.epoch()
        store.clear()
        assert store.epoch() is not epoch

    def test_cleared_store_is_a_new_one(self, store: OnlineStore) -> None:
        store.commit([write("a", None, 3)], {HERE: Position(3, 30, 300)})
        store.add_journal([JournalEntry(HERE, 0, 3, 100)])
        store.change(CatalogueChange().clock(Clock.SYSTEM))
        store.clear()
        self.test_new_store_is_empty(store)
        store.commit([write("a", None, 1)], {})

    def test_synced_store_is_the_same_when_it_is_opened_again(self, open_store: OpenStore) -> None:
        one = write("a", None, 3)
        with open_store() as store:
            store.commit([one], {HERE: Position(3, 30, 300)})
            store.add_journal([JournalEntry(HERE, 0, 3, 100)])
            store.change(CatalogueChange().clock(Clock.RECORD))
            store.sync()
        with open_store() as store:
            assert store.read([one.key]) == [one.record]
            assert store.positions() == {HERE: Position(3, 30, 300)}
            assert store.journal() == [JournalEntry(HERE, 0, 3, 100)]
            assert store.catalogue().clock is Clock.RECORD
            with pytest.raises(StaleWriteError, match="offset 3, not 2"):
                store.commit([write("a", 2, 4)], {})

    @pytest.mark.parametrize("seed", range(3))
    def test_any_sequence_of_commits_and_deletions_gives_what_dictionaries_give(
        self, store: OnlineStore, seed: int
    ) -> None:
        dice = random.Random(seed)  # noqa: S311 no secret
        entities, sources = ["a", "b", "ab"], [HERE, THERE, ELSEWHERE]
        expected: dict[RecordKey, tuple[int, bytes]] = {}
        for step in range(60):
            entity, source = dice.choice(entities), dice.choice(sources)
            if dice.random() < 0.2:
                gone = [key for key in expected if key.entity == entity.encode() and key.source == source]
                assert store.delete(VIEW, [entity.encode()], source) == len(gone)
                for key in gone:
                    del expected[key]
                continue
            before = expected.get(key_of(entity, source))
            one = write(entity, None if before is None else before[0], step, source)
            store.commit([one], {}, at_once=dice.random() < 0.5)
            expected[one.key] = one.applied, one.record
        records = store.lookup({VIEW: [one.encode() for one in entities]}).records[VIEW]
        found = {key_of(entities[row], source): record for row, source, record in zip(*records, strict=True)}
        assert found == {key: record for key, (_, record) in expected.items()}
