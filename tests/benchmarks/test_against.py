"""What is compared with an earlier commit, and what is said of a benchmark that cannot run here."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks import against, stream
from benchmarks.side_by_side import Options, Skipped

OPTIONS = Options(quick=True, rounds=1, more={"rev": "HEAD", "benchmarks": ["lookup"]})
REPORT = {
    "measures": [
        {
            "what": "rows",
            "unit": "rows/s",
            "more_is_better": True,
            "ours": "ours",
            "sides": {"ours": {"median": 4.0}, "peer": {"median": 2.0}},
        }
    ]
}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], None]:
    """Every benchmark answers with this report."""
    really_run = subprocess.run

    def answer(report: dict[str, Any]) -> None:
        def run(command: list[str], **named: Any) -> Any:
            if "-m" not in command:
                return really_run(command, **named)
            return subprocess.CompletedProcess(command, 0, json.dumps(report), "")

        monkeypatch.setattr(subprocess, "run", run)

    return answer


def test_both_trees_are_measured(answers: Callable[[dict[str, Any]], None]) -> None:
    answers(REPORT)
    report = against.run(OPTIONS)
    assert [(one.what, one.sides) for one in report.measures] == [("lookup: rows", {"now": [4.0], "before": [4.0]})]
    assert report.notes == []


def test_benchmark_that_cannot_run_here_is_said_with_the_reason(answers: Callable[[dict[str, Any]], None]) -> None:
    answers({"skipped": "redis-server is not installed", "ratios": {}})
    with pytest.raises(Skipped, match="lookup was skipped .*redis-server is not installed"):
        against.run(OPTIONS)


def test_benchmark_that_measures_nothing_is_said(answers: Callable[[dict[str, Any]], None]) -> None:
    answers({"measures": []})
    with pytest.raises(Skipped, match="lookup measured nothing"):
        against.run(OPTIONS)


def test_sides_of_stream_that_need_no_redis_run_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    ours = [stream.OURS, f"{stream.OURS} by the system clock"]
    sides, notes = stream.runnable([*ours, f"{stream.OURS} on Redis", stream.HANDWRITTEN])
    assert list(sides) == ours
    assert [note.partition(" was left out: redis-server is not installed")[0] for note in notes] == [
        f"{stream.OURS} on Redis",
        stream.HANDWRITTEN,
    ]
    measured = list(stream.compared("1k", {name: [2.0] for name in sides}))
    assert {one.ours for one in measured} == set(ours)
    with pytest.raises(Skipped, match="redis-server is not installed"):
        stream.run(Options(more={"sides": [stream.HANDWRITTEN]}))
