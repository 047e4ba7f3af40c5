"""`headrace init` makes a project that works, or nothing at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.cli.scaffold import scaffold
from headrace.config import Project
from headrace.errors import ConfigError


def test_project_has_the_folders_of_the_reference_one(tmp_path: Path) -> None:
    written = {str(path) for path in scaffold(tmp_path / "my-shop")}
    assert written >= {
        "README.md",
        "headrace.toml",
        "feature_repo/feature_store.yaml",
        "feature_repo/events.py",
        "feature_repo/views.py",
        "streams/orders.py",
        "streams/worker.py",
        "offline/datasets/big_order.py",
    }
    assert {
        str(path.relative_to(tmp_path / "my-shop")) for path in (tmp_path / "my-shop").rglob("*") if path.is_file()
    } == written
    project = Project.load(tmp_path / "my-shop")
    assert project.group == "my_shop"
    assert "project: my_shop\n" in (project.repo / "feature_store.yaml").read_text()


def test_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    assert scaffold(tmp_path / "shop")


def test_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        scaffold(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("name", ["1st", "---", "_"])
def test_name_without_a_letter_at_its_start_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="starts with a letter"):
        scaffold(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_made_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="cannot be written"):
        scaffold(tmp_path / "file" / "shop")
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.slow
@pytest.mark.kafka
def test_new_project_works_from_its_first_command_to_its_proof(tmp_path: Path) -> None:
    def headrace(*arguments: str) -> str:
        command = [sys.executable, "-m", "headrace.cli", *arguments]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
        folder = tmp_path / "shop" if (tmp_path / "shop").exists() else tmp_path
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "headrace apply" in headrace("init", "shop")
    assert "50/50 lookups match" in headrace("demo", "--lookups", "50")
    found = json.loads(headrace("lookup", "--key", "customer_id=1", "--json"))
    assert found["views"]["customer_orders"]["status"] == "present"
    assert found["features"]["customer_orders__orders_24h"] > 0
    assert sum(row["applied"] for row in json.loads(headrace("status", "--json"))["partitions"]) == 2000
    assert json.loads(headrace("dataset", "verify", ".headrace/datasets/big_order", "--json"))["ok"]
