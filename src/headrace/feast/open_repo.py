"""What a process keeps open for a Feast repo: the lookup client, the row store, and resolved requests."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from headrace.config import Clock
from headrace.errors import StoreMissingError
from headrace.feast.online_request import RequestCache
from headrace.feast.repo_project import project_of
from headrace.feast.row_formats import FeastFormat, PlanFormat, RowFormat, rows_name
from headrace.feast.stream_versions import stream_view_name
from headrace.lookup import FeatureClient
from headrace.lookup.on_demand import Computations
from headrace.plan import BatchView, DType, read_plan
from headrace.rows import open_rows
from headrace.stores import open_store
from headrace.times import us_of

if TYPE_CHECKING:
    from feast import RepoConfig

    from headrace.plan import Plan
    from headrace.rows import RowStore
    from headrace.stores import OnlineStore

__all__ = ["OpenRepo"]


class OpenRepo:
    """A Feast repo's stores, each opened when it is first needed.

    Args:
        config: What feature_store.yaml says.
    """

    def __init__(self, config: RepoConfig) -> None:
        self.project = project_of(config)
        self.requests = RequestCache()
        self.computations = Computations(self.project.repo)
        self._feast_project = config.project
        self._versioned = bool(config.registry.enable_online_feature_view_versioning)
        self._guard = threading.RLock()
        self._plan: Plan | None = None
        self._plan_is_read = False
        self._formats: dict[tuple[str, int | None], tuple[RowFormat, ...]] = {}
        self._store: OnlineStore | None = None
        self._client: FeatureClient | None = None
        self._rows: RowStore | None = None
        self._writable_rows: RowStore | None = None

    def client(self) -> FeatureClient:
        """The client that looks stream views up, under the plan that was applied last.

        Raises:
            PlanError: There is no plan.
            StoreMissingError: No worker has made the online store yet.
            StoreError, StoreUnavailableError: The store cannot be opened.
        """
        client = self._client
        if client is None:
            with self._guard:
                client = self._client
                if client is None:
                    plan = self.plan() or read_plan(self.project.plan_file)
                    self._store = self._store or open_store(self.project.store_url, writable=False)
                    client = self._client = FeatureClient(self.project, plan=plan, store=self._store)
        return client

    def plan(self) -> Plan | None:
        """The plan that was applied last; None where there is none."""
        if not self._plan_is_read:
            with self._guard:
                file = self.project.plan_file
                self._plan = read_plan(file) if file.exists() else None
                self._plan_is_read = True
        return self._plan

    def refresh(self) -> None:
        """Follow the plan on disk: definitions may have been applied since."""
        with self._guard:
            before, self._plan_is_read = self._plan, False
            plan = self.plan()
            if plan == before:
                return
            self._formats = {}
            self.computations = Computations(self.project.repo)
            client, self._client = self._client, None
            if client is not None:
                client.close()  # writes recorded lookups; the store stays open, so lookups that run go on

    def now_us(self) -> int:
        """Now in µs, by the project's clock: on the record clock, the time of the newest record."""
        if self.project.clock is Clock.RECORD:
            with suppress(StoreMissingError):  # no worker has run yet, so there is no record
                return us_of(self.client().now())
        return time.time_ns() // 1000

    def rows(self) -> RowStore:
        """The row store, to read."""
        rows = self._rows
        if rows is None:
            with self._guard:
                rows = self._rows = self._rows or open_rows(self.project.store_url, writable=False)
        return rows

    def writable_rows(self) -> RowStore:
        """The row store, to write."""
        rows = self._writable_rows
        if rows is None:
            with self._guard:
                rows = self._writable_rows = self._writable_rows or open_rows(self.project.store_url, writable=True)
        return rows

    def formats(self, view: Any, version: int | None = None) -> tuple[RowFormat, ...]:
        """How the rows of a view's version are kept: all formats are written, the first is read.

        Args:
            view: Feast's view.
            version: The version that is asked for; None is the view as it is.
        """
        key = (view.name, version if version is not None else getattr(view, "current_version_number", None))
        known = self._formats.get(key)
        if known is None:
            known = self._formats[key] = self._new_formats(view, version, key[1])
        return known

    def stream_name(self, view: Any, version: int | None) -> str:
        """What a lookup calls a version of a stream view.

        Args:
            view: Feast's view, as the version defines it.
            version: The version that is asked for; None is the view as it is.

        Raises:
            LookupRequestError: headrace knows no such version.
        """
        plan = self.plan()
        return str(view.name) if plan is None else stream_view_name(self.project, plan, view, version)

    def _new_formats(self, view: Any, asked: int | None, version: int | None) -> tuple[RowFormat, ...]:
        of_feast = FeastFormat(self._feast_project, rows_name(view.name, version, versioned=self._versioned))
        plan = self.plan()
        declared = None if plan is None or asked is not None else plan.batch_views.get(view.name)
        kinds = {field.name: field.dtype.to_value_type() for field in view.features}
        if declared is None or {column.name for column in declared.columns} != set(kinds):
            return (of_feast,)
        of_plan = PlanFormat(declared, kinds)
        if _has_json(declared):  # the plan has the text only; Feast's own row has what was in it
            return (of_feast, of_plan)
        return (of_plan, of_feast) if self._versioned else (of_plan,)

    def close(self) -> None:
        """Close what is open."""
        with self._guard:
            for opened in (self._client, self._store, self._rows, self._writable_rows):
                if opened is not None:
                    opened.close()
            self._client = self._store = self._rows = self._writable_rows = None
            self._plan_is_read = False


def _has_json(view: BatchView) -> bool:
    return any(column.dtype is DType.JSON for column in view.columns)
