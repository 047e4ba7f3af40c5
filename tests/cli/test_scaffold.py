"""`headrace init` makes a project that works, or nothing at all."""

from __future__ import annotations

import errno
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from headrace.cli import app
from headrace.cli.scaffold import TEMPLATES, project_name, scaffold
from headrace.config import Clock, Project
from headrace.errors import ConfigError
from headrace.events.repo_modules import own_modules

NOW = datetime(2026, 3, 9, 14, 20, tzinfo=UTC)
FILES = [
    ".gitignore",
    "README.md",
    "feature_repo/entities.py",
    "feature_repo/events.py",
    "feature_repo/feature_store.yaml",
    "feature_repo/services.py",
    "feature_repo/sources.py",
    "feature_repo/views.py",
    "headrace.toml",
    "offline/__init__.py",
    "offline/datasets/__init__.py",
    "offline/datasets/reorder_model.py",
    "streams/__init__.py",
    "streams/orders.py",
    "streams/worker.py",
    "tests/test_features.py",
]
SENSORS = sorted(
    {*FILES, "offline/datasets/overheating_model.py", "streams/readings.py"}
    - {"offline/datasets/reorder_model.py", "streams/orders.py"}
)


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# --- what is made


def test_project_has_the_folders_of_the_reference_one(tmp_path: Path) -> None:
    made = scaffold(tmp_path / "my-shop")
    assert files_in(tmp_path / "my-shop") == sorted(FILES)
    assert sorted(made) == made == sorted(tmp_path / "my-shop" / name for name in FILES)
    assert [path.name for path in tmp_path.iterdir()] == ["my-shop"]


def test_names_are_taken_from_the_folder(tmp_path: Path) -> None:
    scaffold(tmp_path / "My Shop", now=NOW)
    project = Project.load(tmp_path / "My Shop")
    assert (project.group, project.clock, project.broker) == ("my_shop", Clock.SYSTEM, None)
    assert 'project: "my_shop"\n' in (project.repo / "feature_store.yaml").read_text()
    assert "cd 'My Shop'\n" in (project.root / "README.md").read_text()
    assert "datetime(2026, 3, 2, 14, tzinfo=UTC)" in (project.root / "streams" / "orders.py").read_text()


