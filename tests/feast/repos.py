"""Feast repos for these tests: Feast's own template, and a small project with stream views."""

from __future__ import annotations

import shutil
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from headrace.config import Project
from headrace.events.repo_modules import own_modules
from headrace.log import EventLog
from headrace.stores import OnlineStore, open_store
from headrace.testing.definitions import definitions_of
from headrace.testing.sent_events import SourceSends
from headrace.testing.simulated_worker import KeptLetters, SimulatedWorker

TWO_LINES = """\
online_store:
    type: headrace.feast.HeadraceOnlineStore
offline_store:
    type: headrace.feast.HeadraceOfflineStore
"""


def stock_repo(folder: Path) -> Path:
    """`feast init`: the folder with feature_store.yaml of Feast's own template, seeded by it."""
    from feast.repo_operations import init_repo

    init_repo(folder.name, "local", str(folder))
    return folder / "feature_repo"


def with_two_lines(repo: Path) -> None:
    """Change the stores of a stock repo, and nothing else."""
    file = repo / "feature_store.yaml"
    text = file.read_text(encoding="utf-8")
    stock = "online_store:\n    type: sqlite\n    path: data/online_store.db\n"
    assert stock in text
    file.write_text(text.replace(stock, TWO_LINES), encoding="utf-8")


def copied(repo: Path, folder: Path) -> Path:
    """The same repo with the same data at another place."""
    shutil.copytree(repo, folder)
    return folder


@contextmanager
def inside(repo: Path) -> Iterator[None]:
    """As in a shell whose current folder is the repo."""
    import contextlib

    with own_modules(repo, fresh=True), contextlib.chdir(repo):
        yield


def feast_apply(repo: Path) -> Any:
    """`feast apply`, and the store that it leaves."""
    from feast import FeatureStore
    from feast.repo_config import load_repo_config
    from feast.repo_operations import apply_total

    with inside(repo), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Feast warns about its own views
        apply_total(load_repo_config(repo, repo / "feature_store.yaml"), repo, False)
    return FeatureStore(repo_path=str(repo))


EVENTS = """
    from pydantic import AwareDatetime, BaseModel

    class Order(BaseModel):
        customer: str
        shop: int
        placed_at: AwareDatetime
        price: float
        items: int
"""

VIEWS = """
    from datetime import timedelta

    import pandas as pd
    from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource, RequestSource, ValueType
    from feast.on_demand_feature_view import on_demand_feature_view
    from feast.types import Float64, Int64, String

    from headrace import aggregation, event_source, stream_view
    from events import Order

    HOUR = timedelta(hours=1)
    customer = Entity(name="customer", join_keys=["customer"], value_type=ValueType.STRING)
    shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.INT64)
    orders = event_source(name="orders", model=Order, topic="orders", key="customer", timestamp_field="placed_at")
    spending = stream_view(
        name="spending",
        source=orders,
        entities=[customer],
        aggregations=[
            aggregation("count", window=HOUR, slide=timedelta(minutes=1), name="orders_1h"),
            aggregation("sum", "price", window=HOUR, slide=timedelta(minutes=1), name="spent_1h"),
            aggregation("last", "placed_at", name="newest"),
            aggregation("last_n(3)", "items", name="items_3"),
        ],
    )
    pairs = stream_view(
        name="pairs",
        source=orders,
        entities=[customer, shop],
        aggregations=[aggregation("count", name="orders_ever"), aggregation("max", "price", name="dearest")],
    )
    scores_file = FileSource(
        name="scores_file", path="data/scores.parquet", timestamp_field="at", created_timestamp_column="created"
    )
    scores = FeatureView(
        name="scores",
        entities=[customer],
        ttl=timedelta(days=1),
        schema=[Field(name="score", dtype=Float64), Field(name="level", dtype=Int64)],
        source=PushSource(name="scores_push", batch_source=scores_file),
    )
    basket = RequestSource(name="basket", schema=[Field(name="amount", dtype=Float64)])

    @on_demand_feature_view(
        sources=[spending, scores, basket],
        schema=[Field(name="share", dtype=Float64), Field(name="risk", dtype=Float64)],
        mode="python",
        singleton=True,
    )
    def judged(inputs):
        spent, score = inputs["spent_1h"], inputs["score"]
        return {
            "share": None if not spent else inputs["amount"] / spent,
            "risk": None if score is None else score * inputs["amount"],
        }

    checkout = FeatureService(name="checkout", features=[spending, pairs, scores])
"""

YAML = f"""
project: shop
provider: local
registry: ../.headrace/registry.db
{TWO_LINES.strip()}
batch_engine:
    type: headrace.feast.HeadraceComputeEngine
entity_key_serialization_version: 3
"""


def write_shop(root: Path, files: Mapping[str, str] | None = None) -> Path:
    """A headrace project with stream views, a push view and an on-demand view; its feature repo."""
    repo = root / "feature_repo"
    texts = {"feature_store.yaml": YAML, "events.py": EVENTS, "views.py": VIEWS, **(files or {})}
    for name, text in texts.items():
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_text(textwrap.dedent(text).lstrip(), encoding="utf-8")
    (root / "headrace.toml").write_text('[headrace]\nclock = "record"\n', encoding="utf-8")
    return repo


class Filled:
    """A worker that fills a project's own store and log, without a broker.

    Args:
        repo: The feature repo.
    """

    def __init__(self, repo: Path) -> None:
        self.project = Project.load(repo)
        definitions = definitions_of(str(repo), None)
        sources = definitions.plan.sources.values()
        logs = {one.topic: EventLog(self.project.log_root, one) for one in sources}
        self.store: OnlineStore = open_store(self.project.store_url, writable=True)
        self._worker = SimulatedWorker(definitions, self.store, logs, KeptLetters())
        self._sends = {one.name: SourceSends(one, definitions.models[one.name], 2) for one in sources}

    def send(self, source: str, events: Sequence[Mapping[str, Any]], known: Sequence[datetime] | None = None) -> None:
        """Apply one fetch of events, each known at its own time or at `known`."""
        self._worker.deliver(self._sends[source].records(events, known, None))
        self._worker.flush()

    def close(self) -> None:
        self._worker.close()


class Shop(Filled):
    """The shop of `write_shop`."""

    def order(self, *events: Mapping[str, Any]) -> None:
        """Apply one fetch of orders, each known at its own time or at `known`."""
        known = [event.get("known", event["placed_at"]) for event in events]
        orders = [{name: value for name, value in event.items() if name != "known"} for event in events]
        self.send("orders", orders, known)
