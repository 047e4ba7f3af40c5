"""The contract of a state, as tests that any adapter can run.

from headrace.testing.state import StateContract

class TestMyState(StateContract):
    @pytest.fixture
    def state(self):
        return MyState(...)  # empty
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from headrace.state import ABSENT, State, StateConflictError

__all__ = ["StateContract"]


class StateContract:
    """Subclass it, and give a fixture `state` that returns an empty state."""

    def test_what_was_written_is_read(self, state: State) -> None:
        assert state.read("a.json") is None
        assert state.version("a.json") is None
        version = state.write("a.json", b"\x00 any bytes\n")
        assert state.read("a.json") == (b"\x00 any bytes\n", version)
        assert state.version("a.json") == version

    def test_a_name_may_lie_in_folders(self, state: State) -> None:
        state.write("deep/er/a.json", b"a")
        assert state.names("deep/er") == ["a.json"]
        assert state.names("deep") == []
        assert state.names() == []
        assert state.names("nowhere") == []

    def test_names_are_sorted_and_of_one_folder(self, state: State) -> None:
        for name in ("b", "a", "c/a"):
            state.write(name, b"")
        assert state.names() == ["a", "b"]
        assert state.names("c") == ["a"]

    def test_every_write_has_a_new_version_even_of_the_same_bytes(self, state: State) -> None:
        versions = [state.write("a", b"same") for _ in range(20)]
        state.delete("a")
        versions.append(state.write("a", b"same"))
        assert len(set(versions)) == 21
        assert ABSENT not in versions

    def test_a_write_that_only_creates_is_refused_where_something_is(self, state: State) -> None:
        version = state.write("a", b"first", expected=ABSENT)
        with pytest.raises(StateConflictError):
            state.write("a", b"second", expected=ABSENT)
        assert state.file("a").read() == (b"first", version)

    def test_a_write_is_refused_where_another_came_between(self, state: State) -> None:
        old = state.write("a", b"1")
        new = state.write("a", b"2", expected=old)
        with pytest.raises(StateConflictError):
            state.write("a", b"3", expected=old)
        assert state.read("a") == (b"2", new)
        state.delete("a")
        with pytest.raises(StateConflictError):
            state.write("a", b"4", expected=new)
        assert state.read("a") is None

    def test_a_deletion_is_refused_where_a_write_came_between(self, state: State) -> None:
        old = state.write("a", b"1")
        new = state.write("a", b"2")
        with pytest.raises(StateConflictError):
            state.delete("a", expected=old)
        assert state.delete("a", expected=new)
        assert not state.delete("a")
        assert state.names() == []

    def test_a_folder_is_a_state_of_its_own(self, state: State) -> None:
        below = state.below("requests")
        version = below.write("a.json", b"a")
        assert state.read("requests/a.json") == (b"a", version)
        assert below.names() == ["a.json"]
        assert below.version("a.json") == version
        assert below.place("a.json") == state.place("requests/a.json")
        assert below.delete("a.json", expected=version)
        assert state.names("requests") == []

    @pytest.mark.parametrize("name", ["", "/a", "a/", "a//b", "../a", "a/../b", ".a", "a/.b"])
    def test_a_name_that_leads_elsewhere_is_refused(self, state: State, name: str) -> None:
        actions: list[Callable[[], object]] = [lambda: state.read(name), lambda: state.write(name, b"")]
        for action in actions:
            with pytest.raises(ValueError, match="no name in a state"):
                action()

    def test_changes_at_the_same_time_are_all_kept(self, state: State) -> None:
        def add_many() -> None:
            for _ in range(10):
                while True:
                    stored = state.read("count")
                    count, version = (0, ABSENT) if stored is None else (int(stored.data), stored.version)
                    with suppress(StateConflictError):
                        state.write("count", str(count + 1).encode(), expected=version)
                        break

        threads = [threading.Thread(target=add_many) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = state.read("count")
        assert found is not None
        assert found.data == b"40"
