"""The port for small facts that must survive: bytes under a name, each name with a version.

Every write can say which version it replaces (compare-and-swap). So two processes that change one fact at the same time
never lose a change, and nothing relies on a lock. An adapter is right when it passes
`headrace.testing.state.StateContract`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final, NamedTuple

__all__ = ["ABSENT", "State", "StateConflictError", "StateFile", "Stored", "folders_and_name"]

ABSENT: Final = ""
"""The version of a name that nothing is stored under: a write that expects it only creates."""


class StateConflictError(Exception):
    """Another process wrote first: what is stored has another version than the write expected."""


class Stored(NamedTuple):
    """What is stored under a name.

    Attributes:
        data: The bytes.
        version: Changes with every write of the name.
    """

    data: bytes
    version: str


class State(ABC):
    """Named bytes. A name is a path such as `requests/rides.json`; no part of it begins with a dot.

    Every method raises OSError where the storage cannot be reached, and ValueError for a name that is not allowed.
    """

    @abstractmethod
    def read(self, name: str) -> Stored | None:
        """What is stored under a name; None where nothing is."""

    @abstractmethod
    def version(self, name: str) -> str | None:
        """The version of what is stored, without reading it; None where nothing is. It is cheap enough to ask often."""

    @abstractmethod
    def write(self, name: str, data: bytes, *, expected: str | None = None, is_secret: bool = False) -> str:
        """Store bytes: readers see the old ones or the new ones, and on return the new ones survive a power cut.

        Args:
            name: The name.
            data: The bytes.
            expected: The version that is replaced; `ABSENT` only creates; None replaces any content.
            is_secret: Only the owner may read it, where the storage knows owners.

        Returns:
            The new version.

        Raises:
            StateConflictError: Another version is there than expected; nothing was written.
        """

    @abstractmethod
    def delete(self, name: str, *, expected: str | None = None) -> bool:
        """Remove what is stored under a name.

        Args:
            name: The name.
            expected: The version that is removed; None removes any content.

        Returns:
            Whether anything was there.

        Raises:
            StateConflictError: Another version is there than expected; nothing was removed.
        """

    @abstractmethod
    def names(self, folder: str = "") -> list[str]:
        """The names directly in a folder, without the folder's, sorted; none where it does not exist."""

    @abstractmethod
    def place(self, name: str) -> str:
        """Where a name is stored, for messages: a path or a URI."""

    def below(self, folder: str) -> State:
        """A folder of this state as a state of its own."""
        return _Below(self, folder)

    def file(self, name: str) -> StateFile:
        """One name, to pass around."""
        return StateFile(self, name)


@dataclass(frozen=True)
class _Below(State):
    _state: State
    _folder: str

    def __post_init__(self) -> None:
        folders_and_name(self._folder)

    def read(self, name: str) -> Stored | None:
        return self._state.read(f"{self._folder}/{name}")

    def version(self, name: str) -> str | None:
        return self._state.version(f"{self._folder}/{name}")

    def write(self, name: str, data: bytes, *, expected: str | None = None, is_secret: bool = False) -> str:
        return self._state.write(f"{self._folder}/{name}", data, expected=expected, is_secret=is_secret)

    def delete(self, name: str, *, expected: str | None = None) -> bool:
        return self._state.delete(f"{self._folder}/{name}", expected=expected)

    def names(self, folder: str = "") -> list[str]:
        return self._state.names(f"{self._folder}/{folder}" if folder else self._folder)

    def place(self, name: str) -> str:
        return self._state.place(f"{self._folder}/{name}")


@dataclass(frozen=True)
class StateFile:
    """One name of a state.

    Attributes:
        state: The state.
        name: The name.
    """

    state: State
    name: str

    def __str__(self) -> str:
        return self.state.place(self.name)

    def exists(self) -> bool:
        """Whether anything is stored under the name."""
        return self.state.version(self.name) is not None

    def version(self) -> str | None:
        return self.state.version(self.name)

    def read(self) -> Stored | None:
        return self.state.read(self.name)

    def write(self, data: bytes, *, expected: str | None = None, is_secret: bool = False) -> str:
        return self.state.write(self.name, data, expected=expected, is_secret=is_secret)


def folders_and_name(name: str) -> tuple[str, ...]:
    """The parts of a name, for adapters.

    Raises:
        ValueError: A part is empty or begins with a dot.
    """
    parts = tuple(name.split("/"))
    if not all(parts) or any(part.startswith(".") for part in parts):
        msg = f"{name!r} is no name in a state."
        raise ValueError(msg)
    return parts
