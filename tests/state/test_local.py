"""The state in a folder: files are whole, on the disk once they are written, and several processes may change them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.state import ABSENT, LocalState, StateConflictError
from headrace.testing.state import StateContract


class TestLocalState(StateContract):
    @pytest.fixture
    def state(self, tmp_path: Path) -> LocalState:
        return LocalState(tmp_path / "made" / "by need")


class TestFolderOfLocalState(StateContract):
    @pytest.fixture
    def state(self, tmp_path: Path) -> object:
        return LocalState(tmp_path).below("requests")


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def test_a_name_is_a_file_that_people_can_read(tmp_path: Path) -> None:
    state = LocalState(tmp_path)
    state.write("pins/notes.json", "ä\n".encode())
    state.write("pins/notes.json", b"b\n")
    assert (tmp_path / "pins" / "notes.json").read_text() == "b\n"
    assert visible(tmp_path / "pins") == ["notes.json"]
    assert state.place("pins/notes.json") == str(tmp_path / "pins" / "notes.json")


def test_a_file_that_somebody_copies_into_the_folder_is_read_and_has_another_version(tmp_path: Path) -> None:
    state = LocalState(tmp_path)
    version = state.write("a", b"1")
    (tmp_path / "copy").write_bytes(b"1")
    (tmp_path / "copy").replace(tmp_path / "a")
    assert state.version("a") != version
    with pytest.raises(StateConflictError):
        state.write("a", b"2", expected=version)


def test_reading_makes_no_folder(tmp_path: Path) -> None:
    state = LocalState(tmp_path / "none")
    assert (state.read("a"), state.names(), state.delete("a")) == (None, [], False)
    assert not (tmp_path / "none").exists()


def test_a_secret_is_its_owners(tmp_path: Path) -> None:
    LocalState(tmp_path).write("secret", b"1", expected=ABSENT, is_secret=True)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_a_draft_that_a_killed_process_left_is_no_name_and_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".a.draft").write_bytes(b"half")
    state = LocalState(tmp_path)
    assert state.names() == []
    state.write("a", b"whole")
    assert visible(tmp_path) == ["a"]


def test_content_and_then_the_name_are_synced_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "notes.json", list[object]()

    def sync(handle: int) -> None:
        is_folder = os.fstat(handle).st_ino == tmp_path.stat().st_ino
        synced.append(("folder", path.exists()) if is_folder else ("file", path.exists()))

    monkeypatch.setattr(os, "fsync", sync)
    LocalState(tmp_path).write("notes.json", b"a")
    assert synced == [("file", False), ("folder", True)]


def test_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = LocalState(tmp_path)
    version = state.write("notes.json", b"a")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        state.write("notes.json", b"b")
    assert state.read("notes.json") == (b"a", version)
    assert visible(tmp_path) == ["notes.json"]


_ADD = """
import sys
from pathlib import Path
from headrace.state import ABSENT, LocalState, StateConflictError
state = LocalState(Path(sys.argv[1]))
for _ in range(50):
    while True:
        stored = state.read("count")
        count, version = (0, ABSENT) if stored is None else (int(stored.data), stored.version)
        try:
            state.write("count", str(count + 1).encode(), expected=version)
        except StateConflictError:
            continue
        break
"""


def test_changes_of_several_processes_are_all_kept(tmp_path: Path) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", _ADD, str(tmp_path)]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "150"
