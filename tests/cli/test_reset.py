"""`headrace reset` empties what it names, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headrace.cli import app
from headrace.config import Project
from headrace.log import EventLog, TopicHistory, TopicNotes
from headrace.plan import write_plan
from headrace.stores import open_store
from headrace.worker.heartbeat import Heart
from tests.servers.redis import RedisServer
from tests.worker.shop import PLAN, SOURCE, new_pipeline, one_round, record

runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})


@pytest.fixture(params=["lmdb", "redis"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """A project with events in store and log, recorded plans, a dataset and an erasure's ledger."""
    store = "lmdb"
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("shared_redis")
        store = server.url
    (tmp_path / "headrace.toml").write_text(f'[headrace]\nstore = "{store}"\n')
    made = Project.load(tmp_path)
    write_plan(PLAN, made.plan_file)
    with open_store(made.store_url, writable=True) as opened:
        opened.clear()
        pipeline = new_pipeline(opened, EventLog(made.log_path, SOURCE))
        pipeline.process(one_round(record(0, "a", 0), record(1, "a", 1)))
        pipeline.flush()
    TopicNotes(made.log_notes).update(
        lambda _: {"sales": TopicHistory.begun("c/1", 1, {}, "2024-05-01T12:00:00+00:00")}
    )
    for path in (
        made.state / "plans" / "1.json",
        made.state / "datasets" / "d" / "manifest.json",
        made.state / "erasure" / "ledger.json",
    ):
        path.parent.mkdir(parents=True)
        path.write_text("{}")
    return made


def reset(project: Project, *arguments: str) -> tuple[int, str]:
    done = runner.invoke(app, ["reset", "--project", str(project.root), *arguments])
    return done.exit_code, done.output


def held(project: Project) -> tuple[int, int]:
    """How many positions the store holds, and how many events the log does."""
    with open_store(project.store_url, writable=False) as store:
        return len(store.positions()), EventLog(project.log_path, SOURCE).snapshot().rows


def test_store_and_log_are_emptied_and_what_people_made_stays(project: Project) -> None:
    code, said = reset(project, "--json", "--yes")
    assert code == 0
    removed = {one["what"]: one["holds"] for one in json.loads(said)["removed"]}
    assert removed == {
        "online store": "2 offsets applied",
        "log": "2 events",
        "plans that they were served under": "1 files",
    }
    assert held(project) == (0, 0)
    assert TopicNotes(project.log_notes).read() == {}
    assert not (project.state / "plans").exists()
    assert project.plan_file.exists()
    assert (project.state / "datasets" / "d" / "manifest.json").exists()
    assert (project.state / "erasure" / "ledger.json").exists()
    code, said = reset(project, "--yes", "--datasets")
    assert code == 0
    assert not (project.state / "datasets").exists()
    assert "headrace stream" in said


def test_nothing_is_removed_where_nobody_says_yes(project: Project) -> None:
    code, said = reset(project)
    assert code == 1
    assert "2 events" in said
    assert held(project) == (1, 2)


def test_nothing_is_removed_while_a_worker_runs_on_lmdb(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("[headrace]\n")
    project = Project.load(tmp_path)
    write_plan(PLAN, project.plan_file)
    with open_store(project.store_url, writable=True) as store:
        pipeline = new_pipeline(store, EventLog(project.log_path, SOURCE))
        pipeline.process(one_round(record(0, "a", 0)))
        pipeline.flush()
        code, said = reset(project, "--yes")
    assert code != 0
    assert "another" in said.lower()
    assert held(project) == (1, 1)


def test_nothing_is_removed_while_a_worker_gives_signs_of_life(project: Project) -> None:
    heart = Heart(project.workers_path)
    code, said = reset(project, "--yes")
    assert code != 0
    assert "runs" in said
    assert held(project) == (1, 2)
    heart.end(None)
    assert reset(project, "--yes")[0] == 0


def test_keys_of_others_in_the_same_redis_stay(tmp_path: Path, shared_redis: RedisServer) -> None:
    (tmp_path / "headrace.toml").write_text(f'[headrace]\nstore = "{shared_redis.url}"\n')
    project = Project.load(tmp_path)
    write_plan(PLAN, project.plan_file)
    client = shared_redis.client()
    client.set("somebody:else", "1")
    with open_store(project.store_url, writable=True) as store:
        new_pipeline(store, EventLog(project.log_path, SOURCE)).process(one_round(record(0, "a", 0)))
    assert reset(project, "--yes")[0] == 0
    assert client.get("somebody:else") == b"1"
    assert client.keys("headrace:*") == []
    client.delete("somebody:else")
