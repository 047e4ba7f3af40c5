"""`POST /materialize` and `POST /materialize-incremental`, in Feast's format."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from headrace.errors import HeadraceError, LookupRequestError
from headrace.extras import needing
from headrace.plan import BatchView, Plan
from headrace.serving.context import ServingContext
from headrace.serving.feast_errors import VIEW_NOT_FOUND, FeastRequestError
from headrace.serving.feast_request import Materialize, MaterializeIncremental
from headrace.serving.feast_values import read_time
from headrace.serving.hot_route import Answer, Asked
from headrace.serving.identity import Permission
from headrace.times import us_of

__all__ = ["FeastMaterialize"]

logger = logging.getLogger(__name__)


class FeastMaterialize:
    """Materializes batch views; it knows which ones this process is materializing in the background."""

    def __init__(self) -> None:
        self._running: list[str] = []
        self._guard = threading.Lock()

    def between(self, context: ServingContext, asked: Asked[Materialize]) -> Answer:
        """Load the rows of sources between two times.

        Args:
            context: What the routes share.
            asked: The request.

        Raises:
            FeastRequestError: There is no such view.
            LookupRequestError: A time is missing or is none, or a view has no source to load.
            BatchSourceError: A source is away, or lacks what its view declares.
            PermissionDeniedError: The caller may not write one of the views.
        """
        body = asked.body
        if body.disable_event_timestamp:
            start_us, end_us = None, time.time_ns() // 1000
        else:
            start_us, end_us = _time("start_ts", body.start_ts), _time("end_ts", body.end_ts)
            if start_us >= end_us:
                msg = f"start_ts, {body.start_ts}, is not before end_ts, {body.end_ts}."
                raise LookupRequestError(msg, hint="Give a range of event times.")
        return self._run(context, asked, end_us=end_us, start_us=start_us)

    def incremental(self, context: ServingContext, asked: Asked[MaterializeIncremental]) -> Answer:
        """Load the rows of sources since each view was loaded last; see `between`.

        Args:
            context: What the routes share.
            asked: The request.
        """
        return self._run(context, asked, end_us=_time("end_ts", asked.body.end_ts), incremental=True)

    def _run(self, context: ServingContext, asked: Asked[Any], **range_: Any) -> Answer:
        caller = asked.caller
        caller.require(Permission.WRITE, views=asked.body.feature_views or ())  # others do not learn what there is
        with context.using() as opened:
            views = _views(opened.client.plan, asked.body.feature_views, asked.body.version, caller)
        names = [view.name for view in views]
        if not all(caller.has(Permission.WRITE, view=name) for name in names):
            raise caller.denied(Permission.WRITE, "all batch views")
        asked.access.update(rows=0, asked=names)
        with needing("offline"):
            from headrace.batch.materialize import materialize_views
        if asked.query.get("async", "") not in ("true", "1"):
            materialize_views(context.project, views, **range_)
            return Answer(b"null")
        with self._guard:
            running = sorted(set(names) & set(self._running))
            if running and asked.query.get("force", "") not in ("true", "1"):
                content = {
                    "error": f"Views are being materialized already: {', '.join(running)}.",
                    "feature_views": running,
                }
                return Answer(orjson.dumps(content), status=409)
            self._running += names
        try:
            context.start_job(
                lambda: self._in_background(lambda: materialize_views(context.project, views, **range_), names)
            )
        except BaseException:
            self._end(names)
            raise
        return Answer(orjson.dumps({"status": "accepted", "feature_views": names}), status=202)

    def _in_background(self, work: Callable[[], object], names: Sequence[str]) -> None:
        try:
            work()
        except HeadraceError as error:
            logger.error("Materializing %s failed: %s", ", ".join(names), " ".join(str(error).split()))
        except Exception:
            logger.exception("Materializing %s failed.", ", ".join(names))  # nobody waits for the answer
        finally:
            self._end(names)

    def _end(self, names: Sequence[str]) -> None:
        with self._guard:
            for name in names:
                self._running.remove(name)


def _time(name: str, text: str | None) -> int:
    """A time of the request, in µs."""
    if text is None:
        msg = f"The request has no {name}."
        raise LookupRequestError(msg, hint="Give it as ISO 8601, or disable_event_timestamp=true to load all rows.")
    try:
        return us_of(read_time(text))
    except ValueError as error:
        msg = f"{name}={text!r} is no time."
        raise LookupRequestError(msg, hint=f"{str(error).capitalize()}.") from None


def _views(plan: Plan, names: Sequence[str] | None, version: str | None, caller: Any) -> list[BatchView]:
    if version is not None:
        msg = f"The request asks for the version {version!r} of a view."
        raise LookupRequestError(msg, hint="Leave `version` out: headrace materializes the version that is applied.")
    if names is None:
        return [view for view in plan.batch_views.values() if view.online]
    for name in names:
        if name in plan.batch_views:
            continue
        if plan.find(name) is not None:
            msg = f"{name!r} is no batch view: nothing is materialized for it."
            hint = (
                "`headrace stream` keeps stream views fresh, and on-demand views are computed when they are asked for."
            )
            raise LookupRequestError(msg, hint=hint)
        msg = f"There is no view named {name!r}."
        mine = [one for one in plan.batch_views if caller.has(Permission.WRITE, view=one)]
        hint = f"Batch views: {', '.join(mine) or 'none'}."
        raise FeastRequestError(VIEW_NOT_FOUND, 404, msg, hint=hint)
    return [plan.batch_views[name] for name in dict.fromkeys(names)]
