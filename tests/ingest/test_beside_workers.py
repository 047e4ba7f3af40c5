"""Imports beside what is streamed, rebuilt and erased."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from kafka import KafkaProducer
from typer.testing import CliRunner

from headrace.audit import audit_lookups
from headrace.cli import app
from headrace.config import Project
from headrace.erasure import forget
from headrace.errors import IngestError
from headrace.ingest.only_import import only_import
from headrace.kafka import EmbeddedBroker
from headrace.log import EventLog
from headrace.log.log_columns import FIRST_IMPORT
from headrace.lookup import FeatureClient
from headrace.plan import DType, Feature, read_plan, write_plan
from headrace.stores import open_store
from headrace.times import us_of
from headrace.worker.startup import refill
from tests.ingest.conftest import FEATURES, SOURCE, Sale, Shop, brute_force, random_sales, same
from tests.waits import wait_until

runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})


def agrees(shop: Shop, sales: Sequence[Sale]) -> None:
    end = max(sale.known or sale.minute for sale in sales)
    for minute in (end, end + 4):
        same(shop.online("abcz", minute), brute_force(sales, "abcz", minute))
    for minute in (300.5, 900, end):
        same(shop.history("abcz", minute), brute_force(sales, "abcz", minute))
        same(shop.history("abcz", minute, "event"), brute_force(sales, "abcz", minute, event=True))


def rebuild(shop: Shop) -> None:
    with open_store(shop.project.store_url, writable=True) as store:
        refill(store, shop.project, read_plan(shop.project.plan_file))


def test_rebuild_from_the_log_brings_imports_back(shop: Shop) -> None:
    one, two = random_sales(11, 200), random_sales(12, 200)
    shop.load(shop.put(one), known_at="seen")
    shop.load(shop.put(two, "more.parquet"), known_at="seen")
    agrees(shop, one + two)
    rebuild(shop)
    agrees(shop, one + two)


def test_erased_entity_is_out_and_no_later_import_brings_it_back(shop: Shop) -> None:
    one, two = random_sales(13, 150), random_sales(14, 150)
    shop.load(shop.put(one), known_at="seen")
    with open_store(shop.project.store_url, writable=True) as store:
        done = forget(shop.project, read_plan(shop.project.plan_file), store, {"shop": "a"}, alone=True)
    erased = sum(sale.shop == "a" for sale in one)
    assert done.log == {"shop.sales": erased}
    assert done.through == {"shop.sales": {FIRST_IMPORT: 149}}
    # Dated before the erasure, by the project's clock: at or before the newest record.
    before = max(sale.known or 0 for sale in one)
    again = [sale for sale in two if sale.minute < before]
    imported = shop.load(shop.put(again, "more.parquet"), known_at="seen")
    assert imported.erased == sum(sale.shop == "a" for sale in again)
    assert imported.logged == len(again) - imported.erased
    left = [sale for sale in one + again if sale.shop != "a"]
    agrees(shop, left)
    rebuild(shop)
    agrees(shop, left)


def test_log_whose_files_another_tool_merged_still_tells_its_partitions(shop: Shop) -> None:
    streamed = EventLog(shop.project.log_path, SOURCE)
    shop.load(shop.put([Sale("a", 0), Sale("b", 1)]))
    table = pa.Table.from_batches(streamed.scan())
    at = table.schema.get_field_index("_partition")
    kafka = table.set_column(at, "_partition", pa.array([2] * table.num_rows, pa.int32()))
    streamed.append(kafka, {2: 1})
    DeltaTable(streamed.path).optimize.compact()
    streamed.erase({"shop": pa.scalar("a")}, alone=True)
    assert [file.partitions for file in streamed.snapshot().files] == [(2, FIRST_IMPORT)]
    assert streamed.snapshot().partitions() == [0, 1, 2, FIRST_IMPORT]
    assert streamed.last_offsets() == {2: 1, FIRST_IMPORT: 1}
    assert shop.logged() == [("b", 1, 2, 1), ("b", 1, FIRST_IMPORT, 1)]


def test_log_that_was_removed_takes_the_import_again(shop: Shop) -> None:
    path = shop.put(random_sales(15, 80))
    first = shop.load(path, known_at="seen")
    shutil.rmtree(shop.log.path)
    again = shop.load(path, known_at="seen")
    assert (again.id, again.partition, again.logged) == (first.id, first.partition, 80)
    agrees(shop, random_sales(15, 80))
    # Where the list of imports went too, other events get a partition that the online store has not seen.
    shutil.rmtree(shop.project.log_path)
    other = shop.load(shop.put(random_sales(16, 80), "other.parquet"), known_at="seen")
    assert other.partition == FIRST_IMPORT + 1


def test_only_one_import_runs_at_a_time(shop: Shop) -> None:
    path = shop.put(random_sales(17, 10))
    with only_import(shop.project), pytest.raises(IngestError, match="Another import .* is under way"):
        shop.load(path)
    (shop.project.log_path / "_imports.json").write_text("{")
    with pytest.raises(IngestError, match=r"(?s)cannot be read.*imported twice"):
        shop.load(path)


def test_audit_recomputes_lookups_from_before_and_after_an_import(shop: Shop) -> None:
    for number, seed in enumerate((18, 19)):
        shop.load(shop.put(random_sales(seed, 100), f"{number}.parquet"), known_at="seen")
        with FeatureClient(shop.project, audit=1.0) as client:
            rows = [{"shop": name} for name in "abcz"]
            for one in rows:
                client.get_online_features(FEATURES, [one])
    report = audit_lookups(shop.project)
    assert (report.matches, report.mismatched, report.pending) == (8, 0, 0)


def test_version_that_is_backfilled_counts_imports_and_so_does_the_one_rolled_back_to(shop: Shop) -> None:
    sales = random_sales(20, 120)
    of = ["--project", str(shop.project.root)]
    shop.load(shop.put(sales[:60]), known_at="seen")
    plan = read_plan(shop.project.plan_file)
    view = plan.views["shops"]
    more = Feature(name="more", function="count", column="*", window_us=None, slide_us=None, dtype=DType.INT64)
    changed = view.model_copy(update={"features": (*view.features, more)})
    write_plan(plan.model_copy(update={"views": {"shops": changed}}), shop.project.plan_file)
    assert runner.invoke(app, ["backfill", "shops", *of]).exit_code == 0
    agrees(shop, sales[:60])
    shop.load(shop.put(sales[60:], "more.parquet"), known_at="seen")
    agrees(shop, sales)
    write_plan(plan, shop.project.plan_file)
    back = runner.invoke(app, ["rollback", "shops", *of])
    assert back.exit_code == 0, back.output
    agrees(shop, sales)


@pytest.mark.redis
def test_redis_has_imports_at_once(shop: Shop, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_STORE", redis_url)
    on_redis = Shop(Project.load(shop.project.root))
    one, two = random_sales(31, 150), random_sales(32, 150)
    on_redis.load(on_redis.put(one), known_at="seen")
    with open_store(redis_url, writable=True):  # as a worker has it: Redis lets others write beside it
        on_redis.load(on_redis.put(two, "two.parquet"), known_at="seen")
    agrees(on_redis, one + two)
    rebuild(on_redis)
    agrees(on_redis, one + two)


# --- with a worker


def stream(shop: Shop, broker: str, *options: str) -> None:
    environment = {**os.environ, "HEADRACE_PROJECT": str(shop.project.root), "HEADRACE_BROKER": broker}
    command = [sys.executable, "-m", "headrace.cli", "stream", "--until-end", "--json", *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def send(broker: str, sales: Sequence[Sale]) -> None:
    producer = KafkaProducer(bootstrap_servers=broker)
    for sale in sales:
        event = {
            "shop": sale.shop,
            "sold_at": sale.sold_at.isoformat(),
            "price": sale.price,
            "pieces": sale.pieces,
        }
        producer.send(
            "shop.sales",
            json.dumps(event).encode(),
            key=sale.shop.encode(),
            timestamp_ms=us_of(sale.known_at) // 1000,
        )
    producer.flush()
    producer.close()


@pytest.mark.slow
@pytest.mark.kafka
def test_imports_before_beside_and_after_a_worker_count_once(shop: Shop, tmp_path: Path) -> None:
    before, streamed, beside, after = (random_sales(seed, 150) for seed in (21, 22, 23, 24))
    with EmbeddedBroker(tmp_path / "broker.json") as embedded:
        broker = embedded.address
        shop.load(shop.put(before, "before.parquet"), known_at="seen")
        stream(shop, broker)  # makes the topic
        send(broker, streamed)
        stream(shop, broker)
        agrees(shop, streamed + before)  # of two at one moment, positions decide: Kafka's partitions come first
        with open_store(shop.project.store_url, writable=True):  # as a worker holds it
            done = shop.load(shop.put(beside, "beside.parquet"), known_at="seen")
        assert done.logged == 150
        assert done.online is not None
        assert done.online.events is None
        assert "when it is started again" in done.online.note
        stream(shop, broker)  # reads nothing new, and applies what the log holds
        agrees(shop, streamed + before + beside)
        shop.load(shop.put(after, "after.parquet"), known_at="seen")
        agrees(shop, streamed + before + beside + after)
        stream(shop, broker, "--rebuild")
        agrees(shop, streamed + before + beside + after)


def _begun_or_ended(shop: Shop, running: subprocess.Popen[bytes]) -> bool:
    return running.poll() is not None or bool(list(shop.project.state.glob(".import-*")))


@pytest.mark.slow
def test_import_killed_at_any_moment_is_finished_by_the_next(shop: Shop) -> None:
    sales = [sale for seed in range(40) for sale in random_sales(seed, 1_000)]
    path = shop.put(sales)
    draw = random.Random(5)
    command = [sys.executable, "-m", "headrace.cli", "import", "sales", "--from", path, "--known-at", "seen", "--json"]
    environment = {**os.environ, "HEADRACE_PROJECT": str(shop.project.root)}
    killed = 0
    for number in range(6):
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            wait_until(partial(_begun_or_ended, shop, running), "the import to begin")
            try:
                running.wait(timeout=0.1 + number * draw.uniform(0.1, 0.4))
            except subprocess.TimeoutExpired:
                running.kill()
                killed += 1
    last = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert last.returncode == 0, last.stderr
    assert killed
    assert [place for *_, place in shop.logged()] == list(range(len(sales)))
    assert len(shop.log.imports()) == 1
    agrees(shop, sales)
    assert list(shop.project.state.glob(".import-*")) == []
