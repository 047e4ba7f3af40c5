"""headrace's pytest plugin, in the test runs of those who never use it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ["duckdb", "faust", "feast", "kafka", "lmdb", "numpy", "pandas", "pyarrow", "pydantic", "rich", "typer"]


def run_pytest(folder: Path, *before: str) -> subprocess.CompletedProcess[str]:
    program = f"import sys, pytest; {'; '.join((*before, 'sys.exit(pytest.main())'))}"
    sys_args = ["-q", "-W", "error", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    return subprocess.run(
        [sys.executable, "-c", program, *sys_args], cwd=folder, capture_output=True, text=True, check=False
    )


def test_plugin_that_is_not_used_loads_nothing_and_warns_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(
        f"import sys\n\ndef test_nothing_is_loaded():\n    assert [n for n in {HEAVY!r} if n in sys.modules] == []\n"
    )
    done = run_pytest(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("before", ["import headrace", "import headrace.lookup"])
def test_program_that_has_imported_headrace_before_is_not_warned(tmp_path: Path, before: str) -> None:
    (tmp_path / "test_other.py").write_text("def test_passes():\n    pass\n")
    done = run_pytest(tmp_path, before)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stdout + done.stderr


@pytest.mark.slow
def test_names_of_headrace_are_imported_without_a_warning(tmp_path: Path) -> None:
    names = ["EventProducer", "TrainingClient", "FeatureClient", "event_source", "stream_view", "aggregation"]
    tests = [f"def test_{name}():\n    from headrace import {name}\n" for name in names]
    (tmp_path / "test_other.py").write_text("\n\n".join(tests))
    done = run_pytest(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
