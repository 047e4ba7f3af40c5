"""The lookup SDK: features now, for model servers."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from headrace.config import Clock, Project
from headrace.errors import LookupRequestError, LookupTimeError, PlanMismatchError, VersionNotServedError
from headrace.events.source_partition import SourcePartition
from headrace.lookup.batch_lookup import BatchLookup
from headrace.lookup.not_ready import not_ready_answer
from headrace.lookup.on_demand import Computations
from headrace.lookup.request import AskedRows, entity_columns, time_us
from headrace.lookup.request_plan import RequestPlan
from headrace.lookup.response import Block, FeatureValues, OnlineFeatures, ViewAnswer
from headrace.lookup.served_views import AskedNames, ServedViews
from headrace.lookup.view_lookup import ViewLookup
from headrace.plan import AskedFeatures, Plan, read_plan
from headrace.plan.feature_references import asked_names
from headrace.plan.view_versions import ViewVersions
from headrace.records.expiry import REMEMBERED_US, reach_us
from headrace.rows import RowStore, StoredRow, open_rows
from headrace.stores import OnlineStore, Position, Readiness, open_store
from headrace.stores.catalogue import not_ready
from headrace.stores.memory import MemoryStore
from headrace.stores.served_plan import unasked_views
from headrace.times import datetime_of, iso_time

if TYPE_CHECKING:
    from headrace.lookup.recorder import LookupRecorder

__all__ = ["FeatureClient"]

logger = logging.getLogger(__name__)


class FeatureClient:
    """Looks features up in the online store.

    Args:
        project: The project, or a path in it; None is the current folder's.
        plan: The plan, if it is not the project's.
        store: An open store, if it is not the project's; the client does not close it.
        rows: An open row store, for batch views, if it is not the project's; the client does not close it.
        audit: The share of lookups to record for `headrace audit`, 0 to 1; None takes the project's setting.
        repo: The feature repo's folder, where functions of on-demand views are, if it is not the project's.
        not_ready: What a lookup does while the store is empty or being filled: `error` raises, `status` answers nulls
            with the status `not_ready`.

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
        rows: RowStore | None = None,
        audit: float | None = None,
        repo: Path | None = None,
        not_ready: Literal["error", "status"] = "error",
    ) -> None:
        if plan is None or store is None or audit:
            project = project if isinstance(project, Project) else Project.load(project)
            plan = plan or read_plan(project.plan_file)
        self._declared = plan
        self._versions = ViewVersions(project.view_versions) if isinstance(project, Project) else None
        self._raises = not_ready == "error"
        self._computations = Computations(repo or (project.repo if isinstance(project, Project) else None))
        self._recorder = _recorder(project, plan, audit)
        self._owns_store = store is None
        self._store = store if store is not None else _opened_store(project, plan)
        self._owns_rows = rows is None
        self._rows = rows if rows is not None else _opened_rows(project, plan)
        self._served = self._read_served()

    def get_online_features(
        self,
        features: AskedFeatures,
        entity_rows: AskedRows,
        at: datetime | None = None,
    ) -> OnlineFeatures:
        """Look features up.

        Args:
            features: A feature service or its name, or a list of `view:feature`, `view:*` and services.
                `view@v2:feature` and `view@HASH:feature` pin the version of the view that must be served.
            entity_rows: One mapping of join keys to values per row, one mapping of join keys to columns, or a frame of
                pandas, polars or Arrow; for on-demand views, the fields of the request stand beside the join keys.
            at: The time to answer for, with a time zone; None is now (on the record clock, the newest record's time).

        Returns:
            The values, with status, freshness and evidence per view and row.

        Raises:
            LookupRequestError: A name is unknown, or a row leaves out a key or a field of the request, or gives one
                of a wrong type.
            VersionNotServedError: The store serves another version of a view than the request names.
            OnDemandError: The function of an on-demand view fails on a row.
            LookupTimeError: The store can no longer (or not exactly) answer for that time.
            StoreNotReadyError: The store is empty, or is being filled from the log.
        """
        served, asked = self._served, self._names(features)
        while True:
            if served.catalogue.readiness is not Readiness.READY and self._declared.views:
                served = self._read_served()  # it may be ready by now
                if served.catalogue.readiness is not Readiness.READY:
                    plan = served.plan_for(asked)
                    refs = plan.resolve(asked)
                    if plan.stream_refs(refs):  # the rows of batch views are there in any case
                        if self._raises:
                            raise not_ready(served.catalogue.readiness)
                        at_us = time.time_ns() // 1000 if at is None else time_us(at)
                        return not_ready_answer(plan, refs, entity_rows, at_us)
            try:
                request = served.request(asked)
            except (PlanMismatchError, VersionNotServedError):
                before, served = served, self._read_served()
                if served.catalogue.generation == before.catalogue.generation:
                    raise
                continue
            rows, keys = entity_columns(entity_rows, request.keyed)
            found = self._store.lookup({view.hash: keys[view.name] for view in request.views})
            if not request.views or found.generation == served.catalogue.generation:
                break
            served = self._read_served()  # another version of some view went live
        held = self._held_rows(request, keys) if request.batch else {}
        at_us = self._now_us(found.positions) if at is None else time_us(at)
        if at is not None:
            self._refuse_forgotten(request, at_us)
        blocks: list[Block] = []
        answers: dict[str, ViewAnswer] = {}
        for name, view in request.of_views.items():
            lookup = ViewLookup(view, keys[view.layout.view.name], found.records[view.layout.view.hash], at_us)
            if at is not None:
                lookup.refuse_unanswerable()
            blocks += lookup.values()
            answers[name] = lookup.answer()
        for part in request.batch:
            row_lookup = BatchLookup(part, held[part.rows_hash], at_us)
            if at is not None:
                row_lookup.refuse_unanswerable()
            blocks += row_lookup.values()
            answers[part.view.name] = row_lookup.answer()
        values = FeatureValues(request.makers, blocks)
        answer = OnlineFeatures(
            at_us=at_us,
            plan_hash=served.plan.hash,
            topics=request.topics.copy(),
            entity_rows=rows,
            dtypes=request.dtypes.copy(),
            values=values,
            views=answers,
            origin=served.origin,
        )
        if request.on_demand is not None:
            answer = request.on_demand.answered(answer, values, rows)
        if self._recorder is not None:
            self._recorder.offer(answer)
        return answer

    def plan_for(self, features: AskedFeatures) -> Plan:
        """The plan, and in it the versions of views that a request names, as views of those names.

        Args:
            features: The request.

        Raises:
            LookupRequestError: There is no such version.
            VersionNotServedError: The store serves another one.
        """
        names = self._names(features)
        try:
            return self._served.plan_for(names)
        except VersionNotServedError:
            return self._read_served().plan_for(names)  # it may have gone live since

    def now(self) -> datetime:
        """Now, by the clock that the store was filled under."""
        return datetime_of(self._now_us(self._store.positions()))

    def positions(self) -> dict[SourcePartition, Position]:
        """How far each source partition has been applied."""
        return self._store.positions()

    @property
    def plan(self) -> Plan:
        """The plan, with each view in the version that is served."""
        return self._served.plan

    @property
    def recorder(self) -> LookupRecorder | None:
        """The recorder of lookups for `headrace audit`; None if nothing is recorded."""
        return self._recorder

    def close(self) -> None:
        """Write the lookups that wait to be recorded, and close the store."""
        if self._recorder is not None:
            self._recorder.close()
        if self._owns_store:
            self._store.close()
        if self._owns_rows and self._rows is not None:
            self._rows.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _now_us(self, positions: Mapping[SourcePartition, Position]) -> int:
        if not self._declared.views:  # rows have no clock of their own
            return time.time_ns() // 1000
        if self._served.catalogue.clock is None:
            self._read_served()  # the worker had not started when the client was made
        if self._served.catalogue.clock is not Clock.RECORD:
            return time.time_ns() // 1000
        return max((position.record_ts_us for position in positions.values()), default=0)

    def _held_rows(
        self, request: RequestPlan, keys: Mapping[str, list[bytes]]
    ) -> Mapping[str, Sequence[StoredRow | None]]:
        """The stored rows of the request's batch views, by what they are stored under."""
        if self._rows is None:
            msg = "A FeatureClient that is given a plan and a store needs the rows of batch views too."
            raise LookupRequestError(msg, hint="Give it rows=headrace.rows.open_rows(…), or the project.")
        return self._rows.read_views({part.rows_hash: keys[part.view.name] for part in request.batch})

    def _refuse_forgotten(self, request: RequestPlan, at_us: int) -> None:
        """Refuse a time at which records may have counted that have expired since."""
        if not self._store.removes_expired or self._served.catalogue.clock is Clock.RECORD:
            return
        if at_us >= time.time_ns() // 1000 - REMEMBERED_US:
            return
        for view in request.views:
            if reach_us(view) is not None:
                what = f"{view.name} cannot be looked up exactly at {iso_time(at_us)}"
                msg = f"{what}: records that counted then may have expired."
                hint = "Look up at a later time, or ask the log: `headrace history` answers for any time."
                raise LookupTimeError(msg, hint=hint)

    def _read_served(self) -> ServedViews:
        served = self._served = ServedViews(self._declared, self._store, self._computations, self._versions)
        for remark in unasked_views(self._declared, served.plan, served.catalogue):
            logger.warning(remark)
        if self._recorder is not None:
            self._recorder.follow(served.plan)
        return served

    def _names(self, features: AskedFeatures) -> AskedNames:
        if isinstance(features, str):
            return features
        names, services = asked_names(features)
        self._declared.check_applied(services)
        return names


