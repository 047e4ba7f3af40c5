"""What there is: list, show and log head, with and without store and log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from headrace.cli import app
from headrace.cli.definition_text import feature_words, span
from headrace.config import Project
from headrace.events.source_partition import SourcePartition
from headrace.log import EventLog, Upkeep
from headrace.plan import DType, Feature, Plan, write_plan
from headrace.stores import CatalogueChange, Position, open_store
from tests.log.conftest import SOURCE, rows
from tests.plan.examples import PLAN

HOUR_US = 3_600_000_000


def run(root: Path, *arguments: str, code: int = 0, columns: int = 80) -> Any:
    runner = CliRunner(env={"COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "dumb"})
    done = runner.invoke(app, [*arguments, "--project", str(root)])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout) if "--json" in arguments else done.output


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "headrace.toml").write_text("[headrace]\n")
    write_plan(PLAN, Project.load(tmp_path).plan_file)
    return tmp_path


@pytest.fixture
def logged(tmp_path: Path) -> Path:
    """A project with sixty rows logged, of two partitions."""
    (tmp_path / "headrace.toml").write_text("[headrace]\n")
    project = Project.load(tmp_path)
    write_plan(Plan(project="test", sources={"readings": SOURCE}, views={}), project.plan_file)
    log = EventLog(project.log_path, SOURCE, Upkeep(small_files=0))
    for first in range(0, 60, 20):
        log.append(pa.concat_tables([rows(p, range(first, first + 10)) for p in (0, 1)]), {0: first + 9, 1: first + 9})
    return tmp_path


# --- list


def test_list_names_everything_declared(root: Path) -> None:
    (root / "offline" / "datasets").mkdir(parents=True)
    (root / "offline" / "datasets" / "training.py").write_text("")
    found = run(root, "list", "--json")
    assert (found["project"], found["plan"], found["clock"]) == ("shop", PLAN.hash, "system")
    assert [one["source"] for one in found["sources"]] == list(PLAN.sources)
    assert [(one["view"], one["of"], one["features"]) for one in found["views"]] == [
        ("shops", "shop and region", 2),
        ("buyers", "region", 1),
    ]
    assert [one["service"] for one in found["services"]] == ["desk", "empty"]
    assert found["datasets"] == [{"dataset": "training", "built": False}]
    shown = run(root, "list")
    for name in ("orders-topic", "refunds", "shops", "desk", "training", "system clock"):
        assert name in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_list_before_apply_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("[headrace]\n")
    assert "headrace apply" in run(tmp_path, "list", code=1)


# --- show


def test_view_is_shown_in_words_with_its_cost_freshness_and_versions(root: Path) -> None:
    project, view = Project.load(root), PLAN.views["shops"]
    with open_store(project.store_url, writable=True) as store:
        store.change(CatalogueChange().serve([view]))
        store.commit(
            [], {SourcePartition("orders-topic", 0): Position(7, 1_700_000_000_000_000, 1_600_000_000_000_000)}
        )
    found = run(root, "show", "shops", "--json")
    assert found["features"]["count_1h"] == {"is": "count, over the last 1 h, moving every 1 min", "type": "int64"}
    assert found["features"]["last_price"]["is"] == "last of price, ever"
    assert (found["version"], found["live"], found["before"]) == (view.hash, view.hash, None)
    assert (found["entities"], found["log"]["rows"]) == (0, 0)
    assert (found["newest_event"], found["newest_record"]) == ("2020-09-13T12:26:40Z", "2023-11-14T22:13:20Z")
    assert found["services"] == ["desk"]
    assert found["example"] == "headrace lookup --feature 'shops:*' --key shop=VALUE --key region=1"
    assert found["notes"] == []
    shown = run(root, "show", "shops")
    assert "count, over the last 1 h" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_what_cannot_be_asked_is_noted_and_the_rest_is_shown(root: Path) -> None:
    found = run(root, "show", "shops", "--json")
    assert found["live"] is None
    assert found["entities"] is None
    (note,) = found["notes"]
    assert "online store" in note
    assert "last_price" in run(root, "show", "shops")


def test_source_is_found_by_name_and_by_topic(root: Path) -> None:
    found = run(root, "show", "orders", "--json")
    assert found == run(root, "show", "orders-topic", "--json")
    assert found["columns"] == {
        "shop": "string, never null",
        "region": "int64",
        "at": "timestamp, never null",
        "price": "float64",
    }
    assert found["views"] == ["shops", "buyers"]


def test_service_says_how_to_ask_for_it(root: Path) -> None:
    found = run(root, "show", "desk", "--json")
    assert list(found["features"]) == ["buyers__count_1h", "shops__last_price"]
    assert found["example"] == "headrace lookup --service desk --key region=1 --key shop=VALUE"


def test_dataset_is_shown_and_a_second_thing_of_the_name_is_noted(root: Path) -> None:
    (root / "offline" / "datasets").mkdir(parents=True)
    definition = "dataset = headrace.Dataset(name='desk', features='desk', spine='spine.csv', label='bought')"
    (root / "offline" / "datasets" / "desk.py").write_text(f"import headrace\n\n{definition}\n")
    assert "--kind dataset" in run(root, "show", "desk")
    found = run(root, "show", "desk", "--kind", "dataset", "--json")
    assert (found["kind"], found["label"], found["as_of"], found["built"]) == ("dataset", "bought", "known", None)


def test_unknown_name_lists_what_there_is(root: Path) -> None:
    shown = run(root, "show", "shop", code=1)
    assert "views: shops, buyers" in shown
    assert "is one of" in run(root, "show", "shops", "--kind", "table", code=1)


# --- log head


def test_newest_and_oldest_rows_of_the_log_by_event_time(logged: Path) -> None:
    every = EventLog(Project.load(logged).log_path, SOURCE).snapshot()
    assert every.rows == 60
    newest = run(logged, "log", "head", "readings", "-n", "3", "--json")
    assert newest["total"] == 60
    assert [row["position"] for row in newest["rows"]] == ["1@49", "0@49", "1@48"]
    assert all(row["known_at"] for row in newest["rows"])
    oldest = run(logged, "log", "head", "readings", "--oldest", "-n", "3", "--json")
    assert [row["position"] for row in oldest["rows"]] == ["0@0", "1@0", "0@1"]
    assert len(run(logged, "log", "head", "readings", "-n", "1000", "--json")["rows"]) == 60
    assert "the newest 10 of 60 events" in run(logged, "log", "head", "readings")


def test_topic_without_a_log_and_unknown_topic_are_told(root: Path) -> None:
    assert "No event of orders-topic is logged yet" in " ".join(run(root, "log", "head", "orders").split())
    assert "no topic or source named 'nope'" in run(root, "log", "head", "nope", code=1)


# --- words


def feature(window_us: int | None, slide_us: int | None, **more: Any) -> Feature:
    facts = {"name": "f", "function": "percentile", "column": "price", "dtype": DType.FLOAT64, **more}
    return Feature(window_us=window_us, slide_us=slide_us, **facts)


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (feature(None, None), "percentile of price, ever"),
        (feature(HOUR_US, 1, params=(0.9,)), "percentile(0.9) of price, over the last 1 h, exact"),
        (feature(HOUR_US, HOUR_US), "percentile of price, in the current 1 h (tumbling)"),
        (
            feature(24 * HOUR_US, HOUR_US, where="is_big", offset_us=24 * HOUR_US),
            "percentile of price where is_big, over the last 1 d, moving every 1 h, up to 1 d ago",
        ),
        (feature(HOUR_US, 60_000_000, function="count", column="*"), "count, over the last 1 h, moving every 1 min"),
    ],
)
def test_features_in_words(one: Feature, words: str) -> None:
    assert feature_words(one) == words


def test_spans_are_told_in_the_largest_unit_that_measures_them_whole() -> None:
    told = {
        0: "0 s",
        1: "1 µs",
        1500: "1,500 µs",
        60_000_000: "1 min",
        5_400_000_000: "90 min",
        7 * 24 * HOUR_US: "7 d",
    }
    assert {us: span(us) for us in told} == told
