"""Recording served answers for `headrace audit`: a sample, written in the background.

The thread that looks features up only puts the answer into a bounded queue. A background thread makes rows of the
answers and appends them to the table of recorded lookups. If the queue is full, or the table cannot be written, answers
are dropped, counted and reported: recording never delays or fails a lookup.
"""

from __future__ import annotations

import atexit
import json
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from headrace.errors import ConfigError, HeadraceError
from headrace.log import LookupTable, Place
from headrace.lookup.response import OnlineFeatures
from headrace.lookup.served_versions import plain_name
from headrace.plan import Plan, write_plan
from headrace.plan.view_versions import without_versions
from headrace.state import State

__all__ = ["LookupRecorder"]

logger = logging.getLogger(__name__)

_ANSWERS_PER_COMMIT = 1_000
"""How many answers a commit has at most."""


class LookupRecorder:
    """Records a share of what a client serves. Any number of threads may offer answers.

    Args:
        place: Where the table of recorded lookups is.
        plan: The plan that answers are made under.
        plans: Where plans are kept, by hash, for the audit to recompute by (`Project.served_plans`).
        rate: The share of answers to record, 0 to 1.
        capacity: How many answers may wait.
        every_s: How often waiting answers are written, in seconds.

    Raises:
        ConfigError: `rate` is not a share.
    """

    def __init__(
        self,
        place: Place,
        plan: Plan,
        rate: float,
        *,
        plans: State | None = None,
        capacity: int = 10_000,
        every_s: float = 1.0,
    ) -> None:
        if not 0 <= rate <= 1:
            msg = f"The share of lookups to record is {rate!r}; it must be from 0 to 1."
            raise ConfigError(msg, hint="Write audit=0.01 to record one lookup in a hundred, or 1 for all.")
        self._table = LookupTable(place)
        self._names: dict[str, tuple[str, ...]] = {}
        self._plans = plans
        self._rate = rate
        self._capacity = capacity
        self._every_s = every_s
        self._waiting: deque[tuple[int, OnlineFeatures]] = deque()
        self._counting = threading.Lock()
        self._writing = threading.Lock()
        self._unreported = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.recorded = 0
        """How many entities' answers have been written."""
        self.dropped = 0
        """How many entities' answers should have been recorded but were not."""
        self.follow(plan)

    def follow(self, plan: Plan) -> None:
        """From now on answers may also be made under this plan: another version of a view went live."""
        fields = {view.name: tuple(one.name for one in view.request) for view in plan.on_demand_views.values()}
        self._names = self._names | {view.name: view.join_keys for view in plan.every_view} | fields
        file = None if self._plans is None else self._plans.file(f"{plan.hash}.json")
        if file is not None and not file.exists():
            try:
                write_plan(plan, file)
            except HeadraceError as error:
                logger.warning("The audit will not know the plan %s: %s", plan.hash, error.what)

    def offer(self, answer: OnlineFeatures) -> None:
        """Record an answer if it is sampled; do not change it afterwards.

        Args:
            answer: What was served.
        """
        if self._rate < 1 and random.random() >= self._rate:  # noqa: S311 a sample, not a secret
            return
        if len(self._waiting) >= self._capacity:
            self._count_dropped(len(answer.entity_rows))
            return
        self._waiting.append((time.time_ns(), answer))
        if self._thread is None:
            self._start()

    def flush(self) -> None:
        """Write the waiting answers. Those that cannot be written are dropped, counted and logged."""
        with self._writing:
            while self._waiting:
                taken = [self._waiting.popleft() for _ in range(min(_ANSWERS_PER_COMMIT, len(self._waiting)))]
                self._write(taken)

    def close(self) -> None:
        """Write the waiting answers and end the thread; closing again does nothing."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            atexit.unregister(self.close)
        self.flush()
        with self._counting:
            unreported, self._unreported = self._unreported, 0
        if unreported:
            logger.warning(
                "%d lookups that should have been recorded in %s were not.", unreported, self._table.location
            )

    def _start(self) -> None:
        with self._counting:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="headrace-audit", daemon=True)
                self._thread.start()
                atexit.register(self.close)  # so a program that ends without closing its client loses nothing

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            self.flush()

    def _write(self, taken: Sequence[tuple[int, OnlineFeatures]]) -> None:
        rows = [row for served_at, answer in taken for row in self._rows(served_at // 1000, answer)]
        with self._counting:
            unreported, self._unreported = self._unreported, 0
        if rows:
            rows[0]["unrecorded"] = unreported
        try:
            self._table.append(rows)
        except HeadraceError as error:
            logger.warning("%d lookups could not be recorded: %s", len(rows), error.what)
            with self._counting:
                self._unreported += unreported
            self._count_dropped(len(rows))
            return
        self.recorded += len(rows)

    def _rows(self, served_at_us: int, answer: OnlineFeatures) -> list[dict[str, Any]]:
        # A request's row may have more values than views read. Only what they read is recorded: join keys, and fields
        # of the request.
        names = {name for view in answer.views for name in self._names[plain_name(view)]}
        return [
            {
                "served_at_us": served_at_us,
                "at_us": record["at_us"],
                "plan": record["plan"],
                "keys": _json({name: value for name, value in record["keys"].items() if name in names}),
                "features": _json(without_versions(record["features"])),
                "views": _json(without_versions(record["views"])),
                "evidence": _json(without_versions(record["evidence"])),
                "origin": answer.origin,
                "problems": _json(without_versions(record.get("problems", {}))),
                "unrecorded": 0,
            }
            for record in answer.records()
        ]

    def _count_dropped(self, entities: int) -> None:
        with self._counting:
            self.dropped += entities
            self._unreported += entities


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
