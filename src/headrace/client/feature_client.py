"""The client of model servers: features in this process, or from a server over HTTP."""

from __future__ import annotations

import os
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from headrace.client.exchange import Token
from headrace.client.http_client import HttpClient
from headrace.client.http_settings import HttpSettings
from headrace.client.server_address import is_url
from headrace.config import Project
from headrace.errors import ConfigError, LookupRequestError
from headrace.events.source_partition import SourcePartition
from headrace.lookup import FeatureClient as InProcessClient
from headrace.lookup import OnlineFeatures
from headrace.lookup.catalog import catalog_of
from headrace.lookup.request import AskedRows
from headrace.plan import AskedFeatures, Plan
from headrace.rows import RowStore
from headrace.stores import OnlineStore, Position

if TYPE_CHECKING:
    from headrace.lookup.recorder import LookupRecorder

__all__ = ["FeatureClient"]

_URL = 'FeatureClient("http://features.internal:6566", token=…) asks a server.'


class FeatureClient:
    """Looks features up, in this process or over HTTP: the same methods and the same answers, to the bit.

    `FeatureClient("path/to/project")` reads the online store itself. `FeatureClient("http://host:port", token=…)` asks
    `headrace serve`. Threads may share a client. A client that asks a server may also be used after a fork, and be
    pickled.

    Args:
        project: The project, or a path in it; None is the current folder's. Or the URL of a server.
        plan: The plan, if it is not the project's.
        store: An open store, if it is not the project's; the client does not close it.
        rows: An open row store, for batch views, if it is not the project's; the client does not close it.
        audit: The share of lookups to record for `headrace audit`, 0 to 1; None takes the project's setting. A server
            records by its own settings.
        not_ready: What a lookup does while the store is empty or being filled: `error` raises, `status` answers nulls
            with the status `not_ready`.
        token: For a server: the token, or a function that returns one. The function is called for each request.
        http: For a server: time limits, retries, TLS.

    Raises:
        PlanError, PlanMismatchError: There is no plan, or the store was filled under another.
        StoreError, StoreUnavailableError: The store cannot be opened.
        ConfigError: `audit` is not a share, the URL or a TLS file cannot be used, or arguments do not go together.
    """

    def __init__(
        self,
        project: Project | str | os.PathLike[str] | None = None,
        *,
        plan: Plan | None = None,
        store: OnlineStore | None = None,
        rows: RowStore | None = None,
        audit: float | None = None,
        not_ready: Literal["error", "status"] = "error",
        token: Token | None = None,
        http: HttpSettings | None = None,
    ) -> None:
        self._lookups: InProcessClient | HttpClient
        if is_url(project):
            _refuse("a server has its own", plan=plan, store=store, rows=rows, audit=audit)
            self._lookups = HttpClient(project, token, http, not_ready)
        else:
            _refuse("it is for a server", token=token, http=http)
            self._lookups = InProcessClient(
                project, plan=plan, store=store, rows=rows, audit=audit, not_ready=not_ready
            )

    def get_online_features(
        self, features: AskedFeatures, entity_rows: AskedRows, at: datetime | None = None
    ) -> OnlineFeatures:
        """Look features up.

        Args:
            features: A feature service or its name, or a list of `view:feature`, `view:*` and services.
            entity_rows: One mapping of join keys to values per row, one mapping of join keys to columns, or a frame of
                pandas, polars or Arrow.
            at: The time to answer for, with a time zone; None is now (on the record clock, the newest record's time).

        Returns:
            The values, with status, freshness and evidence per view and row.

        Raises:
            LookupRequestError: A name is unknown, or a row leaves out a key or gives one of a wrong type.
            LookupTimeError: The store can no longer (or not exactly) answer for that time.
            StoreNotReadyError: The store is empty, or is being filled from the log.
            NotAuthenticatedError, PermissionDeniedError: The server wants a token, or one that may do this.
            ServerUnavailableError: The server is away, overloaded, or too slow; retries did not help.
            ServerError: What answers at the URL is no headrace server, or is of another version.
        """
        return self._lookups.get_online_features(features, entity_rows, at)

    def now(self) -> datetime:
        """Now, by the clock that the store was filled under."""
        return self._lookups.now()

    def positions(self) -> dict[SourcePartition, Position]:
        """How far each source partition has been applied."""
        return self._lookups.positions()

    def catalog(self) -> dict[str, Any]:
        """What can be asked for: project, plan (its hash), services, and views with their keys, features and types."""
        lookups = self._lookups
        return dict(lookups.catalog().data) if isinstance(lookups, HttpClient) else catalog_of(lookups.plan)

    @property
    def plan(self) -> Plan:
        """The plan, with each view in the version that is served. Only in process; `catalog` works everywhere.

        Raises:
            LookupRequestError: The client asks a server.
        """
        if isinstance(self._lookups, HttpClient):
            msg = "A client that asks a server has no plan."
            raise LookupRequestError(msg, hint="client.catalog() has services, views, keys and types.")
        return self._lookups.plan

    @property
    def recorder(self) -> LookupRecorder | None:
        """The recorder of lookups for `headrace audit`; None if nothing is recorded here."""
        return None if isinstance(self._lookups, HttpClient) else self._lookups.recorder

    def close(self) -> None:
        """Write the lookups that wait to be recorded, and close the store; or close the connections to the server."""
        self._lookups.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _refuse(why: str, **given: object) -> None:
    """Refuse arguments that are not None."""
    for name, value in given.items():
        if value is not None:
            msg = f"FeatureClient was given {name}=, but {why}."
            raise ConfigError(msg, hint=_URL)
