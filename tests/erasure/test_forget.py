"""What is forgotten is gone, everywhere that headrace keeps it, and stays out whatever is delivered again."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from headrace.audit import audit_lookups
from headrace.cli import app
from headrace.config import Clock, Project
from headrace.erasure import Erasure, ErasureFilter, Forgotten, Ledger, forget
from headrace.errors import ConfigError, LookupRequestError
from headrace.events.decode import EventDecoder
from headrace.log import EventLog, LookupTable
from headrace.lookup import FeatureClient
from headrace.online import OnlineStore, open_store
from headrace.online.apply import Applier
from headrace.online.meta import CLOCK, definition_fact, previous_fact, topic_fact, view_fact
from headrace.plan import Column, DType, Feature, Plan, View, write_plan
from headrace.stream.pipeline import Pipeline
from headrace.stream.rows import batch_of_rows
from headrace.stream.start import refill
from tests.stream.shop import NOON, SHOPS, SOURCE, KeptLetters, Sale, fetches, record

SHOP = Column(name="shop", dtype=DType.STRING, nullable=False)
PIECES = Column(name="pieces", dtype=DType.INT64, nullable=False)
EVER = Feature(name="ever", function="count", column="*", window_us=None, slide_us=None, dtype=DType.INT64)
BY_PIECES = View(name="by_pieces", source="sales", entities=(PIECES,), features=(EVER,))
BOTH = View(name="both", source="sales", entities=(PIECES, SHOP), features=(EVER,))
PLAN = Plan(project="shop", sources={"sales": SOURCE}, views={view.name: view for view in (SHOPS, BY_PIECES, BOTH)})
IDENTITY = "cluster/topic"

runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})


@dataclass
class Shop:
    """A project, its store, and workers over it that read the ledger as real ones do."""

    project: Project
    store: OnlineStore
    identity: str = IDENTITY
    letters: KeptLetters = field(default_factory=KeptLetters)

    @property
    def log(self) -> EventLog:
        return EventLog(self.project.log_path, SOURCE)

    def start(self, clock: Clock = Clock.RECORD, **more: Any) -> Pipeline:
        """A worker that starts; an empty store takes the plan as its own."""
        facts = {CLOCK: str(clock), topic_fact("sales"): self.identity}
        self.store.set_meta({**facts, **{view_fact(view.name): view.hash for view in PLAN.views.values()}})
        erased = ErasureFilter(self.project.erasure_path, {"sales": self.identity})
        decoders = {"sales": EventDecoder(SOURCE, Sale)}
        return Pipeline(PLAN, decoders, self.store, {"sales": self.log}, clock, self.letters, erased=erased, **more)

    def deliver(self, *records: Any, clock: Clock = Clock.RECORD, **more: Any) -> None:
        """A worker starts, applies these records and flushes."""
        worker = self.start(clock, **more)
        worker.process(fetches(*records))
        worker.flush()

    def forget(self, **entity: Any) -> Forgotten:
        return forget(self.project, PLAN, self.store, entity, alone=True)

    def logged(self) -> list[tuple[str, int, int]]:
        """Shop, partition and offset of every event in the log."""
        rows = [row for batch in self.log.scan() for row in batch.to_pylist()]
        return [(row["shop"], row["_partition"], row["_offset"]) for row in rows]

    def counts(self, view: str, **keys: Any) -> int:
        client = FeatureClient(plan=PLAN, store=self.store)
        feature = "pieces_ever" if view == "shop_sales" else "ever"
        found = client.get_online_features([f"{view}:{feature}"], [keys]).to_dict()
        return int(found[f"{view}__{feature}"][0])


RECORDS = [
    record(0, "a", 0),
    record(1, "b", 1, pieces=2),
    record(2, "a", 2, pieces=2),
    record(3, "a", 60 * 24, pieces=1),
    record(0, "a", 1, partition=1),
    record(1, "c", 3, pieces=7, partition=1),
]


@pytest.fixture
def empty_shop(tmp_path: Path) -> Iterator[Shop]:
    (tmp_path / "headrace.toml").write_text('[headrace]\nclock = "record"\n')
    project = Project.load(tmp_path)
    write_plan(PLAN, project.plan_path)
    with open_store(project.store_url, writable=True) as store:
        yield Shop(project, store)


@pytest.fixture
def shop(empty_shop: Shop) -> Shop:
    """Shop a sold four times on two days in two partitions; b and c once each."""
    empty_shop.deliver(*RECORDS)
    return empty_shop


# --- what is removed


def test_entity_is_gone_from_every_view_keyed_by_it_and_from_the_log(shop: Shop) -> None:
    done = shop.forget(shop="a")
    assert shop.logged() == [("b", 0, 1), ("c", 1, 1)]
    assert [json.loads(key) for key in shop.store.entities(SHOPS.hash)] == [["b"], ["c"]]
    assert sorted(json.loads(key) for key in shop.store.entities(BOTH.hash)) == [[2, "b"], [7, "c"]]
    assert (shop.counts("shop_sales", shop="a"), shop.counts("both", shop="a", pieces=1)) == (0, 0)
    assert (shop.counts("shop_sales", shop="b"), shop.counts("shop_sales", shop="c")) == (2, 7)
    assert done.online == {"shop_sales": 2, "both": 3}
    assert done.log == {"sales": 4}
    assert done.log_versions == {"sales": shop.log.version()}
    assert done.stale_views == ["by_pieces"]


def test_entity_of_two_keys_is_what_has_both(shop: Shop) -> None:
    done = shop.forget(shop="a", pieces=1)
    assert shop.logged() == [("b", 0, 1), ("a", 0, 2), ("c", 1, 1)]
    assert sorted(json.loads(key) for key in shop.store.entities(BOTH.hash)) == [[2, "a"], [2, "b"], [7, "c"]]
    assert done.online == {"both": 2}
    assert done.stale_views == ["by_pieces", "shop_sales"]


def test_key_of_numbers_is_forgotten_too(shop: Shop) -> None:
    assert shop.forget(pieces=2).log == {"sales": 2}
    assert shop.logged() == [("a", 0, 0), ("a", 0, 3), ("a", 1, 0), ("c", 1, 1)]


def test_no_file_of_the_log_and_no_commit_holds_the_key(empty_shop: Shop) -> None:
    key = "someone@example.org"
    empty_shop.deliver(record(0, key, 0), record(1, "b", 1), record(2, key, 60 * 30), record(3, "b", 60 * 30))
    before = {path for path in empty_shop.log.path.rglob("*.parquet") if "_delta_log" not in path.parts}
    empty_shop.forget(shop=key)
    files = {path for path in empty_shop.log.path.rglob("*.parquet") if "_delta_log" not in path.parts}
    assert not files & before
    for path in files:
        assert pc.index(pq.ParquetFile(path).read(["shop"]).column("shop"), key).as_py() == -1
    for path in [*empty_shop.log.path.glob("_delta_log/*"), *empty_shop.project.erasure_path.rglob("*")]:
        if path.is_file():
            assert key.encode() not in path.read_bytes(), path


def test_log_stays_append_only_and_stands_for_the_same_offsets(shop: Shop) -> None:
    before = shop.log.last_offsets([0, 1])
    shop.forget(shop="a")
    assert shop.log.last_offsets([0, 1]) == before == {0: 3, 1: 1}
    metadata = [json.loads(line) for line in _commits(shop.log.path) if '"metaData"' in line]
    assert metadata[-1]["metaData"]["configuration"]["delta.appendOnly"] == "true"
    shop.deliver(record(4, "d", 60 * 24 + 1))
    assert shop.logged()[-2:] == [("d", 0, 4), ("c", 1, 1)]


def _commits(path: Path) -> list[str]:
    return [line for file in sorted(path.glob("_delta_log/*.json")) for line in file.read_text().splitlines()]


def test_recorded_lookups_of_the_entity_are_erased_and_others_stay(shop: Shop) -> None:
    with FeatureClient(shop.project, plan=PLAN, store=shop.store, audit=1) as client:
        client.get_online_features("shop_sales:*", [{"shop": "a"}, {"shop": "b"}])
        client.get_online_features("both:*", [{"shop": "a", "pieces": 1}, {"shop": "b", "pieces": 2}])
    assert shop.forget(shop="a").lookups == 2
    kept = [json.loads(row["keys"]) for rows in LookupTable(shop.project.audit_path).read() for row in rows]
    assert kept == [{"shop": "b"}, {"pieces": 2, "shop": "b"}]


# --- what stays out


def test_kafka_delivering_everything_again_brings_nothing_back(shop: Shop) -> None:
    shop.forget(shop="a")
    shop.deliver(*RECORDS)
    assert shop.counts("shop_sales", shop="a") == 0
    assert shop.logged() == [("b", 0, 1), ("c", 1, 1)]


def test_replay_into_new_stores_brings_nothing_back(shop: Shop, tmp_path: Path) -> None:
    shop.forget(shop="a")
    shop.log.path.rename(tmp_path / "lost")
    shop.store.clear()
    shop.deliver(*RECORDS)
    assert shop.counts("shop_sales", shop="a") == 0
    assert shop.counts("shop_sales", shop="c") == 7
    assert shop.logged() == [("b", 0, 1), ("c", 1, 1)]


def test_rebuild_from_the_log_brings_nothing_back_and_mends_what_counted_it(shop: Shop) -> None:
    assert shop.counts("by_pieces", pieces=2) == 2
    shop.forget(shop="a")
    refill(shop.store, shop.project, PLAN)
    assert shop.counts("shop_sales", shop="a") == 0
    assert shop.counts("shop_sales", shop="b") == 2
    assert (shop.counts("by_pieces", pieces=2), shop.counts("by_pieces", pieces=1)) == (1, 0)


def test_records_of_a_definition_before_the_last_apply_go_with_the_rebuild(shop: Shop) -> None:
    shop.store.set_meta({view_fact("both"): "0123456789abcdef"})
    assert shop.forget(shop="nobody").stale_views == ["both"]
    refill(shop.store, shop.project, PLAN)
    assert shop.store.meta()[view_fact("both")] == BOTH.hash
    assert shop.counts("both", shop="a", pieces=1) == 3


def test_versions_of_a_view_before_the_one_served_forget_it_too(shop: Shop) -> None:
    longer = tuple(
        one.model_copy(update={"window_us": 2 * one.window_us} if one.window_us else {}) for one in SHOPS.features
    )
    before = SHOPS.model_copy(update={"features": longer})
    shop.store.set_meta(
        {definition_fact(before.hash): before.model_dump_json(), previous_fact("shop_sales"): before.hash}
    )
    applier = Applier(Plan(project="shop", sources=PLAN.sources, views={}), shop.store)
    applier.prepare(before)
    for rows in shop.log.scan():
        applier.fill(before, batch_of_rows(SOURCE, rows))
    done = shop.forget(shop="a")
    assert [json.loads(key) for key in shop.store.entities(before.hash)] == [["b"], ["c"]]
    assert done.online["shop_sales"] == 4


def test_now_of_the_record_clock_does_not_go_back_with_the_newest_event_erased(shop: Shop) -> None:
    with FeatureClient(plan=PLAN, store=shop.store) as client:
        before = client.now()
        shop.forget(shop="a")
        refill(shop.store, shop.project, PLAN)
        assert client.now() == before


def test_late_event_from_before_the_erasure_stays_out_and_a_newer_one_starts_afresh(shop: Shop) -> None:
    shop.forget(shop="a")
    late, newer = record(4, "a", 60 * 24 - 1, late=5, pieces=100), record(5, "a", 60 * 24 + 6, pieces=5)
    shop.deliver(late, newer, record(6, "b", 1, late=60 * 24, pieces=3))
    assert shop.counts("shop_sales", shop="a") == 5
    assert shop.counts("shop_sales", shop="b") == 5
    assert shop.logged() == [("b", 0, 1), ("a", 0, 5), ("b", 0, 6), ("c", 1, 1)]


def test_running_worker_reads_the_ledger_when_it_changes(shop: Shop) -> None:
    worker = shop.start()
    worker.process(fetches(record(4, "a", 60 * 24 + 1), record(5, "b", 60 * 24 + 1)))
    shop.forget(shop="a")  # the worker has events of it that are not in the log yet
    worker.process(fetches(record(6, "a", 5, late=60 * 24, pieces=9)))
    worker.flush()
    assert shop.counts("shop_sales", shop="a") == 0
    assert shop.logged() == [("b", 0, 1), ("b", 0, 5), ("c", 1, 1)]


def test_system_clock_keeps_out_what_happened_before_the_wall_clocks_erasure(empty_shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text('[headrace]\nclock = "system"\n')
    shop = Shop(Project.load(tmp_path), empty_shop.store)
    shop.deliver(RECORDS[0], clock=Clock.SYSTEM)
    shop.forget(shop="a")
    hour_from_now = (shop.forget(shop="a").before_us // 1000 - NOON) / 60_000 + 60
    yesterday, tomorrow = record(1, "a", hour_from_now - 1440), record(2, "a", hour_from_now, pieces=4)
    shop.deliver(yesterday, tomorrow, clock=Clock.SYSTEM)
    assert shop.logged() == [("a", 0, 2)]


def test_offsets_of_a_topic_made_anew_mean_nothing_but_times_still_do(shop: Shop, tmp_path: Path) -> None:
    shop.forget(shop="a")
    shop.log.path.rename(tmp_path / "old")
    shop.store.clear()
    shop.identity = "cluster/another"
    shop.deliver(record(0, "a", 60 * 24 + 1), record(1, "a", 5), record(2, "b", 5))
    assert shop.logged() == [("a", 0, 0), ("b", 0, 2)]


def test_entity_forgotten_again_stays_forgotten_through_the_newer_offset(shop: Shop) -> None:
    shop.forget(shop="a")
    again = record(4, "a", 60 * 24 + 6)
    shop.deliver(again)
    assert shop.forget(shop="a").log == {"sales": 1}
    shop.deliver(*RECORDS, again)
    assert shop.logged() == [("b", 0, 1), ("c", 1, 1)]
    assert len(Ledger.load(shop.project.erasure_path).erasures) == 1


def test_other_entities_lose_nothing_to_a_ledger(shop: Shop) -> None:
    shop.forget(shop="a")
    shop.forget(shop="nobody", pieces=7)
    worker = shop.start()
    worker.process(fetches(record(4, "b", 0, late=1500, pieces=7), record(5, "aa", 0, late=1500)))
    worker.flush()
    assert shop.logged() == [("b", 0, 1), ("b", 0, 4), ("aa", 0, 5), ("c", 1, 1)]


def test_erasure_cut_short_is_finished_by_forgetting_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError

    with monkeypatch.context() as broken:
        broken.setattr(EventLog, "erase", fail)
        with pytest.raises(OSError):  # noqa: PT011 ours, without a text
            shop.forget(shop="a")
    assert ("a", 0, 0) in shop.logged()
    refill(shop.store, shop.project, PLAN)  # what is in the log still does not come back online
    assert shop.counts("shop_sales", shop="a") == 0
    shop.forget(shop="a")
    assert shop.logged() == [("b", 0, 1), ("c", 1, 1)]


# --- what is left to read


def test_two_erasures_at_once_are_both_kept(shop: Shop) -> None:
    folder = shop.project.erasure_path
    shop.forget(shop="c")
    one, other = Ledger.load(folder), Ledger.load(folder)
    for ledger, name in ((one, "a"), (other, "b")):
        ledger.add(Erasure(("shop",), ledger.digest({"shop": name}), 1, 2, {"sales": {0: 3}}, {}))
    assert set(Ledger.load(folder).erasures) == {one.digest({"shop": name}) for name in "abc"}


def test_receipt_says_what_and_where_but_not_who(shop: Shop) -> None:
    done = shop.forget(shop="a")
    receipt = json.loads(Path(done.receipt).read_text())
    assert receipt["entity"] == ["shop"]
    assert receipt["hmac_sha256"] == Ledger.load(shop.project.erasure_path).digest({"shop": "a"})
    assert receipt["removed"] == {
        "online_records": {"shop_sales": 2, "both": 3},
        "log_events": {"sales": 4},
        "recorded_lookups": 0,
    }
    assert receipt["versions"]["log"] == {"sales": shop.log.version()}
    assert receipt["stays_out"]["through_offset"] == {"sales": {"0": 3, "1": 1}}
    assert '"a"' not in Path(done.receipt).read_text()


def test_secret_is_its_owners_and_every_projects_own(shop: Shop, tmp_path: Path) -> None:
    shop.forget(shop="a")
    assert (shop.project.erasure_path / "secret").stat().st_mode & 0o777 == 0o600
    other = Ledger.load(tmp_path / "elsewhere")
    assert other.digest({"shop": "a"}) not in Ledger.load(shop.project.erasure_path).erasures


@pytest.mark.parametrize("lost", ["secret", "ledger.json"])
def test_damaged_ledger_stops_the_worker_instead_of_letting_all_back_in(shop: Shop, lost: str) -> None:
    shop.forget(shop="a")
    (shop.project.erasure_path / lost).write_text("")
    with pytest.raises(ConfigError, match="ledger of erasures"):
        shop.deliver(*RECORDS)


def test_datasets_that_still_hold_it_are_named(shop: Shop) -> None:
    def dataset(folder: Path, **columns: Any) -> str:
        (folder / "train").mkdir(parents=True)
        pq.write_table(pa.table(columns), folder / "train" / "part-00000.parquet")
        files = [{"split": "train", "path": "train/part-00000.parquet"}]
        (folder / "manifest.json").write_text(json.dumps({"dataset": folder.name, "files": files}))
        return str(folder / "manifest.json")

    root, state = shop.project.root, shop.project.state
    held = dataset(state / "datasets" / "held", shop=["a", "b", "a"])
    dataset(state / "datasets" / "free", shop=["b", None])
    dataset(root / "exports" / "features_only", ever=[1, 2])
    unreadable = dataset(root / "exports" / "cut_short", shop=["a"])
    (root / "exports" / "cut_short" / "train" / "part-00000.parquet").write_bytes(b"PAR1")
    (root / "exports" / "manifest.json").write_text("{}")
    found = {(holder.manifest, holder.rows) for holder in shop.forget(shop="a").datasets}
    assert found == {(held, 2), (unreadable, None)}


def test_audit_compares_nothing_from_before_an_erasure_and_all_from_after_it(shop: Shop) -> None:
    def serve(pieces: int) -> None:
        with FeatureClient(shop.project, plan=PLAN, store=shop.store, audit=1) as client:
            client.get_online_features("by_pieces:*", [{"pieces": pieces}])

    serve(2)
    shop.forget(shop="a")
    refill(shop.store, shop.project, PLAN)
    serve(2)
    report = audit_lookups(shop.project)
    assert (report.lookups, report.erased, report.matches, report.ok) == (2, 1, 1, True)


@pytest.mark.parametrize("names", [{"price": 1.0}, {"nope": "a"}])
def test_what_no_view_is_keyed_by_is_refused(shop: Shop, names: dict[str, Any]) -> None:
    with pytest.raises(LookupRequestError, match="No view is keyed by"):
        shop.forget(**names)
    assert not shop.project.erasure_path.exists()


# --- the command


def run(shop: Shop, *arguments: str) -> Any:
    return runner.invoke(app, ["forget", *arguments, "--project", str(shop.project.root)])


def test_command_forgets_each_key_and_mends_the_views_that_had_counted_it(shop: Shop) -> None:
    shop.store.close()
    done = run(shop, "shop", "a", "c")
    assert done.exit_code == 0, done.output
    assert "Receipt: " in done.output
    with open_store(shop.project.store_url, writable=True) as store:
        shop.store = store
        assert shop.logged() == [("b", 0, 1)]
        assert [shop.counts("by_pieces", pieces=pieces) for pieces in (1, 2, 7)] == [0, 1, 0]
        assert shop.counts("shop_sales", shop="b") == 2


def test_command_takes_several_join_keys(shop: Shop) -> None:
    shop.store.close()
    done = run(shop, "--key", "shop=a", "--key", "pieces=2", "--json")
    assert done.exit_code == 0, done.output
    (forgotten,) = json.loads(done.stdout)["forgotten"]
    assert (forgotten["names"], forgotten["log"]) == (["pieces", "shop"], {"sales": 1})


@pytest.mark.parametrize("arguments", [[], ["shop"], ["nope", "a"], ["shop", "a", "--key", "shop=a"], ["pieces", "x"]])
def test_command_that_names_nobody_erases_nothing(shop: Shop, arguments: list[str]) -> None:
    shop.store.close()
    assert run(shop, *arguments).exit_code == 1
    assert not shop.project.erasure_path.exists()


def _hold(url: str, held: Any, free: Any) -> None:
    with open_store(url, writable=True):
        held.set()
        free.wait(60)


def test_command_leaves_a_store_alone_that_a_worker_holds(shop: Shop) -> None:
    shop.store.close()
    context = multiprocessing.get_context("spawn")
    held, free = context.Event(), context.Event()
    worker = context.Process(target=_hold, args=(shop.project.store_url, held, free))
    worker.start()
    try:
        assert held.wait(60)
        refused = run(shop, "shop", "a")
    finally:
        free.set()
        worker.join()
    assert refused.exit_code == 1
    assert "Nothing was erased" in refused.output
    assert "Stop the worker, forget again" in refused.output
    assert len(shop.logged()) == 6
