"""The README's tour, as written, in a copy of this repository: from nothing, and after the demo."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.flights import ROOT

TOUR = re.compile(r"^## A five-minute tour.*?^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)


def tour() -> list[str]:
    """The commands, without what is said about them."""
    found = TOUR.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert found is not None
    return [line.partition(" # ")[0].strip() for line in found[1].splitlines()]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What git has of this repository, as a clone would give it."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path


def environment() -> dict[str, str]:
    settings = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    return {**settings, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def run(folder: Path, line: str) -> str:
    done = subprocess.run(
        shlex.split(line), cwd=folder, env=environment(), capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, line
    return done.stdout


@contextmanager
def other_terminal(folder: Path, line: str) -> Iterator[None]:
    """A command that goes on until the tour has ended; then Ctrl-C."""
    with subprocess.Popen(shlex.split(line), cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True) as going:
        assert going.stdout is not None
        assert "listens at" in going.stdout.readline()
        try:
            yield
        finally:
            going.send_signal(signal.SIGINT)
            going.communicate(timeout=60)
    assert going.returncode == 130


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.timeout(1200)
@pytest.mark.xdist_group("tour")
def test_tour_works_as_written(copy: Path) -> None:
    told = take(copy, tour())
    (looked_up,) = (out for line, out in told.items() if line.startswith("headrace lookup") and "--json" in line)
    assert_answers(looked_up)


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.timeout(1200)
@pytest.mark.xdist_group("tour after the demo")
def test_tour_works_after_the_demo_too(copy: Path) -> None:
    """What the demo left is gone once the tour has begun anew. What comes after its first lookup is as from nothing."""
    demo = run(copy, "headrace demo --limit 3000 --lookups 50")
    assert "50/50 lookups match" in demo
    for door in ("the SDK in this process", "the SDK over HTTP", "Feast's FeatureStore", "curl"):
        assert re.search(rf"{door}\W+[\d.,]+\W+0\W", demo), demo
    lines = tour()
    asked = next(n for n, line in enumerate(lines) if line.startswith("headrace lookup") and "--json" in line)
    assert_answers(take(copy, lines[: asked + 1])[lines[asked]])


def take(copy: Path, lines: list[str]) -> dict[str, str]:
    """Run the lines, those after `headrace dev` while it goes on; what each of these printed."""
    split = lines.index("headrace dev")
    for line in lines[:split]:
        run(copy, line)
    with other_terminal(copy, lines[split]):
        return {line: run(copy, line) for line in lines[split + 1 :]}


def assert_answers(looked_up: str) -> None:
    answer = json.loads(looked_up)
    assert answer["at"].startswith("2013-")
    assert all(view["status"] == "present" for view in answer["views"].values())
    values = list(answer["features"].values())
    assert sum(bool(value) for value in values) > len(values) / 2, answer["features"]
