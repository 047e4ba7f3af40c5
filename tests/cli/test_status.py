"""`headrace status --watch` shows the status again and again, until it is interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.config import Project
from headrace.plan import write_plan
from tests.plan.examples import PLAN

pytestmark = pytest.mark.slow  # it is shown every two seconds


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "headrace.toml").write_text("[headrace]\n")
    write_plan(PLAN, Project.load(tmp_path).plan_file)
    return tmp_path


def watching(root: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "headrace", "status", "--watch", *arguments]
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    return subprocess.Popen(
        command, cwd=root, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_status_comes_again_and_ctrl_c_ends_it_with_one_line(root: Path) -> None:
    with watching(root) as running:
        assert running.stdout is not None
        titles = 0
        for line in running.stdout:
            titles += line.startswith(f"shop · plan {PLAN.hash}")
            if titles == 2:
                break
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    assert titles == 2
    assert (running.returncode, err) == (130, "interrupted\n")


def test_json_is_a_document_per_line(root: Path) -> None:
    with watching(root, "--json") as running:
        assert running.stdout is not None
        found = [json.loads(running.stdout.readline()) for _ in range(2)]
        running.send_signal(signal.SIGINT)
        rest, _ = running.communicate(timeout=60)
    assert [one["plan"] for one in found] == [PLAN.hash, PLAN.hash]
    assert all(json.loads(line)["plan"] == PLAN.hash for line in rest.splitlines())
    assert running.returncode == 130
