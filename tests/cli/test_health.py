"""`headrace health`: 0 where a worker moves, 1 where none runs or one hangs, 4 where it waits for what is away."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headrace.cli import app
from headrace.worker.heartbeat import Heart, WorkerState

runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "headrace.toml").write_text("[headrace]\n")
    return tmp_path


def health(project: Path, *options: str) -> tuple[int, str]:
    done = runner.invoke(app, ["health", "--project", str(project), *options])
    return done.exit_code, done.output


def heart_of(project: Path) -> Heart:
    return Heart(project / ".headrace" / "workers")


def rewrite(project: Path, **changes: object) -> None:
    (path,) = (project / ".headrace" / "workers").glob("*.json")
    told = json.loads(path.read_text())
    path.write_text(
        json.dumps(
            {**told, **{name: told[name] + by for name, by in changes.items() if name == "beat"}}
            | {name: value for name, value in changes.items() if name != "beat"}
        )
    )


def test_no_worker_has_ever_run(project: Path) -> None:
    code, said = health(project)
    assert code == 1
    assert "headrace stream" in said


@pytest.mark.parametrize(
    "state", [WorkerState.STARTING, WorkerState.RECOVERING, WorkerState.CATCHING_UP, WorkerState.RUNNING]
)
def test_worker_that_moves_is_healthy(project: Path, state: WorkerState) -> None:
    heart_of(project).beat(state)
    code, said = health(project)
    assert code == 0
    assert f": {state}" in said


def test_worker_that_hangs_is_not(project: Path) -> None:
    heart_of(project).beat(WorkerState.RUNNING)
    rewrite(project, beat=-30)
    code, said = health(project)
    assert code == 1
    assert "no sign of life for 30 s" in said


def test_worker_that_waits_for_a_server_is_away(project: Path) -> None:
    heart_of(project).beat(WorkerState.WAITING, note="Redis at redis:6379 does not answer.")
    code, said = health(project)
    assert code == 4
    assert "Redis at redis:6379 does not answer" in said


def test_worker_that_failed_is_gone_with_its_reason(project: Path) -> None:
    heart_of(project).end("The disk is full.")
    code, said = health(project)
    assert code == 1
    assert "failed: The disk is full." in said


def test_workers_of_other_machines_count_where_they_are_asked_for(project: Path) -> None:
    heart_of(project).beat(WorkerState.RUNNING)
    rewrite(project, host="another-machine")
    assert health(project)[0] == 1
    assert health(project, "--all")[0] == 0


def test_json_says_the_same(project: Path) -> None:
    heart_of(project).beat(WorkerState.RUNNING, partitions=("orders[0]",))
    code, said = health(project, "--json")
    told = json.loads(said)
    assert (code, told["healthy"]) == (0, True)
    assert told["workers"][0]["partitions"] == ["orders[0]"]
    rewrite(project, beat=-30)
    code, said = health(project, "--json")
    told = json.loads(said)
    assert (code, told["healthy"], told["exit_code"], told["workers"][0]["stale"]) == (1, False, 1, True)


def test_it_imports_none_of_what_takes_long() -> None:
    heavy = [
        "faust",
        "kafka",
        "aiokafka",
        "confluent_kafka",
        "deltalake",
        "duckdb",
        "feast",
        "numpy",
        "pyarrow",
        "redis",
        "lmdb",
    ]
    code = f"import sys, headrace.cli.health; print([one for one in {heavy} if one in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
