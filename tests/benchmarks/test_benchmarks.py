"""Every benchmark runs, small and once, and tells its ratios. How long anything took is nobody's business here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = sorted(
    file.stem for file in (ROOT / "benchmarks").glob("*.py") if re.search(r'^ +command_line\("', file.read_text(), re.M)
)


def test_every_benchmark_is_found() -> None:
    assert {"audit", "cost", "fetch_transport", "latency", "memory", "stream"} <= set(BENCHMARKS)


@pytest.mark.long
@pytest.mark.kafka
@pytest.mark.redis
@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmark_asserts_equal_answers_and_tells_ratios(name: str) -> None:
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-4_000:]
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    assert told["benchmark"] == name
    if "skipped" in told:
        pytest.skip(told["skipped"])
    assert told["ratios"], "nothing was compared"
    assert all(ratio > 0 for ratio in told["ratios"].values())
    assert set(told["targets"]) <= set(told["ratios"])
