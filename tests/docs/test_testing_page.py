"""The tests that docs/testing.md shows pass under pytest, with the fixture that headrace brings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = "headrace.testing.pytest_plugin"


def run(folder: Path, *names: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        PLUGIN,
        "-p",
        "no:cacheprovider",
        f"--rootdir={folder}",
        *names,
    ]
    # Without other installed plugins. It is loaded by its module, and must not be loaded again by its entry point.
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_shown_tests_pass_and_would_fail(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    shown = [code for code in shown if "def test_" in code]
    right, wrong = tmp_path / "test_right.py", tmp_path / "test_wrong.py"
    right.write_text("\n".join(shown), encoding="utf-8")
    wrong.write_text("\n".join(shown).replace("[15.0]", "[15.5]"), encoding="utf-8")
    both = run(tmp_path, str(right), str(wrong))  # in one run, which imports Feast once
    assert "1 failed, 1 passed" in both.stdout, both.stdout + both.stderr
    (failed,) = [line for line in both.stdout.splitlines() if line.startswith("FAILED")]
    assert wrong.name in failed


def test_fixture_is_announced_to_pytest() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"headrace": PLUGIN}


def test_plugin_is_light() -> None:
    heavy = ("feast", "duckdb", "pyarrow", "headrace.worker")
    script = f"import sys, {PLUGIN}; print([name for name in {heavy} if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
