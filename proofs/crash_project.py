"""The project that `make crash` kills the workers of: payments by card and by shop, and what its features mean.

Payments are keyed by card, so a shop's lie in every partition. Sums are of quarters, which doubles hold exactly.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pydantic import AwareDatetime, BaseModel

from headrace.plan import Column, DType, Plan, Source, View, write_plan
from headrace.state import LocalState
from proofs.brute import Meaning
from proofs.features import feature_of

__all__ = ["DEDUP_US", "MODEL", "PARTITIONS", "PLAN", "TOPIC", "Payment", "meanings_of", "plan_of", "write_project"]

TOPIC = "payments"
PARTITIONS = 6
MINUTE, HOUR = 60_000_000, 3_600_000_000
DEDUP_US = 10 * MINUTE
MODEL = "proofs.crash_project:Payment"


class Payment(BaseModel):
    """A payment."""

    id: str
    card: str
    shop: str
    paid_at: AwareDatetime
    amount: float | None
    items: int


_SOURCE = Source(
    name="payments",
    topic=TOPIC,
    model=MODEL,
    key="card",
    timestamp_field="paid_at",
    columns=(
        Column(name="id", dtype=DType.STRING, nullable=False),
        Column(name="card", dtype=DType.STRING, nullable=False),
        Column(name="shop", dtype=DType.STRING, nullable=False),
        Column(name="paid_at", dtype=DType.TIMESTAMP, nullable=False),
        Column(name="amount", dtype=DType.FLOAT64, nullable=True),
        Column(name="items", dtype=DType.INT64, nullable=False),
    ),
    max_future_us=HOUR,
    event_id="id",
    dedup_us=DEDUP_US,
)
_MEANINGS: dict[str, list[Meaning]] = {
    "card": [
        Meaning("count_10m", "count", "*", 10 * MINUTE, MINUTE),
        Meaning("sum_1h", "sum", "amount", HOUR, 5 * MINUTE),
        Meaning("min_1h", "min", "amount", HOUR, 5 * MINUTE),
        Meaning("max_2h", "max", "amount", 2 * HOUR, 10 * MINUTE),
        Meaning("mean_30m", "mean", "amount", HOUR // 2, MINUTE),
        Meaning("last_ever", "last", "amount", None, None),
        Meaning("count_ever", "count", "*", None, None),
        Meaning("shops_1h", "distinct_n", "shop", HOUR, 5 * MINUTE, (3,)),
    ],
    "shop": [
        Meaning("count_30m", "count", "*", HOUR // 2, MINUTE),
        Meaning("items_ever", "sum", "items", None, None),
        Meaning("sum_ever", "sum", "amount", None, None),
        Meaning("p90_10m", "percentile", "amount", 10 * MINUTE, MINUTE, (0.9, 8_192)),  # exact for that many
        Meaning("last_1h", "last", "items", HOUR, MINUTE),
    ],
}


def meanings_of(longer: int = 1) -> dict[str, list[Meaning]]:
    """What each view's features mean, by view; a view is keyed by the column it is named after.

    Args:
        longer: How many times as long the windows are: another number is another version of the views.
    """
    return {
        view: [replace(one, window=None if one.window is None else longer * one.window) for one in meanings]
        for view, meanings in _MEANINGS.items()
    }


def _view(name: str, meanings: list[Meaning]) -> View:
    features = tuple(feature_of(meaning, _SOURCE) for meaning in meanings)
    key = Column(name=name, dtype=DType.STRING, nullable=False)
    return View(
        name=name, source=_SOURCE.name, entities=(key,), features=features, input=_SOURCE.input_of(features, ())
    )


def plan_of(longer: int = 1) -> Plan:
    """The plan of a version of the views; see `meanings_of`."""
    views = {name: _view(name, meanings) for name, meanings in meanings_of(longer).items()}
    return Plan(project="crash", sources={_SOURCE.name: _SOURCE}, views=views)


PLAN = plan_of()


def write_project(root: Path, broker: str, store: str, session_timeout: float) -> None:
    """Write a project that workers can be started in.

    Args:
        root: Its folder.
        broker: The broker's address.
        store: The online store, as in headrace.toml.
        session_timeout: The workers', in seconds.
    """
    (root / "feature_repo").mkdir(parents=True)
    settings = {
        "clock": '"record"',
        "broker": f'"{broker}"',
        "store": f'"{store}"',
        "partitions": PARTITIONS,
        "session_timeout": session_timeout,
        "handoff_chunk": 400,  # so that a version is built in many steps, between which a worker may die
    }
    lines = [f"{name} = {value}" for name, value in settings.items()]
    (root / "headrace.toml").write_text("\n".join(["[headrace]", *lines, ""]), encoding="utf-8")
    write_plan(PLAN, LocalState(root / ".headrace").file("plan.json"))
