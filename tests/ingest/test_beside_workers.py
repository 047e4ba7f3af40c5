"""Imports beside what is streamed, rebuilt and erased."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from kafka import KafkaProducer

from headrace.broker import EmbeddedBroker
from headrace.erasure import forget
from headrace.log import EventLog
from headrace.log.schema import FIRST_IMPORT
from headrace.online import open_store
from headrace.plan import read_plan
from headrace.stream.start import refill
from headrace.times import us_of
from tests.ingest.conftest import SOURCE, Sale, Shop, brute_force, random_sales, same


def agrees(shop: Shop, sales: Sequence[Sale]) -> None:
    end = max(sale.known or sale.minute for sale in sales)
    for minute in (end, end + 4):
        same(shop.online("abcz", minute), brute_force(sales, "abcz", minute))
    for minute in (300.5, 900, end):
        same(shop.history("abcz", minute), brute_force(sales, "abcz", minute))
        same(shop.history("abcz", minute, "event"), brute_force(sales, "abcz", minute, event=True))


def rebuild(shop: Shop) -> None:
    with open_store(shop.project.store_url, writable=True) as store:
        refill(store, shop.project, read_plan(shop.project.plan_path))


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
        done = forget(shop.project, read_plan(shop.project.plan_path), store, {"shop": "a"}, alone=True)
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


def test_log_whose_files_an_erasure_merged_still_tells_its_partitions(shop: Shop) -> None:
    streamed = EventLog(shop.project.log_path, SOURCE)
    shop.load(shop.put([Sale("a", 0), Sale("b", 1)]))
    table = pa.Table.from_batches(streamed.scan())
    at = table.schema.get_field_index("_partition")
    kafka = table.set_column(at, "_partition", pa.array([2] * table.num_rows, pa.int32()))
    streamed.append(kafka, {2: 1})
    streamed.erase({"shop": pa.scalar("a")}, alone=True)
    assert [file.partitions for file in streamed.snapshot().files] == [(2, FIRST_IMPORT)]
    assert streamed.snapshot().partitions() == [0, 1, 2, FIRST_IMPORT]
    assert streamed.last_offsets() == {2: 1, FIRST_IMPORT: 1}
    assert shop.logged() == [("b", 1, 2, 1), ("b", 1, FIRST_IMPORT, 1)]


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
        agrees(shop, before + streamed)
        with open_store(shop.project.store_url, writable=True):  # as a worker holds it
            done = shop.load(shop.put(beside, "beside.parquet"), known_at="seen")
        assert done.logged == 150
        assert done.online is not None
        assert done.online.events is None
        assert "when it is started anew" in done.online.note
        stream(shop, broker)  # reads nothing new, and applies what the log holds
        agrees(shop, before + streamed + beside)
        shop.load(shop.put(after, "after.parquet"), known_at="seen")
        agrees(shop, before + streamed + beside + after)
        stream(shop, broker, "--rebuild")
        agrees(shop, before + streamed + beside + after)
