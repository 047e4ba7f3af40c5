"""A demo empties only what a demo made and nothing has written to since."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from headrace.cli.demo_state import demo_project, demo_state
from headrace.errors import ConfigError
from headrace.kafka import BrokerInfo


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADRACE_STATE", ".headrace")  # demo_project sets it, and the test's end takes that back
    (tmp_path / "headrace.toml").write_text("[headrace]\n")
    return tmp_path


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def run_demo(root: Path, *names: str) -> Path:
    """What a demo does with the state folder; the folder it ran in."""
    os.environ["HEADRACE_STATE"] = ".headrace"
    project = demo_project(root)
    with demo_state(project):
        write(project.state, *names)
    return project.state


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


DEMO = ["online/data.mdb", "log/orders/_delta_log/0.json", "log/orders/part.parquet", "lookups.jsonl", "plan.json"]


def test_demo_runs_in_the_projects_state_folder_and_again(root: Path) -> None:
    assert run_demo(root, *DEMO, "log/orders/old.parquet") == root / ".headrace"
    assert run_demo(root, *DEMO) == root / ".headrace"
    assert files(root / ".headrace") == {*DEMO, "demo.json"}


def test_plan_alone_is_no_data(root: Path) -> None:
    write(root / ".headrace", "plan.json", "registry.db", "broker.log")
    assert run_demo(root, *DEMO) == root / ".headrace"


def test_opening_the_store_is_no_writing(root: Path) -> None:
    run_demo(root, *DEMO, "online/lock.mdb")
    (root / ".headrace" / "online" / "lock.mdb").write_text("a reader was here")
    write(root / ".headrace", "online/worker.lock")
    assert run_demo(root, *DEMO) == root / ".headrace"


@pytest.mark.parametrize(
    "written",
    ["online/data.mdb", "log/orders/part2.parquet", "datasets/mine/manifest.json", "erasure/ledger.json", "notes.txt"],
)
def test_what_was_written_after_a_demo_stays_and_the_next_demo_runs_beside_it(root: Path, written: str) -> None:
    run_demo(root, *DEMO)
    (root / ".headrace" / written).parent.mkdir(parents=True, exist_ok=True)
    (root / ".headrace" / written).write_text("mine, and of another length")
    before = files(root / ".headrace")
    assert run_demo(root, *DEMO) == root / ".headrace-demo"
    assert files(root / ".headrace") == before
    assert (root / ".headrace" / written).read_text() == "mine, and of another length"
    assert run_demo(root, *DEMO) == root / ".headrace-demo"


def test_data_that_no_demo_made_stays(root: Path) -> None:
    write(root / ".headrace", "online/data.mdb")
    assert run_demo(root, *DEMO) == root / ".headrace-demo"
    assert files(root / ".headrace") == {"online/data.mdb"}


def test_marker_of_an_earlier_release_proves_nothing(root: Path) -> None:
    write(root / ".headrace", "online/data.mdb")
    (root / ".headrace" / "demo.json").write_text('{"made_by": "headrace demo"}\n')
    assert run_demo(root, *DEMO) == root / ".headrace-demo"


def test_demo_that_was_interrupted_has_said_what_it_wrote(root: Path) -> None:
    os.environ["HEADRACE_STATE"] = ".headrace"
    project = demo_project(root)

    def interrupted() -> None:
        with demo_state(project):
            write(project.state, *DEMO[:2])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert run_demo(root, *DEMO) == root / ".headrace"


def test_nothing_is_emptied_where_both_folders_hold_something_else(root: Path) -> None:
    write(root / ".headrace", "online/data.mdb")
    write(root / ".headrace-demo", "log/a")
    with pytest.raises(ConfigError, match="has data that no demo made") as refused:
        run_demo(root)
    assert "HEADRACE_STATE=" in (refused.value.hint or "")
    assert files(root) == {"headrace.toml", ".headrace/online/data.mdb", ".headrace-demo/log/a"}


def test_copy_of_a_demos_state_is_not_known_to_be_one(root: Path) -> None:
    run_demo(root, *DEMO)
    shutil.copytree(root / ".headrace", root / "copy", copy_function=shutil.copyfile)
    os.environ["HEADRACE_STATE"] = "copy"
    assert demo_project(root).state == root / "copy-demo"


def test_broker_that_runs_there_is_left_alone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_demo(root, *DEMO)
    of_dev = BrokerInfo("127.0.0.1:1", 1, "c", "now")
    monkeypatch.setattr(
        "headrace.kafka.running_broker", lambda path: of_dev if path.parent.name == ".headrace" else None
    )
    assert run_demo(root) == root / ".headrace-demo"
    assert files(root / ".headrace") >= set(DEMO)


@pytest.mark.parametrize(("name", "value"), [("BROKER", "kafka:9092"), ("STORE", "redis://localhost:6379/0")])
def test_other_servers_are_never_written_to(root: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"HEADRACE_{name}", value)
    with pytest.raises(ConfigError, match="the project is set to") as refused:
        demo_project(root)
    assert f"HEADRACE_{name}" in (refused.value.hint or "")
