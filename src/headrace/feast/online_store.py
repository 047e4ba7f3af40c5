"""The online store that feature_store.yaml names.

Stream views are computed by headrace's lookup at the time of the request. Rows of all other views are kept in
headrace's row store. A request is answered as a whole: Feast's own way, one read per view, is not used.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from feast.feature_service import FeatureService
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.supported_async_methods import SupportedAsyncMethods
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.repo_config import FeastConfigBaseModel
from google.protobuf.timestamp_pb2 import Timestamp

from headrace.batch.materialized import MaterializedTimes
from headrace.errors import FeastStoreError
from headrace.feast.apply_plan import apply_plan
from headrace.feast.online_answer import read_features, response
from headrace.feast.online_request import AskedView, OnlineRequest, ttl_us_of
from headrace.feast.online_rows import RequestRows, request_rows
from headrace.feast.open_repo import OpenRepo
from headrace.feast.repo_project import computed_by_headrace
from headrace.feast.row_formats import feast_rows_id, rows_name
from headrace.feast.stored_rows import FeastRow, write_rows
from headrace.times import datetime_of

if TYPE_CHECKING:
    from feast import Entity, RepoConfig
    from feast.infra.infra_object import InfraObject
    from feast.infra.registry.base_registry import BaseRegistry
    from feast.online_response import OnlineResponse
    from feast.protos.feast.core.Registry_pb2 import Registry
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey

    from headrace.plan import Plan

__all__ = ["HeadraceOnlineStore", "HeadraceOnlineStoreConfig"]

_FRESH = "`headrace stream` keeps it fresh: there is nothing to push or to write. Send events instead."


class HeadraceOnlineStoreConfig(FeastConfigBaseModel):
    """What feature_store.yaml says about the online store.

    Attributes:
        type: The store's class.
        project: The folder with headrace.toml, relative to the repo; None looks for it in the repo and above.
        store: The store's URL (`lmdb:PATH`, `redis://host:port/db`); None is the headrace project's.
    """

    type: Literal["headrace.feast.HeadraceOnlineStore"] = "headrace.feast.HeadraceOnlineStore"
    project: str | None = None
    store: str | None = None


class HeadraceOnlineStore(OnlineStore):
    """Online features of any view."""

    def __init__(self) -> None:
        self._repo: OpenRepo | None = None
        self._opened_for: Any = None
        self._guard = threading.Lock()

    @property
    def async_supported(self) -> SupportedAsyncMethods:
        """Reading and writing both."""
        return SupportedAsyncMethods(read=True, write=True)

    def get_online_features(
        self,
        config: RepoConfig,
        features: list[str] | FeatureService,
        entity_rows: Sequence[Mapping[str, Any]] | Mapping[str, Any],
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        include_feature_view_version_metadata: bool = False,
    ) -> OnlineResponse:
        """Answer a request for online features: all views at one time, windows as of now.

        Args:
            config: What feature_store.yaml says.
            features: A feature service, or `view:feature` and `view@v2:feature` names.
            entity_rows: Rows or columns of join keys and request data.
            registry: Feast's registry.
            project: Feast's project.
            full_feature_names: Whether names in the answer begin with the view's.
            include_feature_view_version_metadata: Whether to name the version of each view.

        Returns:
            Feast's answer: the join keys, then the features in the order asked for. A value that is there is
            `PRESENT`; a null is `NULL_VALUE`, `NOT_FOUND` or `OUTSIDE_MAX_AGE`.

        Raises:
            LookupRequestError: A name is unknown, or a row lacks a key.
            StoreNotReadyError: The online store is empty, or is being filled.
            TransformError: The function of an on-demand view failed.
        """
        repo = self._open(config)
        request = repo.requests.get(registry, project, features, full_feature_names, repo.refresh)
        rows = request_rows(entity_rows, request)
        found = read_features(repo, request, rows)
        return response(request, rows, found, with_versions=include_feature_view_version_metadata)

    async def get_online_features_async(self, *args: Any, **kwargs: Any) -> OnlineResponse:
        """The same, in a thread: the event loop goes on meanwhile."""
        return await asyncio.to_thread(self.get_online_features, *args, **kwargs)

    def online_read(
        self,
        config: RepoConfig,
        table: Any,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, ValueProto] | None]]:
        """The features of one view for some entities.

        Args:
            config: What feature_store.yaml says.
            table: The view.
            entity_keys: The entities.
            requested_features: The features; None is all of them.

        Returns:
            Per entity the time of its newest event and the values; `(None, None)` where nothing is known of it, or
            where its row is older than the view's TTL.
        """
        names = [feature.name for feature in table.features] if requested_features is None else requested_features
        keys: dict[str, list[ValueProto]] = {}
        for entity_key in entity_keys:
            for name, value in zip(entity_key.join_keys, entity_key.entity_values, strict=True):
                keys.setdefault(name, []).append(value)
        asked = AskedView(
            table,
            table.name,
            getattr(table.projection, "version_tag", None),
            dict.fromkeys(names),
            {name: name for name in keys},
            ttl_us_of(table),
            computed_by_headrace(table),
        )
        rows = RequestRows(len(entity_keys), keys, {}, {name: list(values) for name, values in keys.items()})
        found = read_features(self._open(config), OnlineRequest(views={table.name: asked}), rows)
        answer: list[tuple[datetime | None, dict[str, ValueProto] | None]] = []
        for row in range(len(entity_keys)):
            values = {name: found[table.name, name].values[row] for name in names}
            seen = found[table.name, names[0]].times[row] if names else Timestamp()
            if all(value.WhichOneof("val") is None for value in values.values()) and not asked.is_stream:
                is_known = any(_is_held(found[table.name, name].statuses[row]) for name in names)
                answer.append((_time(seen), values) if is_known else (None, None))
            else:
                answer.append((_time(seen), values))
        return answer

    async def online_read_async(self, *args: Any, **kwargs: Any) -> Any:
        """The same, in a thread."""
        return await asyncio.to_thread(self.online_read, *args, **kwargs)

    def online_write_batch(
        self, config: RepoConfig, table: Any, data: list[FeastRow], progress: Callable[[int], Any] | None
    ) -> None:
        """Write rows of a view that headrace does not compute.

        A newer event time wins, at an equal one the later write. An older row never overwrites.

        Args:
            config: What feature_store.yaml says.
            table: The view.
            data: The rows; times without a zone are UTC.
            progress: Called with the number of rows once they are written.

        Raises:
            FeastStoreError: The view is computed from events, or a row has no time or key.
        """
        if computed_by_headrace(table):
            msg = f"{table.name!r} is a stream view: headrace computes its features from events."
            raise FeastStoreError(msg, hint=_FRESH)
        repo = self._open(config)
        formats = repo.formats(table, getattr(table.projection, "version_tag", None))
        write_rows(repo.writable_rows(), formats, table.name, data, progress)

    async def online_write_batch_async(self, *args: Any, **kwargs: Any) -> None:
        """The same, in a thread."""
        await asyncio.to_thread(self.online_write_batch, *args, **kwargs)

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[Any],
        tables_to_keep: Sequence[Any],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """What `feast apply` does here: write headrace's plan, and remove the rows of views that are gone.

        Args:
            config: What feature_store.yaml says.
            tables_to_delete: Views that are gone.
            tables_to_keep: Views that were applied.
            entities_to_delete: Not used.
            entities_to_keep: Not used.
            partial: Not used.

        Raises:
            DefinitionError: Definitions cannot work; nothing is registered.
            ConfigError: The repo has stream views and no headrace.toml.
        """
        repo = self._open(config)
        before = repo.plan()
        apply_plan(repo.project, tables_to_keep)
        self._clear(repo, config, tables_to_delete, before)
        repo.refresh()

    def plan(self, config: RepoConfig, desired_registry_proto: Registry) -> list[InfraObject]:
        """Nothing: a view needs no table of its own."""
        return []

    def teardown(self, config: RepoConfig, tables: Sequence[Any], entities: Sequence[Entity]) -> None:
        """Remove the rows of views. Records of stream views and the log stay; `headrace reset` removes those.

        Args:
            config: What feature_store.yaml says.
            tables: The views.
            entities: Not used.
        """
        repo = self._open(config)
        self._clear(repo, config, tables, repo.plan())

    async def initialize(self, config: RepoConfig) -> None:
        """Open the stores before the first request."""
        await asyncio.to_thread(self._open(config).rows)

    async def close(self) -> None:
        """Close the stores."""
        with self._guard:
            repo, self._repo = self._repo, None
        if repo is not None:
            await asyncio.to_thread(repo.close)

    def _open(self, config: RepoConfig) -> OpenRepo:
        wanted = (config.repo_path, config.project, config.online_store.project, config.online_store.store)
        repo = self._repo
        if repo is None or self._opened_for != wanted:
            with self._guard:
                if self._repo is None or self._opened_for != wanted:
                    self._repo, self._opened_for = OpenRepo(config), wanted
                repo = self._repo
        return repo

    def _clear(self, repo: OpenRepo, config: RepoConfig, tables: Sequence[Any], plan: Plan | None) -> None:
        """Remove the rows of views, all their versions."""
        ids: set[str] = set()
        for table in tables:
            if computed_by_headrace(table):
                continue
            newest = getattr(table, "current_version_number", None) or 0
            names = [rows_name(table.name, number, versioned=True) for number in range(newest + 1)]
            ids |= {feast_rows_id(config.project, name) for name in names}
            if plan is not None and table.name in plan.batch_views:
                view = plan.batch_views[table.name]
                ids.add(view.rows_hash)
                MaterializedTimes.of(repo.project).forget(view)
        for rows_id in sorted(ids):
            repo.writable_rows().clear(rows_id)


def _is_held(status: int) -> bool:
    return status in (FieldStatus.PRESENT, FieldStatus.NULL_VALUE)


def _time(seen: Timestamp) -> datetime | None:
    return datetime_of(seen.seconds * 1_000_000 + seen.nanos // 1_000) if seen != Timestamp() else None
