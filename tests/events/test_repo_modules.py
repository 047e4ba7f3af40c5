"""Importing a repo's own modules, and leaving the process as it was."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from headrace.events.repo_modules import describe_import_failure, forget_modules, own_module_names, own_modules


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "hr_events.py").write_text("VALUE = 1\n", encoding="utf-8")
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path
    sys.modules.pop("hr_events", None)


def value() -> int:
    found: int = importlib.import_module("hr_events").VALUE
    return found


def test_the_repo_comes_first_and_what_it_stood_in_front_of_comes_back(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = ModuleType("hr_events")
    installed.VALUE = 9  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hr_events", installed)
    with own_modules(repo):
        assert value() == 1
    assert sys.modules["hr_events"] is installed
    with own_modules(repo):
        assert value() == 1


def test_a_fresh_import_reads_the_file_again_and_leaves_no_trace(repo: Path) -> None:
    path, bytecode = list(sys.path), sys.dont_write_bytecode
    for number in range(5):  # of one size and within a second, where a .pyc would be taken for current
        (repo / "hr_events.py").write_text(f"VALUE = {number}\n", encoding="utf-8")
        with own_modules(repo, fresh=True):
            assert value() == number
    assert "hr_events" not in sys.modules
    assert sys.path == path
    assert sys.dont_write_bytecode == bytecode
    assert not (repo / "__pycache__").exists()


def test_modules_stay_importable_for_imports_inside_functions(repo: Path) -> None:
    (repo / "hr_later.py").write_text("VALUE = 2\n", encoding="utf-8")
    (repo / "hr_events.py").write_text(
        "def later():\n    import hr_later\n    return hr_later.VALUE\n", encoding="utf-8"
    )
    with own_modules(repo):
        module = importlib.import_module("hr_events")
    assert module.later() == 2
    del sys.modules["hr_later"]


def test_forgotten_modules_are_read_again(repo: Path) -> None:
    with own_modules(repo):
        assert value() == 1
    (repo / "hr_events.py").write_text("VALUE = 2\n", encoding="utf-8")
    with own_modules(repo):
        assert value() == 1
    forget_modules(repo)
    assert "hr_events" not in sys.modules
    with own_modules(repo):
        assert value() == 2


def test_the_process_is_as_before_after_a_failure(repo: Path) -> None:
    path = list(sys.path)
    (repo / "hr_events.py").write_text("1 / 0\n", encoding="utf-8")
    with pytest.raises(ZeroDivisionError), own_modules(repo, fresh=True):
        value()
    assert sys.path == path
    assert "hr_events" not in sys.modules


def test_names_are_those_of_files_and_folders_with_files_but_not_the_standard_library(tmp_path: Path) -> None:
    for name in ("views.py", "json.py", "not-a-name.py", "shop/events.py", "data/notes.txt"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("", encoding="utf-8")
    assert own_module_names(tmp_path) == {"views", "shop"}


def test_a_failure_outside_the_repo_names_the_repo_alone(tmp_path: Path) -> None:
    assert describe_import_failure(ValueError("no"), tmp_path) == (tmp_path.name, "ValueError: no")
