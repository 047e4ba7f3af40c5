"""Small files are written whole, and are on the disk once they are written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headrace.state.durable_file import write_durably


def test_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "notes.json"
    write_durably(path, "ä\n")
    write_durably(path, "b\n")
    assert path.read_text(encoding="utf-8") == "b\n"
    assert list(tmp_path.iterdir()) == [path]


def test_content_and_then_the_name_are_synced_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "notes.json", list[object]()

    def sync(handle: int) -> None:
        is_folder = os.fstat(handle).st_ino == tmp_path.stat().st_ino
        synced.append(("folder", path.exists()) if is_folder else ("file", path.exists()))

    monkeypatch.setattr(os, "fsync", sync)
    write_durably(path, "a")
    assert synced == [("file", False), ("folder", True)]


def test_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "notes.json"
    write_durably(path, "a")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_durably(path, "b")
    assert path.read_text(encoding="utf-8") == "a"
    assert list(tmp_path.iterdir()) == [path]
