"""The lookup SDK: features now, for model servers."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from headrace.config import Clock, Project
from headrace.errors import LookupRequestError, LookupTimeError, PlanMismatchError
from headrace.events.columns import IntArray, Values
from headrace.lookup.request import entity_columns, time_us
from headrace.lookup.response import OnlineFeatures, Status, ViewAnswer
from headrace.online import OnlineStore, Position, SourcePartition, open_store
from headrace.online.codec import Records, decode_records
from headrace.online.meta import CLOCK, GENERATION, view_fact
from headrace.online.versions import live_plan, live_view, unasked_views, unreadable
from headrace.plan import FeatureRef, Plan, read_plan
from headrace.times import datetime_of, iso_time
from headrace.windows import NEVER, FeaturePlace, Tiles, ViewLayout, merge_tiles, value_at

if TYPE_CHECKING:
    from headrace.lookup.recorder import LookupRecorder

__all__ = ["FeatureClient"]

logger = logging.getLogger(__name__)

_REBUILD = "Change the source back and apply, or run `headrace stream --rebuild`: it fills the store anew from the log, under the plan as it is now."


class FeatureClient:
    """Looks features up in the online store.

    Args:
        project: The project, or a path in it; None is the current folder's.
        plan: The plan, where it is not the project's.
        store: An open store, where it is not the project's; the client does not close it.
        audit: The share of lookups to record for `headrace audit`, 0 to 1; None is what the project says.

    Raises:
        PlanError, PlanMismatchError: There is no plan, or the store was filled under another.
        StoreError, StoreUnavailableError: The store cannot be opened.
        ConfigError: `audit` is not a share.
    """

    def __init__(
        self,
        project: Project | str | os.PathLike[str] | None = None,
        *,
        plan: Plan | None = None,
        store: OnlineStore | None = None,
        audit: float | None = None,
    ) -> None:
        if plan is None or store is None or audit:
            project = project if isinstance(project, Project) else Project.load(project)
            plan = plan or read_plan(project.plan_path)
        self._declared = plan
        self._recorder = _recorder(project, plan, audit)
        self._owns_store = store is None
        self._store = store if store is not None else open_store(_url(project), writable=False)
        self._serving = self._read_serving()

    def get_online_features(
        self,
        features: str | Sequence[str],
        entity_rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]],
        at: datetime | None = None,
    ) -> OnlineFeatures:
        """Look features up.

        Args:
            features: A feature service's name, or a list of `view:feature`, `view:*` and service names.
            entity_rows: One mapping of join keys to values per row, or one mapping of join keys to columns.
            at: The time to answer for, with a time zone; None is now (on the record clock, the newest record's time).

        Returns:
            The values, with status, freshness and evidence per view and row.

        Raises:
            LookupRequestError: A name is unknown, or a row leaves out a key or gives one of a wrong type.
            LookupTimeError: The store can no longer (or not exactly) answer for that time.
        """
        asked = features if isinstance(features, str) else list(features)
        serving = self._serving
        while True:
            try:
                refs = self._resolve(serving, asked)
                layouts = {ref.view: self._layout(serving, ref.view) for ref in refs}
            except PlanMismatchError:
                known, serving = serving.generation, self._read_serving()
                if serving.generation == known:
                    raise
                continue
            rows, keys = entity_columns(entity_rows, [layout.view for layout in layouts.values()])
            moment = self._store.lookup({layout.view.hash: keys[name] for name, layout in layouts.items()})
            if moment.generation == serving.generation:
                break
            serving = self._serving = self._read_serving()  # another version of some view went live
        at_us = self._now_us(moment.positions) if at is None else time_us(at)
        t_us = np.full(len(rows), at_us, np.int64)
        values: dict[str, Values] = {}
        answers: dict[str, ViewAnswer] = {}
        for name, layout in layouts.items():
            lookup = _ViewLookup(layout, keys[name], moment.records[layout.view.hash], t_us)
            wanted = [ref for ref in refs if ref.view == name]
            if at is not None:
                lookup.refuse_unanswerable(wanted)
            values.update({ref.column: lookup.value(ref) for ref in wanted})
            answers[name] = lookup.answer()
        served = OnlineFeatures(
            at_us=at_us,
            plan_hash=serving.plan.hash,
            topics={name: layout.source.topic for name, layout in layouts.items()},
            entity_rows=rows,
            dtypes={ref.column: layouts[ref.view].view.feature(ref.feature).dtype for ref in refs},
            values={ref.column: values[ref.column] for ref in refs},
            views=answers,
        )
        if self._recorder is not None:
            self._recorder.offer(served)
        return served

    def now(self) -> datetime:
        """Now, by the clock that the store was filled under."""
        return datetime_of(self._now_us(self._store.positions()))

    def positions(self) -> dict[SourcePartition, Position]:
        """How far each source partition has been applied."""
        return self._store.positions()

    @property
    def plan(self) -> Plan:
        """The plan, with each view in the version that is served."""
        return self._serving.plan

    @property
    def recorder(self) -> LookupRecorder | None:
        """What records lookups for `headrace audit`; None where nothing is recorded."""
        return self._recorder

    def close(self) -> None:
        """Let go of the store, once the lookups that wait to be recorded are."""
        if self._recorder is not None:
            self._recorder.close()
        if self._owns_store:
            self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _now_us(self, positions: Mapping[SourcePartition, Position]) -> int:
        if CLOCK not in self._serving.facts:
            self._serving = self._read_serving()  # the worker had not started when the client was made
        if self._serving.facts.get(CLOCK) != Clock.RECORD:
            return time.time_ns() // 1000
        return max((position.record_ts_us for position in positions.values()), default=0)

    def _read_serving(self) -> _Serving:
        facts = self._store.meta()
        plan = live_plan(self._declared, facts)
        for remark in unasked_views(self._declared, plan, facts):
            logger.warning(remark)
        if self._recorder is not None:
            self._recorder.follow(plan)
        return _Serving(plan, facts, facts.get(GENERATION, ""), {})

    def _resolve(self, serving: _Serving, asked: str | list[str]) -> list[FeatureRef]:
        """What is asked for, as the plan has it; a version that is served still may lack some of it."""
        try:
            refs = serving.plan.resolve(asked)
        except LookupRequestError:
            refs = self._declared.resolve(asked)
        for ref in refs:
            view = serving.plan.views[ref.view]
            if ref.feature not in {feature.name for feature in view.features}:
                msg = f"The online store serves {view.versioned_name}, which has no feature {ref.feature!r}."
                cure = f"`headrace backfill {view.name}` makes {self._declared.views[view.name].versioned_name} live."
                raise PlanMismatchError(msg, cure=cure)
        return refs

    def _layout(self, serving: _Serving, name: str) -> ViewLayout:
        if name not in serving.layouts:
            if serving.facts.get(view_fact(name)) != serving.plan.views[name].hash:
                # The worker may have started since; otherwise this says what is the matter.
                live_view(self._declared.views[name], self._store.meta())
            view = serving.plan.views[name]
            source = serving.plan.source_of(view)
            why = None if view.hash == self._declared.views[name].hash else unreadable(view, source)
            if why is not None:  # its records hold values of the types that fields had, and would be read as others
                msg = f"The online store serves {view.versioned_name}, which the plan can no longer read: {why}."
                raise PlanMismatchError(msg, cure=_REBUILD)
            serving.layouts[name] = ViewLayout.of(view, source)
        return serving.layouts[name]


@dataclass(frozen=True)
class _Serving:
    """What the store serves, as long as its generation is the same.

    Attributes:
        plan: The plan, with each view in the version served.
        facts: What the store says of itself.
        generation: The store's generation.
        layouts: The layouts of the views asked for so far.
    """

    plan: Plan
    facts: dict[str, str]
    generation: str
    layouts: dict[str, ViewLayout]


class _ViewLookup:
    """One view's part of a lookup: its records merged over source partitions, a group per row."""

    def __init__(
        self, layout: ViewLayout, entities: list[bytes], found: list[list[tuple[int, bytes]]], t_us: IntArray
    ) -> None:
        self._layout = layout
        self._t_us = t_us
        self._row = np.array([row for row, partials in enumerate(found) for _ in partials], np.int64)
        self._partition = [partition for partials in found for partition, _ in partials]
        encoded = [record for partials in found for _, record in partials]
        owners = [entities[row] for row in self._row.tolist()]
        self._records: Records = decode_records(layout, encoded, owners)
        self._merged: dict[int, Tiles] = {}

    def value(self, ref: FeatureRef) -> Values:
        place = self._layout.places[ref.feature]
        return value_at(self._layout.families[place.family], place, self._tiles(place.family), self._t_us)

    def _tiles(self, family: int) -> Tiles:
        """The family's tiles with the partitions' partials merged: groups are rows of the request."""
        if family not in self._merged:
            partials = self._records.tiles[family]
            by_row = Tiles(self._row[partials.group], partials.tile, partials.known_us, partials.states)
            self._merged[family] = merge_tiles(self._layout.families[family], [by_row])
        return self._merged[family]

    def answer(self) -> ViewAnswer:
        n = len(self._t_us)
        newest = np.full(n, NEVER, np.int64)
        np.maximum.at(newest, self._row, np.array([header.newest_ts_us for header in self._records.headers], np.int64))
        present = np.zeros(n, np.bool_)
        for number, window in {(place.family, place.window) for place in self._layout.places.values()}:
            tiles = self._tiles(number)
            present[tiles.group[window.reaches(tiles.tile, self._t_us[tiles.group])]] = True
        applied: list[dict[int, int]] = [{} for _ in range(n)]
        for row, partition, header in zip(self._row.tolist(), self._partition, self._records.headers, strict=True):
            applied[row][partition] = header.applied
        seen = newest != NEVER
        status = [
            Status.PRESENT if is_present else Status.EXPIRED if is_seen else Status.UNKNOWN_KEY
            for is_present, is_seen in zip(present.tolist(), seen.tolist(), strict=True)
        ]
        return ViewAnswer(status, [ts if ts != NEVER else None for ts in newest.tolist()], applied)

    def refuse_unanswerable(self, refs: list[FeatureRef]) -> None:
        """Refuse a time whose tiles were pruned, or whose tiles already hold events that were not known then."""
        for ref in refs:
            place = self._layout.places[ref.feature]
            self._refuse_pruned(ref, place)
            tiles = self._records.tiles[place.family]
            t_us = self._t_us[self._row[tiles.group]]
            unknown_then = place.window.reaches(tiles.tile, t_us) & (tiles.known_us > t_us)
            if unknown_then.any():
                known = iso_time(int(tiles.known_us[unknown_then].max()))
                self._refuse(ref, f"its tiles also hold events that became known later (the newest at {known})")

    def _refuse_pruned(self, ref: FeatureRef, place: FeaturePlace) -> None:
        if place.window.tiles is None:
            return
        oldest_needed = place.window.oldest(self._t_us[self._row])
        if (self._records.dropped[place.family] >= oldest_needed).any():
            self._refuse(ref, "tiles that it would need have been pruned")

    def _refuse(self, ref: FeatureRef, why: str) -> None:
        msg = f"{ref.view}:{ref.feature} cannot be looked up exactly at {iso_time(int(self._t_us[0]))}: {why}."
        cure = "Look up at a later time, or ask the log: `headrace history` answers for any time."
        raise LookupTimeError(msg, cure=cure)


def _recorder(
    project: Project | str | os.PathLike[str] | None, plan: Plan, audit: float | None
) -> LookupRecorder | None:
    rate = audit if audit is not None else project.audit_sample if isinstance(project, Project) else 0.0
    if not rate or not isinstance(project, Project):
        return None
    # Delta Lake is imported only by those who record.
    from headrace.lookup.recorder import LookupRecorder

    return LookupRecorder(project.audit_path, plan, rate, plans=project.plans_path)


def _url(project: Project | str | os.PathLike[str] | None) -> str:
    if not isinstance(project, Project):
        msg = "A FeatureClient needs a project, or a plan and a store."
        raise LookupRequestError(msg)
    return project.store_url
