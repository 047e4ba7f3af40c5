"""Routes for operators and clients: is the process alive, can it answer, what it serves, how fresh, metrics."""

from __future__ import annotations

import os
import time
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from headrace import __version__
from headrace.errors import HeadraceError
from headrace.lookup.catalog import catalog_of
from headrace.lookup.wire import positions_to_json
from headrace.serving.context import ServingContext
from headrace.serving.errors import RefusedError, status_of
from headrace.serving.identity import Permission
from headrace.serving.opened import needs_store
from headrace.serving.permissions import visible_catalog
from headrace.serving.stream_metrics import StreamCollector
from headrace.stores import Readiness
from headrace.stores.catalogue import not_ready
from headrace.times import iso_time
from headrace.worker.heartbeat import read_heartbeats

__all__ = ["Problem", "status_routes"]

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ErrorBody(BaseModel):
    """What went wrong."""

    kind: Annotated[str, Field(description="A name for programs: an error of headrace.errors, or `unexpected`.")]
    message: Annotated[str, Field(description="What is wrong, and where.")]
    hint: Annotated[str | None, Field(description="What to do about it.")] = None


class Problem(BaseModel):
    """The answer to a request that cannot be answered."""

    error: ErrorBody


class Ready(BaseModel):
    """The answer of a server that can look features up."""

    ready: Annotated[bool, Field(description="Always true: a server that is not ready answers with an error.")] = True
    plan: Annotated[str, Field(description="The hash of the plan that is served.")]


class ViewEntry(BaseModel):
    """One view."""

    version: Annotated[str, Field(description="The hash of the view's definition, as it was applied.")]
    keys: Annotated[dict[str, str], Field(description="By join key, its type.")]
    features: Annotated[dict[str, str], Field(description="By feature, its type.")]
    request: Annotated[
        dict[str, str], Field(description="Of an on-demand view: by field of the request that it reads, its type.")
    ] = {}


class Catalog(BaseModel):
    """What can be asked for."""

    project: str
    plan: Annotated[str, Field(description="The hash of the plan.")]
    services: Annotated[dict[str, list[str]], Field(description="By feature service, its features as view:feature.")]
    views: dict[str, ViewEntry]


class Freshness(BaseModel):
    """How far a source partition has been applied."""

    topic: str
    partition: Annotated[int, Field(description="The source partition.")]
    offset: Annotated[int, Field(description="The last offset applied.")]
    newest_record: str | None
    newest_event: str | None


class Status(BaseModel):
    """What this server process serves, and how fresh it is."""

    version: Annotated[str, Field(description="headrace's version.")]
    process: Annotated[int, Field(description="The number of the process that answered.")]
    uptime_seconds: float
    store: Annotated[str, Field(description="ready, filling or empty.")]
    clock: str | None
    plan: Annotated[str, Field(description="The hash of the plan that is served.")]
    plan_problem: Annotated[
        str | None, Field(description="Why a plan that was applied since cannot be served; null if there is none.")
    ]
    live: Annotated[dict[str, str], Field(description="By view, the hash of the version that is served.")]
    partitions: list[Freshness]
    workers: Annotated[list[dict[str, Any]], Field(description="The workers that share the state folder.")]


def status_routes(context: ServingContext) -> APIRouter:
    """The routes.

    Args:
        context: What the routes share.
    """
    router = APIRouter()
    away: dict[int | str, dict[str, Any]] = {503: {"model": Problem, "description": "It cannot answer lookups now."}}

    @router.get("/health", status_code=200, response_class=Response)
    async def health() -> Response:
        """The process is alive. Whether it can answer lookups is what `/ready` says."""
        return Response(status_code=200)

    @router.get("/ready", responses=away)
    def ready(request: Request) -> Ready:
        """The store is open and filled: lookups are answered. Where callers sign in, an error does not say why not."""
        try:
            with context.using() as opened:
                readiness = opened.store.catalogue().readiness
                if readiness is not Readiness.READY and needs_store(opened.plan):
                    raise not_ready(readiness)
                return Ready(plan=opened.plan.hash)
        except HeadraceError as error:
            if request.state.caller.has(Permission.ADMIN):
                raise
            hint = "The server's log has the reason, and /v1/status tells it to callers with `admin`."
            what = "The server cannot answer lookups now."
            raise RefusedError(status_of(error), type(error).__name__, what, hint=hint) from None

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    def metrics(request: Request) -> Response:
        """Metrics in Prometheus' text format, over all processes of this server; for callers with `admin`."""
        request.state.caller.require(Permission.ADMIN)
        return Response(context.metrics.text([StreamCollector(context)]), media_type=_METRICS_TYPE)

    @router.get("/v1/catalog", responses=away)
    def catalog(request: Request) -> Catalog:
        """Services, views, join keys and features that the caller may read, with their types and versions."""
        with context.using() as opened:
            seen = visible_catalog(request.state.caller, opened.plan, catalog_of(opened.plan))
            return Catalog.model_validate(seen)

    @router.get("/v1/positions", responses=away)
    def positions() -> dict[str, Any]:
        """Now by the store's clock, and how far each source partition has been applied; for clients."""
        with context.using() as opened:
            return positions_to_json(opened.client.now(), opened.client.positions())

    @router.get("/v1/status", responses=away)
    def status(request: Request) -> Status:
        """What is served, how fresh it is, and which workers run; for callers with `admin`."""
        request.state.caller.require(Permission.ADMIN)
        with context.using() as opened:
            catalogue = opened.store.catalogue()
            now = time.time()
            beats = [beat for beat in read_heartbeats(context.project.workers_path) if not beat.is_gone]
            return Status(
                version=__version__,
                process=os.getpid(),
                uptime_seconds=round(now - context.started, 3),
                store=str(catalogue.readiness),
                clock=None if catalogue.clock is None else str(catalogue.clock),
                plan=opened.plan.hash,
                plan_problem=None if context.trouble is None else context.trouble.what,
                live=dict(catalogue.live),
                partitions=[
                    Freshness(
                        topic=source.topic,
                        partition=source.partition,
                        offset=position.offset,
                        newest_record=iso_time(position.record_ts_us) if position.record_ts_us else None,
                        newest_event=iso_time(position.event_ts_us),
                    )
                    for source, position in sorted(opened.store.positions().items())
                ],
                workers=[beat.to_json(now) for beat in beats],
            )

    return router
