"""The lookup SDK: features now, for model servers."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from headrace.config import Clock, Project
from headrace.errors import LookupRequestError, LookupTimeError, PlanMismatchError
from headrace.events.source_partition import SourcePartition
from headrace.lookup.not_ready import blank_answers
from headrace.lookup.request import entity_columns, time_us
from headrace.lookup.request_plan import AskedView
from headrace.lookup.response import Block, FeatureValues, Maker, OnlineFeatures, ViewAnswer, maker
from headrace.lookup.view_lookup import ViewLookup
from headrace.plan import AskedFeatures, DType, FeatureRef, Plan, View, read_plan
from headrace.plan.feature_references import asked_names
from headrace.stores import Catalogue, OnlineStore, Position, Readiness, open_store
from headrace.stores.catalogue import not_ready
from headrace.stores.expiry import reach_us
from headrace.stores.served_plan import live_plan, live_view, unasked_views, unreadable
from headrace.times import datetime_of, iso_time
from headrace.windows import ViewLayout

if TYPE_CHECKING:
    from headrace.lookup.recorder import LookupRecorder

__all__ = ["FeatureClient"]

logger = logging.getLogger(__name__)

_REQUESTS = 1_000
"""How many ways to ask are kept worked out."""

_REBUILD = "Change the source back and apply, or run `headrace stream --rebuild`: it fills the store anew from the log, under the plan as it is now."


class FeatureClient:
    """Looks features up in the online store.

    Args:
        project: The project, or a path in it; None is the current folder's.
        plan: The plan, where it is not the project's.
        store: An open store, where it is not the project's; the client does not close it.
        audit: The share of lookups to record for `headrace audit`, 0 to 1; None is what the project says.
        not_ready: What a lookup gives while the store is empty or being filled: `error` raises, `status` answers nulls with the status `not_ready`.

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
        not_ready: Literal["error", "status"] = "error",
    ) -> None:
        if plan is None or store is None or audit:
            project = project if isinstance(project, Project) else Project.load(project)
            plan = plan or read_plan(project.plan_file)
        self._declared = plan
        self._raises = not_ready == "error"
        self._recorder = _recorder(project, plan, audit)
        self._owns_store = store is None
        self._store = store if store is not None else open_store(_url(project), writable=False)
        self._serving = self._read_serving()

    def get_online_features(
        self,
        features: AskedFeatures,
        entity_rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]],
        at: datetime | None = None,
    ) -> OnlineFeatures:
        """Look features up.

        Args:
            features: A feature service or its name, or a list of `view:feature`, `view:*` and services.
            entity_rows: One mapping of join keys to values per row, one mapping of join keys to columns, or a frame of pandas, polars
                or Arrow.
            at: The time to answer for, with a time zone; None is now (on the record clock, the newest record's time).

        Returns:
            The values, with status, freshness and evidence per view and row.

        Raises:
            LookupRequestError: A name is unknown, or a row leaves out a key or gives one of a wrong type.
            LookupTimeError: The store can no longer (or not exactly) answer for that time.
            StoreNotReadyError: The store is empty, or is being filled from the log.
        """
        serving, asked = self._serving, self._names(features)
        while True:
            if serving.readiness is not Readiness.READY:
                serving = self._serving = self._read_serving()  # it may be by now
                if serving.readiness is not Readiness.READY:
                    return self._not_ready(serving, asked, entity_rows, at)
            try:
                request = self._request(serving, asked)
            except PlanMismatchError:
                known, serving = serving.generation, self._read_serving()
                if serving.generation == known:
                    raise
                continue
            rows, keys = entity_columns(entity_rows, request.views.values())
            moment = self._store.lookup({view.hash: keys[name] for name, view in request.views.items()})
            if moment.generation == serving.generation:
                break
            serving = self._serving = self._read_serving()  # another version of some view went live
        at_us = self._now_us(moment.positions) if at is None else time_us(at)
        if at is not None:
            self._refuse_forgotten(request, at_us)
        blocks: list[Block] = []
        answers: dict[str, ViewAnswer] = {}
        for name, view in request.asked.items():
            lookup = ViewLookup(view, keys[name], moment.records[view.layout.view.hash], at_us)
            if at is not None:
                lookup.refuse_unanswerable()
            blocks += lookup.values()
            answers[name] = lookup.answer()
        served = OnlineFeatures(
            at_us=at_us,
            plan_hash=serving.plan.hash,
            topics=request.topics.copy(),
            entity_rows=rows,
            dtypes=request.dtypes.copy(),
            values=FeatureValues(request.makers, blocks),
            views=answers,
            origin=serving.origin,
        )
        if self._recorder is not None:
            self._recorder.offer(served)
        return served

    def _not_ready(
        self,
        serving: _Serving,
        asked: str | tuple[str, ...],
        entity_rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]],
        at: datetime | None,
    ) -> OnlineFeatures:
        """What a store that is not ready answers: no value of anything."""
        refs = self._declared.resolve(asked)
        if self._raises:
            raise not_ready(serving.readiness)
        views = {ref.view: self._declared.views[ref.view] for ref in refs}
        rows, _ = entity_columns(entity_rows, views.values())
        dtypes = {ref.column: views[ref.view].feature(ref.feature).dtype for ref in refs}
        values, answers = blank_answers(views, dtypes, len(rows))
        return OnlineFeatures(
            at_us=time.time_ns() // 1000 if at is None else time_us(at),
            plan_hash=self._declared.hash,
            topics={name: self._declared.source_of(view).topic for name, view in views.items()},
            entity_rows=rows,
            dtypes=dtypes,
            values=values,
            views=answers,
        )

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
        if self._serving.catalogue.clock is None:
            self._serving = self._read_serving()  # the worker had not started when the client was made
        if self._serving.catalogue.clock is not Clock.RECORD:
            return time.time_ns() // 1000
        return max((position.record_ts_us for position in positions.values()), default=0)

    def _refuse_forgotten(self, request: _Request, at_us: int) -> None:
        """Refuse a time at which records may have counted that the store has forgotten since."""
        remembers = self._store.remembers_us
        if remembers is None or self._serving.catalogue.clock is Clock.RECORD:
            return
        if at_us >= time.time_ns() // 1000 - remembers:
            return
        for view in request.views.values():
            if reach_us(view) is not None:
                msg = f"{view.name} cannot be looked up exactly at {iso_time(at_us)}: records that counted then may have expired."
                hint = "Look up at a later time, or ask the log: `headrace history` answers for any time."
                raise LookupTimeError(msg, hint=hint)

    def _read_serving(self) -> _Serving:
        catalogue = self._store.catalogue()
        plan = live_plan(self._declared, catalogue)
        for remark in unasked_views(self._declared, plan, catalogue):
            logger.warning(remark)
        if self._recorder is not None:
            self._recorder.follow(plan)
        return _Serving(plan, catalogue, catalogue.generation, catalogue.readiness, catalogue.origin.to_json(), {}, {})

    def _names(self, features: AskedFeatures) -> str | tuple[str, ...]:
        """What is asked for by name."""
        if isinstance(features, str):
            return features
        names, services = asked_names(features)
        self._declared.check_applied(services)
        return names

    def _request(self, serving: _Serving, asked: str | tuple[str, ...]) -> _Request:
        """What a request's features mean, worked out once as long as the store serves the same versions."""
        known = serving.requests.get(asked)
        if known is None:
            refs = self._resolve(serving, asked)
            layouts = {ref.view: self._layout(serving, ref.view) for ref in refs}
            known = _Request.of(refs, layouts)
            if len(serving.requests) >= _REQUESTS:
                serving.requests.clear()
            serving.requests[asked] = known
        return known

    def _resolve(self, serving: _Serving, asked: str | tuple[str, ...]) -> list[FeatureRef]:
        """What is asked for, as the plan has it; a version that is served still may lack some of it."""
        try:
            refs = serving.plan.resolve(asked)
        except LookupRequestError:
            refs = self._declared.resolve(asked)
        for ref in refs:
            view = serving.plan.views[ref.view]
            if ref.feature not in {feature.name for feature in view.features}:
                msg = f"The online store serves {view.versioned_name}, which has no feature {ref.feature!r}."
                hint = f"`headrace backfill {view.name}` makes {self._declared.views[view.name].versioned_name} live."
                raise PlanMismatchError(msg, hint=hint)
        return refs

    def _layout(self, serving: _Serving, name: str) -> ViewLayout:
        if name not in serving.layouts:
            if serving.catalogue.live.get(name) != serving.plan.views[name].hash:
                # The worker may have started since; otherwise this says what is the matter.
                live_view(self._declared.views[name], self._store.catalogue())
            view = serving.plan.views[name]
            source = serving.plan.source_of(view)
            why = None if view.hash == self._declared.views[name].hash else unreadable(view, source, is_served=True)
            if why is not None:  # its records hold values of the types that fields had, and would be read as others
                msg = f"The online store serves {view.versioned_name}, which the plan can no longer read: {why}."
                raise PlanMismatchError(msg, hint=_REBUILD)
            serving.layouts[name] = ViewLayout.of(view, source)
        return serving.layouts[name]


