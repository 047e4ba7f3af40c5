"""After an undo an import has left nothing, online or in history; what was built with it stays and is reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from headrace import Dataset, TrainingClient
from headrace.audit import audit_lookups
from headrace.cli import app
from headrace.cli.project_status import project_status
from headrace.config import Project
from headrace.errors import IngestError
from headrace.ingest import find_import, undo, undo_import
from headrace.log import EventLog
from headrace.log.import_registry import Registry, warn_of_half_undone
from headrace.log.log_columns import FIRST_IMPORT
from headrace.lookup import FeatureClient
from headrace.plan import DType, Feature, read_plan, write_plan
from headrace.stores import open_store
from headrace.stores.lmdb.store import LmdbStore
from headrace.training import verify_dataset
from tests.ingest.conftest import FEATURES, SOURCE, START, Sale, Shop, brute_force, random_sales, same, shop_at
from tests.ingest.test_beside_workers import agrees, rebuild

runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
ONE, TWO = random_sales(41, 120), [*random_sales(42, 120), Sale("only here", 3)]


@pytest.fixture
def twice(shop: Shop) -> Shop:
    """A shop with two imports."""
    shop.load(shop.put(ONE), known_at="seen", name="one")
    shop.load(shop.put(TWO, "two.parquet"), known_at="seen", name="two")
    return shop


def run(shop: Shop, *words: str) -> tuple[int, str]:
    done = runner.invoke(app, ["import", *words, "--project", str(shop.project.root)])
    return done.exit_code, done.output


def as_if_never(shop: Shop, sales: list[Sale] = ONE) -> None:
    agrees(shop, sales)
    end = max(sale.known or 0 for sale in ONE + TWO)
    with FeatureClient(shop.project) as client:
        (status,) = {
            view["status"]
            for view in client.get_online_features(FEATURES, [{"shop": "only here"}]).records()[0]["views"].values()
        }
        assert status == "unknown_key"
    same(shop.online(["only here"], end), brute_force(sales, ["only here"], end))


def test_import_taken_back_is_as_if_it_had_never_been(twice: Shop) -> None:
    done = undo_import(twice.project, "two")
    assert (done.events, done.removed, done.partition) == (121, 121, FIRST_IMPORT + 1)
    assert done.records > 0
    assert {partition for *_, partition, _ in twice.logged()} == {FIRST_IMPORT}
    as_if_never(twice)
    rebuild(twice)
    as_if_never(twice)
    with pytest.raises(IngestError, match="was taken back on"):
        undo_import(twice.project, "two")


def test_import_taken_back_may_be_made_again_also_under_its_name(twice: Shop) -> None:
    undo_import(twice.project, "two")
    again = twice.load(str(twice.project.root / "two.parquet"), known_at="seen", name="two")
    assert (again.partition, again.logged) == (FIRST_IMPORT + 2, 121)
    agrees(twice, ONE + TWO[:-1])
    undo_import(twice.project, "two")
    as_if_never(twice)


@pytest.mark.parametrize(
    "where", ["leave_out_partition before", "leave_out_partition after", "delete before", "delete after", "sync", "add"]
)
def test_undo_cut_short_goes_on_where_it_ended(
    twice: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    name, _, when = where.partition(" ")
    owner: Any = {"leave_out_partition": undo, "delete": LmdbStore, "sync": LmdbStore, "add": Registry}[name]
    method, calls = getattr(owner, name), 0

    def dying(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if name == "add" and calls == 1:
            return method(*given)
        if when == "after":
            method(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dying)
        with pytest.raises(KeyboardInterrupt):
            undo_import(twice.project, "two")
    with pytest.raises(IngestError, match=r"(?s)cut short.*headrace import --undo two"):
        twice.load(str(twice.project.root / "two.parquet"), known_at="seen")
    warn_of_half_undone(twice.project.log_notes, ["shop.sales"])  # as a worker does that starts
    assert "headrace import --undo two" in caplog.text
    undo_import(twice.project, "two")
    as_if_never(twice)
    rebuild(twice)
    as_if_never(twice)


def test_dataset_built_with_it_is_named_and_still_verifies(twice: Shop, tmp_path: Path) -> None:
    spine = pa.table(
        {"shop": ["a", "b"], "event_timestamp": pa.array([START] * 2, pa.timestamp("us", "UTC")), "y": [0, 1]}
    )
    dataset = Dataset(name="d", features=FEATURES, spine=lambda _: spine, label="y")
    training = TrainingClient(twice.project)
    training.export(dataset, twice.project.root / "d")
    _, found = find_import(twice.project, "two")
    assert [Path(manifest).parent.name for manifest in found.datasets] == ["d"]
    undo_import(twice.project, "two")
    report = verify_dataset(TrainingClient(twice.project), dataset, twice.project.root / "d")
    assert report.problems == ()
    twice.load(twice.put([Sale("z", 1)], "three.parquet"), name="three")
    assert find_import(twice.project, "three")[1].datasets == []


def test_audit_counts_lookups_that_knew_it_apart(twice: Shop) -> None:
    with FeatureClient(twice.project, audit=1.0) as client:
        for name in ("a", "b", "c", "nobody"):
            client.get_online_features(FEATURES, [{"shop": name}])
    assert audit_lookups(twice.project).matches == 4
    undo_import(twice.project, "two")
    with FeatureClient(twice.project, audit=1.0) as client:
        client.get_online_features(FEATURES, [{"shop": "a"}])
    report = audit_lookups(twice.project)
    assert (report.mismatched, report.matches) == (0, 2)
    assert {str(reason): count for reason, count in report.apart.items() if count} == {"import_undone": 3}


def test_running_worker_is_told_of_and_nothing_changes(twice: Shop) -> None:
    with (
        open_store(twice.project.store_url, writable=True),
        pytest.raises(IngestError, match=r"(?s)worker is at work.*Nothing was changed"),
    ):
        undo_import(twice.project, "two")
    agrees(twice, ONE + TWO[:-1])
    assert all(entry.is_live for entry in Registry(twice.project.log_notes).all())


def test_version_to_roll_back_to_is_without_it_too(twice: Shop) -> None:
    of = ["--project", str(twice.project.root)]
    plan = read_plan(twice.project.plan_file)
    more = Feature(name="more", function="count", column="*", window_us=None, slide_us=None, dtype=DType.INT64)
    changed = plan.views["shops"].model_copy(update={"features": (*plan.views["shops"].features, more)})
    write_plan(plan.model_copy(update={"views": {"shops": changed}}), twice.project.plan_file)
    assert runner.invoke(app, ["backfill", "shops", *of]).exit_code == 0
    undo_import(twice.project, "two")
    as_if_never(twice)
    write_plan(plan, twice.project.plan_file)
    back = runner.invoke(app, ["rollback", "shops", *of])
    assert back.exit_code == 0, back.output
    as_if_never(twice)


def test_status_lists_an_import_until_it_is_taken_back(twice: Shop) -> None:
    def listed() -> list[int]:
        return [row["source_partition"] for row in project_status(twice.project)["partitions"]]

    assert listed() == [FIRST_IMPORT, FIRST_IMPORT + 1]
    undo_import(twice.project, "two")
    assert listed() == [FIRST_IMPORT]


@pytest.mark.redis
def test_undo_on_redis(shop: Shop, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_STORE", redis_url)
    on_redis = Shop(Project.load(shop.project.root))
    on_redis.load(on_redis.put(ONE), known_at="seen", name="one")
    on_redis.load(on_redis.put(TWO, "two.parquet"), known_at="seen", name="two")
    assert undo_import(on_redis.project, "two").removed == 121
    as_if_never(on_redis)


def test_command_says_what_it_would_do_and_asks(twice: Shop) -> None:
    code, said = run(twice, "--undo", "two")
    assert (code, "no terminal to ask at" in said, "121" in said) == (1, True, True)
    code, said = run(twice, "--undo", "two", "--dry-run", "--json")
    assert (code, json.loads(said)["events"], json.loads(said)["removed"]) == (0, 121, 0)
    agrees(twice, ONE + TWO[:-1])
    code, said = run(twice, "sales", "--undo", "two", "--yes")
    assert (code, "Removed: 121 events" in said) == (0, True)
    as_if_never(twice)
    code, said = run(twice, "--undo", "two", "--yes")
    assert (code, "was taken back on" in said) == (1, True)
    code, said = run(twice, "--undo", "three", "--yes")
    assert (code, "Imports: one." in said) == (1, True)
    assert "Give --undo alone" in run(twice, "--undo", "one", "--from", "x.csv")[1]
    assert "Name the source" in run(twice, "--from", "x.csv")[1]
    code, said = run(twice, "--undo", "one", "--yes", "--json")
    assert (code, json.loads(said)["removed"]) == (0, 120)
    assert twice.logged() == []


# --- importing again


def test_events_that_the_log_holds_count_once(tmp_path: Path) -> None:
    source = SOURCE.model_copy(update={"event_id": "sale_id"})
    shop = shop_at(tmp_path, source=source)
    sales = [Sale("a", minute, sale_id=f"s{minute}") for minute in range(20)]
    shop.load(shop.put(sales[:10]))
    shop.load(shop.put(sales[10:14], "more.parquet"))
    streamed = pa.Table.from_batches(shop.log.scan(partitions=[FIRST_IMPORT + 1]))
    at = streamed.schema.get_field_index("_partition")
    EventLog(shop.project.log_path, source).append(
        streamed.set_column(at, "_partition", pa.array([0] * 4, pa.int32())), {0: 3}
    )
    undo_import(shop.project, Registry(shop.project.log_notes).all()[1].id)
    both = shop.put(sales, "all.parquet")
    dry = shop.load(both, dry_run=True)
    assert (dry.rows, dry.events, dry.held, dry.logged) == (20, 20, 14, 0)
    done = shop.load(both)
    assert (done.rows, done.events, done.held, done.logged) == (20, 20, 14, 6)
    assert len(shop.logged()) == 20
    same(shop.history("a", 30), brute_force(sales, "a", 30))
    # Of the other files, together with what is new: nothing counts twice either.
    shop.put([Sale("a", 40, sale_id="new")], "new.parquet")
    done = shop.load(str(shop.project.root / "*.parquet"))
    assert done.logged == 1


def test_event_id_that_comes_again_past_the_horizon_is_another_event(tmp_path: Path) -> None:
    source = SOURCE.model_copy(update={"event_id": "sale_id", "dedup_us": 600_000_000})
    shop = shop_at(tmp_path, source=source)
    shop.load(shop.put([Sale("a", 0, sale_id="x"), Sale("a", 1)]))
    done = shop.load(shop.put([Sale("a", 10, sale_id="x"), Sale("a", 11, sale_id="x"), Sale("a", 2)], "more.parquet"))
    assert (done.events, done.held, done.logged) == (3, 1, 1) or (done.repeated, done.held, done.logged) == (1, 1, 1)


def test_same_events_are_imported_once_more_only_when_told(shop: Shop) -> None:
    sales = [Sale("a", 0, 1.0), Sale("b", 1, 2.0)]
    path = shop.put(sales)
    first = shop.load(path)
    assert shop.load(path).logged == 0
    second = shop.load(path, again=True)
    assert (second.id, second.logged, second.partition) == (f"{first.id}-2", 2, FIRST_IMPORT + 1)
    same(shop.online("ab", 5), brute_force(sales * 2, "ab", 5))
    undo_import(shop.project, second.id)
    same(shop.online("ab", 5), brute_force(sales, "ab", 5))
