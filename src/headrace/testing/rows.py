"""The contract of a row store, as tests that any adapter can run.

    import pytest

    from headrace.testing.rows import RowStoreContract

    class TestMyRows(RowStoreContract):
        @pytest.fixture
        def open_rows(self, tmp_path):
            return lambda: MyRows(tmp_path / "rows")

`open_rows` gives a function that opens one and the same store, open to write; the store is empty at first. What an
adapter cannot do is named in `gaps`, each with its reason: those tests must fail, and pytest reports the reason.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

import pytest

from headrace.rows import Row, RowStore, StoredRow, Written

__all__ = ["OpenRows", "RowStoreContract"]

OpenRows = Callable[[], RowStore]

VIEW, OTHER, LAST = "00112233445566aa", "ffeeddccbbaa9988", "ffffffffffffffff"


def row(entity: str, event_us: int, values: str = "", created_us: int | None = None) -> Row:
    """A row whose values no store can read: a store never looks inside."""
    return Row(entity.encode(), event_us, (values or f"{entity} at {event_us}").encode(), created_us)


def held(store: RowStore, entity: str, view: str = VIEW) -> tuple[int, str] | None:
    """The event time and the values of an entity's row."""
    (found,) = store.read(view, [entity.encode()])
    return None if found is None else (found.event_us, found.values.decode())