@dataclass(frozen=True)
class _Serving:
    """What the store serves, as long as its generation is the same.

    Attributes:
        plan: The plan, with each view in the version served.
        catalogue: What the store says of itself.
        generation: The store's generation.
        readiness: Whether it can answer.
        origin: What its records were made from, as answers carry it.
        layouts: The layouts of the views asked for so far.
        requests: What was asked for so far, worked out.
    """

    plan: Plan
    catalogue: Catalogue
    generation: str
    readiness: Readiness
    origin: str
    layouts: dict[str, ViewLayout]
    requests: dict[str | tuple[str, ...], _Request]


@dataclass(frozen=True)
class _Request:
    """What a request asks for, worked out.

    Attributes:
        asked: What is asked of each view, by name.
        views: The views, by name.
        topics: Their topics.
        dtypes: The features' types by column, in the order asked for.
        makers: What makes Python values of theirs.
    """

    asked: dict[str, AskedView]
    views: dict[str, View]
    topics: dict[str, str]
    dtypes: dict[str, DType]
    makers: dict[str, Maker | None]

    @classmethod
    def of(cls, refs: Sequence[FeatureRef], layouts: Mapping[str, ViewLayout]) -> _Request:
        """Work a request out."""
        dtypes = {ref.column: layouts[ref.view].view.feature(ref.feature).dtype for ref in refs}
        return cls(
            {name: AskedView.of(layout, [ref for ref in refs if ref.view == name]) for name, layout in layouts.items()},
            {name: layout.view for name, layout in layouts.items()},
            {name: layout.source.topic for name, layout in layouts.items()},
            dtypes,
            {column: maker(dtype) for column, dtype in dtypes.items()},
        )


def _recorder(
    project: Project | str | os.PathLike[str] | None, plan: Plan, audit: float | None
) -> LookupRecorder | None:
    rate = audit if audit is not None else project.audit_sample if isinstance(project, Project) else 0.0
    if not rate or not isinstance(project, Project):
        return None
    # Delta Lake is imported only by those who record.
    from headrace.lookup.recorder import LookupRecorder

    return LookupRecorder(project.audit_path, plan, rate, plans=project.served_plans)


def _url(project: Project | str | os.PathLike[str] | None) -> str:
    if not isinstance(project, Project):
        msg = "A FeatureClient needs a project, or a plan and a store."
        raise LookupRequestError(msg)
    return project.store_url