def test_same_name_and_hour_make_the_same_files(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for first in scaffold(tmp_path / "shop", now=NOW):
        second = tmp_path / "other" / first.relative_to(tmp_path)
        if not second.exists():
            scaffold(tmp_path / "other" / "shop", now=NOW + timedelta(minutes=30))
        assert first.read_bytes() == second.read_bytes()


def test_project_is_as_open_as_any_folder_one_makes(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    scaffold(tmp_path / "shop")
    assert (tmp_path / "shop").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_empty_folder_is_filled_and_stays_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop").mkdir()
    before = (tmp_path / "shop").stat().st_ino
    monkeypatch.chdir(tmp_path / "shop")
    scaffold(Path("."))
    assert files_in(tmp_path / "shop") == sorted(FILES)
    assert (tmp_path / "shop").stat().st_ino == before
    assert Project.load().group == "shop"


# --- its templates


@pytest.mark.parametrize("template", TEMPLATES)
def test_templates_are_formatted_clean_and_without_placeholders(tmp_path: Path, template: str) -> None:
    for path in scaffold(tmp_path / "made", template=template):
        assert "$project" not in path.read_text()
        assert "$$" not in path.read_text()
    for check in (["format", "--check"], ["check", "--select", "B,C4,E,F,RET,SIM,UP"]):
        ruff = [sys.executable, "-m", "ruff", *check, "--isolated", "--no-cache", "."]
        done = subprocess.run(ruff, cwd=tmp_path / "made", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_sensors_are_another_project_of_the_same_shape(tmp_path: Path) -> None:
    scaffold(tmp_path / "plant", template="sensors")
    assert files_in(tmp_path / "plant") == SENSORS


def test_unknown_template_is_told_with_those_there_are(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["init", str(tmp_path / "made"), "--template", "bank"])
    assert done.exit_code == 1
    assert "shop, sensors" in done.output
    assert list(tmp_path.iterdir()) == []


# --- its events


@contextmanager
def at(moment: datetime, module: Any) -> Iterator[None]:
    """`module` takes `moment` for now."""

    class Fixed(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return moment.astimezone(tz)

    real, module.datetime = module.datetime, Fixed
    try:
        yield
    finally:
        module.datetime = real


def test_orders_of_the_past_never_change_and_the_newest_are_from_just_now(tmp_path: Path) -> None:
    scaffold(tmp_path / "shop", now=NOW)
    with own_modules(tmp_path / "shop", fresh=True):
        orders = importlib.import_module("streams.orders")
    with own_modules(tmp_path / "shop" / "feature_repo", fresh=True):
        model = importlib.import_module("events").Order
    with at(NOW, orders):
        first = orders.history()
        assert orders.history() == first
    with at(NOW + timedelta(days=1, minutes=7), orders):
        later = orders.history()
    assert later[: len(first)] == first
    assert len(later) > len(first) > 2_000
    times = [order["placed_at"] for order in later]
    assert times == sorted(times)
    assert times[0] >= NOW - timedelta(days=7, hours=1)
    assert timedelta(0) <= NOW + timedelta(days=1, minutes=7) - times[-1] < timedelta(hours=1)
    assert len({order["order_id"] for order in later}) == len(later)
    for order in later:
        model.model_validate(order)
    assert any(order["coupon"] for order in later)


# --- what is refused


@pytest.mark.parametrize(
    ("folder", "project"),
    [
        ("shop", "shop"),
        ("my-shop", "my_shop"),
        ("My Shop 2", "my_shop_2"),
        ("__shop--", "shop"),
        ("Crème.v1", "creme_v1"),
        ("no", "no"),  # a boolean to YAML, were it not quoted
    ],
)
def test_project_name_is_an_identifier(folder: str, project: str) -> None:
    assert project_name(folder) == project
    assert project.isidentifier()


@pytest.mark.parametrize("name", ["2shops", "42", "---", "_", "магазин"])
def test_name_without_a_letter_at_its_start_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="gives no name to a project") as refused:
        scaffold(tmp_path / name)
    assert "Begin it with a letter" in (refused.value.hint or "")
    assert list(tmp_path.iterdir()) == []


def test_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="exists and is not empty") as refused:
        scaffold(tmp_path / "shop")
    assert "Give another name" in (refused.value.hint or "")
    assert files_in(tmp_path) == ["shop/notes.txt"]


def test_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "shop").write_text("mine")
    with pytest.raises(ConfigError, match="exists and is no folder"):
        scaffold(tmp_path / "shop")
    for folder in (tmp_path / "nowhere" / "shop", tmp_path / "shop" / "shop"):
        with pytest.raises(ConfigError, match="There is no folder"):
            scaffold(folder)
    assert (tmp_path / "shop").read_text() == "mine"
    assert files_in(tmp_path) == ["shop"]


def test_place_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "astray").symlink_to(tmp_path / "nowhere")
    for name in ("a" * 300, "astray"):
        with pytest.raises(ConfigError, match="The project cannot be written to") as refused:
            scaffold(tmp_path / name)
        assert "No file was left there" in (refused.value.hint or "")
    assert [path.name for path in tmp_path.iterdir()] == ["astray"]


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("failing", ["write_text", "rename"])
def test_disk_that_fills_up_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, there: bool
) -> None:
    if there:
        (tmp_path / "shop").mkdir()
    real, calls = getattr(Path, failing), 0
    fails_at = 3 if there or failing == "write_text" else 1

    def fail(self: Path, *args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == fails_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, failing, fail)
    with pytest.raises(ConfigError, match="No space left on device"):
        scaffold(tmp_path / "shop")
    assert calls >= fails_at
    assert list(tmp_path.rglob("*")) == ([tmp_path / "shop"] if there else [])


def test_command_says_what_to_do_next_and_refuses_to_do_it_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["init", "my-shop"])
    assert done.exit_code == 0
    assert "headrace produce orders" in done.output
    again = CliRunner().invoke(app, ["init", "my-shop"])
    assert again.exit_code == 1
