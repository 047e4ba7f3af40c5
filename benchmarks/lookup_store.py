"""What the lookup benchmark looks up: users' payments, features of them over windows, and stores that hold those.

Ten features are count, sum, mean, min and max over an hour by the minute and a day by the quarter of an hour; fifty are
the same five over five windows of either slide. Users pay at even chances over the day that ends with the last payment,
whose time is now on the record clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.config import Clock
from headrace.events.event_batch import EventBatch
from headrace.events.source_partition import SourcePartition
from headrace.plan import Column, DType, Feature, Plan, Source, View
from headrace.records.applier import Applier
from headrace.stores import CatalogueChange, OnlineStore, Position, open_store

__all__ = [
    "MINUTE_US",
    "PARTITIONS",
    "PLAN",
    "SOURCE",
    "Payments",
    "apply",
    "columns_of",
    "filled",
    "names_of",
    "user_id",
]

PARTITIONS = 4
MINUTE_US = 60_000_000
DAY_US = 24 * 60 * MINUTE_US

SOURCE = Source(
    name="payments",
    topic="payments",
    model="events:Payment",
    key="user_id",
    timestamp_field="ts",
    columns=(
        Column(name="user_id", dtype=DType.STRING, nullable=False),
        Column(name="amount", dtype=DType.FLOAT64, nullable=False),
        Column(name="ts", dtype=DType.TIMESTAMP, nullable=False),
    ),
)

_FUNCTIONS = ("count", "sum", "mean", "min", "max")
_TEN = ((1, 60), (15, 1440))
_FIFTY = ((1, 5), (1, 10), (1, 15), (1, 30), (1, 60), (15, 60), (15, 180), (15, 360), (15, 720), (15, 1440))
"""Slide and length of each window, in minutes."""


def _feature(function: str, slide: int, length: int) -> Feature:
    return Feature(
        name=f"{function}_{length}m_by_{slide}m",
        function=function,
        column="*" if function == "count" else "amount",
        window_us=length * MINUTE_US,
        slide_us=slide * MINUTE_US,
        dtype=DType.INT64 if function == "count" else DType.FLOAT64,
    )


def _view(name: str, windows: Sequence[tuple[int, int]]) -> View:
    features = tuple(_feature(function, *window) for window in windows for function in _FUNCTIONS)
    return View(
        name=name,
        source="payments",
        entities=(SOURCE.columns[0],),
        features=features,
        input=SOURCE.input_of(features),
    )


PLAN = Plan(
    project="payments",
    sources={"payments": SOURCE},
    views={"ten": _view("ten", _TEN), "fifty": _view("fifty", _FIFTY)},
)


def names_of(view: str) -> list[str]:
    """A view's features, by name."""
    return [feature.name for feature in PLAN.views[view].features]


def columns_of(view: str) -> list[str]:
    """A view's features, by column of an answer."""
    return [f"{view}__{name}" for name in names_of(view)]


def user_id(user: int) -> str:
    """A user's id."""
    return f"u{user:07}"


@dataclass(frozen=True)
class Payments:
    """A day of payments.

    Attributes:
        events: How many.
        users: Of how many users.
        end_us: When the last one happened, in µs.
    """

    events: int
    users: int
    end_us: int

    @cached_property
    def ts_us(self) -> npt.NDArray[np.int64]:
        """When each happened, ascending."""
        dice = np.random.default_rng(7)
        ts = np.sort(dice.integers(self.end_us - DAY_US, self.end_us, self.events))
        ts[-1] = self.end_us
        return ts

    @cached_property
    def user(self) -> npt.NDArray[np.int64]:
        """Whose each is."""
        return np.random.default_rng(8).integers(0, self.users, self.events)

    @cached_property
    def amount(self) -> npt.NDArray[np.float64]:
        """How much each is."""
        return np.random.default_rng(9).integers(1, 100_000, self.events) / 100

    def features(self, view: str, user: int) -> list[float | None]:
        """What is right, straight from the payments: a user's features of a view when the last payment has happened."""
        mine = self.user == user
        ts, amount = self.ts_us[mine], self.amount[mine]
        found: list[float | None] = []
        for slide, length in _TEN if view == "ten" else _FIFTY:
            tile, newest = ts // (slide * MINUTE_US), self.end_us // (slide * MINUTE_US)
            counted = amount[(tile > newest - length // slide) & (tile <= newest)]
            n = len(counted)
            found += [n, float(counted.sum())]
            found += [float(counted.mean()), float(counted.min()), float(counted.max())] if n else [None] * 3
        return found


def apply(
    applier: Applier,
    user: npt.NDArray[np.int64],
    amount: npt.NDArray[np.float64],
    ts: npt.NDArray[np.int64],
    first: int,
) -> None:
    """Apply payments to a store, a partition's users all in that partition as a keyed topic has them.

    Args:
        applier: The store's.
        user: Whose each is.
        amount: How much each is.
        ts: When each happened and became known, in µs.
        first: The first one's offset.
    """
    table = pa.table(
        {
            "user_id": pa.array([user_id(one) for one in user.tolist()]),
            "amount": amount,
            "ts": pa.array(ts).cast(pa.timestamp("us", "UTC")),
        }
    )
    offset = first + np.arange(len(user))
    batch = EventBatch(SOURCE, table, ts, user % PARTITIONS, offset, ts, ts)
    last = Position(int(offset[-1]), int(ts.max()), int(ts.max()))
    applier.apply([batch], {SourcePartition(SOURCE.topic, partition): last for partition in range(PARTITIONS)})


def filled(url: str, payments: Payments, clock: str) -> OnlineStore:
    """A store that holds the payments, opened as a model server opens it.

    Args:
        url: The store's.
        payments: The payments.
        clock: The clock that it is filled under.
    """
    with open_store(url, writable=True) as store:
        store.change(CatalogueChange().clock(Clock(clock)).serve(PLAN.views.values()))
        applier, at_once = Applier(PLAN, store), 50_000
        for start in range(0, payments.events, at_once):
            some = slice(start, start + at_once)
            apply(applier, payments.user[some], payments.amount[some], payments.ts_us[some], start)
    return open_store(url, writable=False)