class RowStoreContract:
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
    def open_rows(self) -> OpenRows:
        """A function that opens the store; a suite that lacks its own fixture fails here."""
        msg = f"{type(self).__name__} needs a fixture `open_rows`."
        raise NotImplementedError(msg)

    @pytest.fixture
    def store(self, open_rows: OpenRows) -> Iterator[RowStore]:
        """The store, empty and open to write."""
        with open_rows() as opened:
            yield opened

    def test_new_store_is_empty(self, store: RowStore) -> None:
        assert store.read(VIEW, [b"a", b"b"]) == [None, None]
        assert store.read(VIEW, []) == []
        assert store.views() == set()
        assert list(store.entities(VIEW)) == []

    def test_row_is_read_as_it_was_written(self, store: RowStore) -> None:
        bodies = [b"", b"\0", b"x" * 100_000, bytes(range(256))]
        rows = [Row(str(at).encode(), at, body, at * 7) for at, body in enumerate(bodies)]
        assert store.write(VIEW, rows) == Written(4, 4)
        found = store.read(VIEW, [one.entity for one in rows])
        assert [(one.event_us, one.created_us, one.values) for one in found if one] == [
            (one.event_us, one.created_us, one.values) for one in rows
        ]

    @pytest.mark.parametrize("event_us", [-(2**63) + 1, -1, 0, 2**53 + 1, 2**63 - 1])
    def test_any_time_is_exact(self, store: RowStore, event_us: int) -> None:
        store.write(VIEW, [row("a", event_us, created_us=event_us), row("b", event_us)])
        first, second = store.read(VIEW, [b"a", b"b"])
        assert first is not None
        assert second is not None
        assert (first.event_us, first.created_us) == (event_us, event_us)
        assert (second.event_us, second.created_us) == (event_us, None)

    @pytest.mark.parametrize("step", [1, 2**32, 2**40])
    @pytest.mark.parametrize("event_us", [-(2**62), -1, 0, 2**53, 2**62])
    def test_newer_event_time_wins(self, store: RowStore, event_us: int, step: int) -> None:
        store.write(VIEW, [row("a", event_us, "first")])
        assert store.write(VIEW, [row("a", event_us + step, "newer")]) == Written(1, 1)
        assert held(store, "a") == (event_us + step, "newer")

    @pytest.mark.parametrize("step", [1, 2**32, 2**40])
    @pytest.mark.parametrize("event_us", [-(2**62), -1, 0, 2**53, 2**62])
    def test_older_row_never_overwrites(self, store: RowStore, event_us: int, step: int) -> None:
        store.write(VIEW, [row("a", event_us, "first")])
        assert store.write(VIEW, [row("a", event_us - step, "older")]) == Written(1, 0)
        assert held(store, "a") == (event_us, "first")

    def test_at_an_equal_time_the_later_write_wins(self, store: RowStore) -> None:
        store.write(VIEW, [row("a", 5, "first")])
        assert store.write(VIEW, [row("a", 5, "second")]).changed == 1
        assert held(store, "a") == (5, "second")

    def test_at_an_equal_time_the_row_created_last_wins(self, store: RowStore) -> None:
        store.write(VIEW, [row("a", 5, "corrected", created_us=2), row("b", 5, "said", created_us=-3)])
        changed = store.write(VIEW, [row("a", 5, "as it was", created_us=1), row("b", 5, "not said")]).changed
        assert (changed, held(store, "a"), held(store, "b")) == (0, (5, "corrected"), (5, "said"))
        store.write(VIEW, [row("a", 5, "again", created_us=2), row("b", 6, "newer")])
        assert (held(store, "a"), held(store, "b")) == ((5, "again"), (6, "newer"))

    def test_duplicates_of_one_write_obey_the_same_rule(self, store: RowStore) -> None:
        written = store.write(VIEW, [row("a", 5, "one"), row("a", 7, "two"), row("a", 7, "three"), row("a", 6, "four")])
        assert held(store, "a") == (7, "three")
        assert written.rows == 4

    def test_later_write_has_a_higher_sequence(self, store: RowStore) -> None:
        sequences = []
        for at in range(5):
            store.write(VIEW if at % 2 else OTHER, [row("a", at)])
            (found,) = store.read(VIEW if at % 2 else OTHER, [b"a"])
            assert found is not None
            sequences.append(found.sequence)
        assert sequences == sorted(set(sequences))

    def test_refused_row_keeps_its_sequence(self, store: RowStore) -> None:
        store.write(VIEW, [row("a", 5)])
        before = store.read(VIEW, [b"a"])
        store.write(VIEW, [row("a", 4)])
        assert store.read(VIEW, [b"a"]) == before

    def test_views_are_apart(self, store: RowStore) -> None:
        for view in (VIEW, OTHER, LAST):
            store.write(view, [row("a", 1, view), row("b", 1)])
        assert store.views() == {VIEW, OTHER, LAST}
        assert [held(store, "a", view) for view in (VIEW, OTHER, LAST)] == [(1, VIEW), (1, OTHER), (1, LAST)]
        store.clear(OTHER)
        assert store.views() == {VIEW, LAST}
        assert held(store, "a", OTHER) is None
        assert held(store, "a", LAST) == (1, LAST)

    def test_several_views_are_read_at_once_in_the_order_asked(self, store: RowStore) -> None:
        store.write(VIEW, [row("a", 1), row("b", 2)])
        store.write(OTHER, [row("b", 3)])
        found = store.read_views({OTHER: [b"b", b"a"], VIEW: [b"b", b"never", b"a", b"b"]})
        times = {view: [None if one is None else one.event_us for one in rows] for view, rows in found.items()}
        assert times == {OTHER: [3, None], VIEW: [2, None, 1, 2]}

    def test_entities_are_those_with_a_row(self, store: RowStore) -> None:
        keys = ["a", "b" * 1_000, "µ", ""]
        store.write(VIEW, [row(key, 1) for key in keys])
        store.write(OTHER, [row("other", 1)])
        assert sorted(store.entities(VIEW)) == sorted(key.encode() for key in keys)
        assert held(store, "b" * 1_000) is not None

    def test_deleted_rows_are_gone(self, store: RowStore) -> None:
        store.write(VIEW, [row("a", 5), row("b", 5), row("c", 5)])
        assert store.delete(VIEW, [b"a", b"never", b"a", b"c"]) == 2
        assert list(store.entities(VIEW)) == [b"b"]
        assert store.delete(OTHER, [b"b"]) == 0
        store.write(VIEW, [row("a", 1)])
        assert held(store, "a") == (1, "a at 1")

    def test_rows_are_there_when_the_store_is_opened_again(self, open_rows: OpenRows) -> None:
        with open_rows() as store:
            store.write(VIEW, [row("a", 5), row("b", 6)])
            before = store.read(VIEW, [b"a", b"b"])
        with open_rows() as store:
            assert store.read(VIEW, [b"a", b"b"]) == before

    def test_two_stores_see_each_others_rows(self, open_rows: OpenRows) -> None:
        with open_rows() as one, open_rows() as other:
            one.write(VIEW, [row("a", 5)])
            assert held(other, "a") == (5, "a at 5")
            other.write(VIEW, [row("a", 4), row("a", 6)])
            assert held(one, "a") == (6, "a at 6")

    @pytest.mark.parametrize("seed", range(5))
    def test_random_writes_agree_with_a_brute_force(self, store: RowStore, seed: int) -> None:
        rng = random.Random(seed)  # noqa: S311 a test's
        expected: dict[tuple[str, str], tuple[int, int, str]] = {}
        for number in range(20):
            view = rng.choice([VIEW, OTHER])
            rows = []
            for place in range(rng.randrange(30)):
                entity, event_us = rng.choice("abcdefgh"), rng.randrange(-3, 4)
                created_us = rng.choice([None, -1, 2**33, 2**33 + 1])
                rows.append(row(entity, event_us, f"{number}.{place}", created_us))
                created = -(2**63) if created_us is None else created_us
                there = expected.get((view, entity))
                if there is None or there[:2] <= (event_us, created):
                    expected[view, entity] = event_us, created, f"{number}.{place}"
            store.write(view, rows)
        assert {
            (view, entity.decode()): held(store, entity.decode(), view)
            for view in (VIEW, OTHER)
            for entity in store.entities(view)
        } == {place: (event_us, values) for place, (event_us, _, values) in expected.items()}

    def test_several_writers_leave_the_newest_row(self, open_rows: OpenRows) -> None:
        failed: list[BaseException] = []
        start = threading.Barrier(4)

        def run(writer: int) -> None:
            rng = random.Random(writer)  # noqa: S311 a test's
            try:
                with open_rows() as store:
                    start.wait()
                    for _ in range(25):
                        times = [(rng.choice("abcd"), rng.randrange(100)) for _ in range(8)]
                        store.write(VIEW, [row(entity, event_us) for entity, event_us in times])
                        with seen:
                            for entity, event_us in times:
                                newest[entity] = max(newest.get(entity, -1), event_us)
            except BaseException as error:
                failed.append(error)
                raise

        newest: dict[str, int] = {}
        seen = threading.Lock()
        writers = [threading.Thread(target=run, args=(number,)) for number in range(4)]
        with open_rows() as kept:
            for one in writers:
                one.start()
            for one in writers:
                one.join()
            assert failed == []
            assert {entity: held(kept, entity) for entity in newest} == {
                entity: (event_us, f"{entity} at {event_us}") for entity, event_us in newest.items()
            }

    def test_interrupted_write_leaves_a_prefix_that_the_same_write_completes(self, store: RowStore) -> None:
        rows = [row(str(number), number % 7) for number in range(30_000)]

        def interrupted() -> Iterator[Row]:
            yield from rows[:20_001]
            msg = "the source went away"
            raise OSError(msg)

        with pytest.raises(OSError, match="went away"):
            store.write(VIEW, interrupted())
        keys = [one.entity for one in rows]
        before = [found is not None for found in store.read(VIEW, keys)]
        count = sum(before)
        assert before == [True] * count + [False] * (len(rows) - count)
        store.write(VIEW, rows)
        assert [_times(found) for found in store.read(VIEW, keys)] == [one.event_us for one in rows]


def _times(found: StoredRow | None) -> int | None:
    return None if found is None else found.event_us
