"""A note changes without losing what others change at the same time, and says what is wrong in its owner's words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.state import LocalState, MemoryState, Note, State


class DamagedError(Exception):
    pass


class AwayError(Exception):
    pass


def note_of(state: State) -> Note[list[int]]:
    return Note(
        state.file("numbers.json"),
        list,
        lambda found: [int(one) for one in found["numbers"]],
        lambda numbers: {"numbers": numbers},
        lambda error: DamagedError(str(error)),
        lambda error: AwayError(str(error)),
    )


def adding(number: int) -> Callable[[list[int]], list[int]]:
    return lambda numbers: [*numbers, number]


def test_value_is_empty_until_it_is_changed() -> None:
    note = note_of(MemoryState())
    assert note.read() == []
    assert note.update(adding(1)) == note.read() == [1]


def test_what_another_wrote_in_between_is_kept() -> None:
    state = MemoryState()
    note, other = note_of(state), note_of(state)
    seen: list[list[int]] = []

    def add(numbers: list[int]) -> list[int]:
        if not seen:
            other.update(adding(7))
        seen.append(numbers)
        return [*numbers, 1]

    assert note.update(add) == [7, 1]
    assert seen == [[], [7]]


def test_value_that_stays_the_same_is_not_written() -> None:
    state = MemoryState()
    note = note_of(state)
    note.update(adding(1))
    version = state.version("numbers.json")
    note.update(lambda numbers: list(numbers))
    assert state.version("numbers.json") == version


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"numbers": 1}', b'{"numbers": ["x"]}', b"\xff"])
def test_something_else_is_said_to_be_damaged_and_is_not_replaced(data: bytes) -> None:
    state = MemoryState()
    state.write("numbers.json", data)
    note = note_of(state)
    with pytest.raises(DamagedError):
        note.read()
    with pytest.raises(DamagedError):
        note.update(adding(1))
    assert note.file.read() == (data, "1")


def test_storage_that_cannot_be_used_is_said_to_be_away(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AwayError):
        note_of(LocalState(tmp_path / "file")).update(adding(1))


def test_error_of_the_change_itself_passes_through() -> None:
    def fail(_: list[int]) -> list[int]:
        raise KeyError(*["mine"])

    with pytest.raises(KeyError, match="mine"):
        note_of(MemoryState()).update(fail)
