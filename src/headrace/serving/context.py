"""What all routes of a server process share: the project, the open client, the limits and the metrics.

The store is opened once per process, after the process was started, and never by a request. A background task opens it,
and looks once a second whether something changed:

- The plan's file has another version: `headrace apply` ran. A client of the new plan replaces the old one; lookups that
  run meanwhile end with the old one. If the new plan cannot be served, the old one stays, and `/v1/status` says why.
- The store's files are others than those that are open: it was moved aside or made again. They are opened instead.
- The file of batch rows is another than the one that is open, or is gone. Until it is opened, writes answer 503.
- The store was away: it is opened as soon as it is there. Until then requests are answered with 503.

Which version of a view is live is not looked for here: the client reads it with every lookup.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from headrace.config import Project
from headrace.errors import HeadraceError, StoreUnavailableError
from headrace.lookup import FeatureClient
from headrace.plan import Plan, read_plan
from headrace.rows import RowStore, open_rows
from headrace.serving.errors import RefusedError
from headrace.serving.limits import Limits
from headrace.serving.opened import Opened, needs_store
from headrace.stores import OnlineStore, open_store
from headrace.stores.files import store_files
from headrace.stores.memory import MemoryStore

if TYPE_CHECKING:
    from headrace.serving.metrics import Metrics

__all__ = ["ServingContext"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_LOOK_EVERY_S = 1.0
_JOB_THREADS = 2
_MOST_JOBS = 20
_START_S = 10.0
"""How long a process that starts waits for its store before it answers without one, in seconds."""


class ServingContext:
    """What the routes share.

    Args:
        project: The project.
        limits: What requests may ask for.
        metrics: Counts requests.
    """

    def __init__(self, project: Project, limits: Limits, metrics: Metrics) -> None:
        self.project = project
        self.limits = limits
        self.metrics = metrics
        self.started = time.time()
        self.trouble: HeadraceError | None = None
        """Why the store or the newest plan cannot be served; None where they are."""
        self._opened: Opened | None = None
        self._retired: list[Opened] = []
        self._guard = threading.Lock()
        self._refreshing = threading.Lock()
        self._pool = ThreadPoolExecutor(limits.threads, thread_name_prefix="headrace-lookup")
        self._jobs = ThreadPoolExecutor(_JOB_THREADS, thread_name_prefix="headrace-job")
        self._rows: RowStore | None = None
        self._rows_file: tuple[int, int] | None = None
        """What tells the file of rows that this process has open; None where there was none."""
        self._opening_rows = threading.Lock()
        self._waiting = 0
        self._jobs_waiting = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the store, and follow what changes."""
        first = asyncio.create_task(self._look())
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(first), _START_S)
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Close what is open, after the last request."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await asyncio.to_thread(self._close_all)

    @contextmanager
    def using(self) -> Iterator[Opened]:
        """The open client, for the duration of one request. Any thread may call this.

        Raises:
            HeadraceError: The store is away, or the plan cannot be served: the reason.
        """
        with self._guard:
            opened = self._opened
            if opened is not None:
                opened.users += 1
        if opened is None:
            raise self._why_closed()
        try:
            yield opened
        finally:
            with self._guard:
                opened.users -= 1

    @property
    def is_local(self) -> bool:
        """Whether a lookup needs no server: it may then run in the event loop."""
        opened = self._opened
        return opened is not None and self.project.store_url.partition(":")[0] in ("lmdb", "memory")

    async def in_thread(self, work: Callable[[], T], *, writes: bool = False) -> T:
        """Run work in one of the threads for lookups.

        Args:
            work: What to run.
            writes: Whether it writes. A write that runs is waited for, however long it takes: its caller would send it
                again.

        Raises:
            RefusedError: Too many requests wait already, or it took too long. What runs is not interrupted then: its
                thread is free again when it ends. What did not run yet never will.
        """
        if self._waiting >= self.limits.waiting:
            what = f"This server process has {self._waiting} requests to answer already."
            raise _busy(what, "Try again soon, or give the server more workers.")
        self._waiting += 1
        running = self._pool.submit(work)
        future = asyncio.wrap_future(running)
        future.add_done_callback(self._done)
        try:
            return await asyncio.wait_for(asyncio.shield(future), self.limits.seconds)
        except TimeoutError:
            if future.done():
                return future.result()  # the work itself ended so, or just ended
            if not running.cancel() and writes:
                return await asyncio.shield(future)
            what = f"The request took longer than {self.limits.seconds:g} seconds."
            hint = "Ask for fewer rows at once, or try again: the store may be slow just now."
            raise _busy(what, hint) from None

    async def as_job(self, work: Callable[[], T]) -> T:
        """Run work that may take minutes, in one of the threads for jobs.

        Args:
            work: What to run.

        Raises:
            RefusedError: Too many jobs wait already.
        """
        return await asyncio.shield(asyncio.wrap_future(self.start_job(work)))

    def start_job(self, work: Callable[[], T]) -> Future[T]:
        """Begin work that may take minutes, in one of the threads for jobs. Any thread may call this.

        Args:
            work: What to run.

        Raises:
            RefusedError: Too many jobs wait already.
        """
        with self._guard:
            if self._jobs_waiting >= _MOST_JOBS:
                what = f"This server process has {self._jobs_waiting} jobs to do already."
                raise _busy(what, "Try again when they are done.")
            self._jobs_waiting += 1
        try:
            job = self._jobs.submit(work)
        except RuntimeError:  # the process is ending
            self._job_done()
            raise
        job.add_done_callback(self._job_done)
        return job

    def rows(self) -> RowStore:
        """The rows of batch views, open to write; for threads. They are opened when something is first written.

        Raises:
            StoreError, StoreUnavailableError: They cannot be opened; or they were made again, or are gone, and what is
                written to the open file would be lost.
        """
        with self._opening_rows:
            if self._rows_are_others():
                msg = "The rows are being opened again."
                raise StoreUnavailableError(msg, hint="Try again soon.")
            if self._rows is None:
                self._rows = open_rows(self.project.store_url, writable=True)
            self._rows_file = _rows_file(self.project.store_url)
            return self._rows

    def _rows_are_others(self) -> bool:
        return self._rows_file is not None and self._rows_file != _rows_file(self.project.store_url)

    def refresh(self) -> None:
        """Open, or open again, what is needed; for threads."""
        with self._refreshing:
            self._close_retired()
            version = self.project.plan_file.version()
            files = store_files(self.project.store_url)
            opened = self._opened
            if opened is not None and opened.files != files:
                logger.warning("The online store was made again, or is gone. It is opened again.")
                self._replace(None, StoreUnavailableError("The online store is being opened again."))
                self._wait_unused(opened)
                opened = None
            if self._rows_are_others():
                if opened is not None:
                    logger.warning("The rows of batch views were made again, or are gone. They are opened again.")
                    self._replace(None, StoreUnavailableError("The rows of batch views are being opened again."))
                    self._wait_unused(opened)
                    opened = None
                if self._retired or self._jobs_waiting:
                    return  # all of a process share one open file, and a request or a job still uses the old one
                self._close_rows()
            if opened is None and self._retired:
                return  # LMDB would open the old files again; a request still uses them
            if self._rows_file is None:
                self._rows_file = _rows_file(self.project.store_url)  # before they are opened
            if opened is not None and opened.version == version:
                return
            try:
                self._replace(self._open(opened, version, files), None)
            except HeadraceError as error:
                if self.trouble is None or self.trouble.what != error.what:
                    logger.warning("%s", " ".join(str(error).split()))
                self.trouble = error

    def _open(self, before: Opened | None, version: str | None, files: object) -> Opened:
        """A client of the plan as it is now; on the same store, where one is open."""
        plan = read_plan(self.project.plan_file)
        if before is not None and before.plan.hash == plan.hash:
            before.version = version
            return before
        same = before is not None and needs_store(before.plan) == needs_store(plan)
        store = before.store if before is not None and same else self._store(plan)
        try:
            client = FeatureClient(self.project, plan=plan, store=store)
        except BaseException:
            if not same:
                store.close()
            raise
        logger.info("Serving plan %s.", plan.hash)
        return Opened(client, plan, store, files, version, time.time())

    def _store(self, plan: Plan) -> OnlineStore:
        return open_store(self.project.store_url, writable=False) if needs_store(plan) else MemoryStore()

    def _replace(self, opened: Opened | None, trouble: HeadraceError | None) -> None:
        with self._guard:
            before, self._opened = self._opened, opened
            self.trouble = trouble
        if before is not None and before is not opened:
            self._retired.append(before)

    def _close_retired(self) -> None:
        """Close clients that were replaced and that no request uses any more."""
        unused = [one for one in self._retired if one.users == 0]
        self._retired = [one for one in self._retired if one not in unused]
        for one in unused:
            one.client.close()
            if all(other is None or other.store is not one.store for other in (self._opened, *self._retired)):
                one.store.close()

    def _wait_unused(self, opened: Opened) -> None:
        """Wait for the requests that use a client, and close it."""
        deadline = time.monotonic() + self.limits.seconds
        while opened.users and time.monotonic() < deadline:
            time.sleep(0.01)
        self._close_retired()

    def _close_all(self) -> None:
        with self._refreshing:
            self._replace(None, StoreUnavailableError("The server is ending."))
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._jobs.shutdown(wait=True, cancel_futures=True)
            self._close_retired()
            self._close_rows()

    def _close_rows(self) -> None:
        with self._opening_rows:
            rows, self._rows, self._rows_file = self._rows, None, None
            if rows is not None:
                rows.close()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            await self._look()

    async def _look(self) -> None:
        try:
            await asyncio.to_thread(self.refresh)
        except Exception:
            # Nobody waits for this. What happens here must not end the task that looks: later looks may succeed.
            logger.exception("Looking for a changed plan or store failed; it is tried again.")

    def _why_closed(self) -> HeadraceError:
        if self.trouble is not None:
            return self.trouble.with_traceback(None)
        return StoreUnavailableError("The server is starting: its store is not open yet.", hint="Try again soon.")

    def _job_done(self, _: object = None) -> None:
        with self._guard:
            self._jobs_waiting -= 1

    def _done(self, future: asyncio.Future[T]) -> None:
        self._waiting -= 1
        if not future.cancelled():
            future.exception()  # it may have ended after its request gave up


def _rows_file(url: str) -> tuple[int, int] | None:
    """What `store_files` says of the rows beside a store."""
    scheme, _, rest = url.partition(":")
    path = Path(rest)
    return store_files(f"lmdb:{path.with_name(f'{path.name}-rows')}") if scheme == "lmdb" else None


def _busy(what: str, hint: str) -> RefusedError:
    return RefusedError(503, "ServerUnavailableError", what, hint=hint)