def _recorder(
    project: Project | str | os.PathLike[str] | None, plan: Plan, audit: float | None
) -> LookupRecorder | None:
    rate = audit if audit is not None else project.audit_sample if isinstance(project, Project) else 0.0
    if not rate or not isinstance(project, Project):
        return None
    # Recording needs Delta Lake, which is imported only here.
    from headrace.lookup.recorder import LookupRecorder

    return LookupRecorder(project.audit_root, plan, rate, plans=project.served_plans)


def _opened_store(project: Project | str | os.PathLike[str] | None, plan: Plan) -> OnlineStore:
    """The project's store; a plan without stream views needs none."""
    return open_store(_url(project), writable=False) if plan.views or not plan.batch_views else MemoryStore()


def _opened_rows(project: Project | str | os.PathLike[str] | None, plan: Plan) -> RowStore | None:
    """The project's rows; None where they are not needed, or there is no project."""
    if not plan.batch_views or project is None:
        return None
    found = project if isinstance(project, Project) else Project.load(project)
    return open_rows(found.store_url, writable=False)


def _url(project: Project | str | os.PathLike[str] | None) -> str:
    if not isinstance(project, Project):
        msg = "A FeatureClient needs a project, or a plan and a store."
        raise LookupRequestError(msg)
    return project.store_url
