"""The plan's file: written whole, read back the same, and refused where it is not what apply wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import ConfigError, PlanError
from headrace.plan import Plan, read_plan, write_plan
from headrace.state import LocalState, StateFile
from tests.plan.examples import PLAN


def stored(path: Path) -> StateFile:
    return LocalState(path.parent).file(path.name)


def visible(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if not file.name.startswith("."))


def test_plan_reads_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "state" / "deep" / "plan.json"
    write_plan(PLAN, stored(path))
    assert read_plan(stored(path)) == PLAN
    assert read_plan(stored(path)).hash == PLAN.hash
    assert json.loads(path.read_text(encoding="utf-8"))["hash"] == PLAN.hash
    write_plan(Plan(project="other", sources={}, views={}), stored(path))
    assert read_plan(stored(path)).project == "other"
    assert visible(path.parent) == ["plan.json"]


def test_names_may_be_in_any_script(tmp_path: Path) -> None:
    plan = PLAN.model_copy(update={"project": "водовод ü 水"})
    write_plan(plan, stored(tmp_path / "plan.json"))
    assert read_plan(stored(tmp_path / "plan.json")) == plan


def test_other_spacing_is_the_same_plan(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    write_plan(PLAN, stored(path))
    path.write_text(json.dumps(json.loads(path.read_text()), separators=(",", ":")))
    assert read_plan(stored(path)) == PLAN


def _retuned(body: dict[str, Any]) -> None:
    body["views"]["shops"]["features"][0]["window_us"] *= 2


def _renamed(body: dict[str, Any]) -> None:
    body["sources"]["orders"]["topic"] = "other"


def _unhashed(body: dict[str, Any]) -> None:
    del body["hash"]


@pytest.mark.parametrize("edit", [_retuned, _renamed, _unhashed])
def test_plan_edited_by_hand_is_refused(tmp_path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    path = tmp_path / "plan.json"
    write_plan(PLAN, stored(path))
    body = json.loads(path.read_text())
    edit(body)
    path.write_text(json.dumps(body))
    with pytest.raises(PlanError, match=r"it was edited(?s:.*)headrace apply") as caught:
        read_plan(stored(path))
    assert str(path) in caught.value.what


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b"{", "cannot be read"),
        (b"\xff\xfe{}", "cannot be read"),
        (b"[]", "has format None; this headrace reads format 1"),
        (b"null", "has format None"),
        (b"{}", "has format None"),
        (b'{"format": 2}', "has format 2; this headrace reads format 1"),
        (b'{"format": "1"}', "has format '1'"),
        (b'{"format": 1}', "is not valid at project: Field required"),
        (b'{"format": 1, "project": "p", "sources": {}, "views": {}, "more": 1}', "is not valid at more: Extra inputs"),
        (
            b'{"format": 1, "project": "p", "sources": {"s": {"name": "s"}}, "views": {}}',
            "not valid at sources.s.topic",
        ),
    ],
)
def test_file_that_is_no_plan_is_named_with_the_cure(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    with pytest.raises(PlanError) as caught:
        read_plan(stored(path))
    assert message in caught.value.what
    assert str(path) in caught.value.what
    assert "headrace apply" in str(caught.value.hint)


def test_missing_plan_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"no plan at(?s:.*)plan\.json(?s:.*)headrace apply"):
        read_plan(stored(tmp_path / "plan.json"))
    with pytest.raises(PlanError, match="cannot be read"):
        read_plan(stored(tmp_path))


def test_path_that_cannot_be_written_is_named_and_nothing_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match=r"cannot be written to(?s:.*)`state` in headrace\.toml"):
        write_plan(PLAN, stored(tmp_path / "file" / "plan.json"))
    folder = tmp_path / "plan.json"
    folder.mkdir()
    (folder / "kept").write_text("")
    with pytest.raises(ConfigError, match="cannot be written to"):
        write_plan(PLAN, stored(folder))
    assert visible(tmp_path) == ["file", "plan.json"]


def test_plan_that_could_not_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plan.json"
    write_plan(PLAN, stored(path))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ConfigError, match="No space left"):
        write_plan(Plan(project="other", sources={}, views={}), stored(path))
    assert read_plan(stored(path)) == PLAN
    assert visible(tmp_path) == ["plan.json"]
