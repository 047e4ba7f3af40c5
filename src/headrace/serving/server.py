"""The server: one process that listens and supervises, and worker processes that answer.

The supervisor makes the socket and gives it to its workers, and uvicorn's supervisor starts them, replaces those that
died, and ends them. All workers accept from the one socket. So a worker that ends loses no connection that waits to be
accepted: the others take it. (With a socket per worker, SO_REUSEPORT, the kernel gives waiting connections to one
worker, and resets them when it closes its socket.) SIGHUP replaces the workers one after the other; each new one opens
its store and is ready before an old one is asked to end.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from uvicorn import Config
from uvicorn.supervisors.multiprocess import Multiprocess

from headrace.config import Project
from headrace.errors import ConfigError
from headrace.plan import read_plan
from headrace.serving.access_log import check_access_log
from headrace.serving.exposure import check_exposure, has_authentication
from headrace.serving.metrics import FOLDER_VARIABLE
from headrace.serving.settings import ServerSettings

__all__ = ["run_server"]

logger = logging.getLogger(__name__)

_BACKLOG = 2048
_START_S = 60
"""How long a worker may take to start, or to answer its supervisor, in seconds."""


def run_server(settings: ServerSettings, set_up_worker: Callable[[], None], listening: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, and return after the last request was answered.

    Args:
        settings: The settings.
        set_up_worker: Called first in each worker process, to set logging up; it must be picklable.
        listening: Called with the server's URL once it listens.

    Raises:
        ConfigError: The project, the address or the certificate cannot be used.
        PlanError: There is no plan.
    """
    project = Project.load(settings.project)
    read_plan(project.plan_file)
    has_callers = not settings.insecure and has_authentication(project)
    check_exposure(settings.host, has_authentication=has_callers, insecure=settings.insecure)
    check_access_log(project.serve.access_log)
    _check_certificate(settings)
    with _listen(settings) as listener, _metrics_folder():
        port = listener.getsockname()[1]
        config = _uvicorn(replace(settings, port=port, signs_in=has_callers), set_up_worker)
        scheme = "https" if settings.certificate_file is not None else "http"
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        listening(f"{scheme}://{host}:{port}")
        _Supervisor(config, [listener]).run()


class _Supervisor(Multiprocess):
    """uvicorn's supervisor, which can also be ended while it replaces workers."""

    def __init__(self, config: Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)

    def terminate_all(self) -> None:
        """Ask the workers to end, and accept nothing that they would not."""
        for listener in self.sockets:
            listener.close()
        super().terminate_all()

    def _end(self, *_: Any) -> None:
        self.should_exit.set()


def _uvicorn(settings: ServerSettings, set_up_worker: Callable[[], None]) -> Config:
    limits = settings.limits
    return Config(
        partial(_worker_app, settings, set_up_worker, os.getpid()),
        factory=True,
        http=partial(_connection, limits),  # type: ignore[arg-type]  # it is called like a class of connections
        ws="none",
        lifespan="on",
        workers=settings.workers,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=max(1, round(limits.idle_seconds)),
        timeout_graceful_shutdown=max(1, round(limits.drain_seconds)),
        timeout_worker_healthcheck=_START_S,
        ssl_certfile=settings.certificate_file,
        ssl_keyfile=settings.key_file,
    )


def _worker_app(settings: ServerSettings, set_up_worker: Callable[[], None], supervisor: int) -> Any:
    """The application of a worker process; this runs in it."""
    set_up_worker()
    from headrace.serving.app import create_app

    return create_app(settings, supervisor=supervisor)


def _connection(limits: Any, **uvicorn: Any) -> Any:
    from headrace.serving.connection import Connection

    return Connection(limits=limits, **uvicorn)


@contextmanager
def _listen(settings: ServerSettings) -> Iterator[socket.socket]:
    """The socket that workers accept from."""
    where = f"{settings.host}:{settings.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        msg = f"{settings.host!r} is no address to listen on: {error.strerror}."
        raise ConfigError(msg, hint="Write --host 127.0.0.1, or 0.0.0.0 for all addresses of this machine.") from error
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            msg = f"The server cannot listen on {where}: {error.strerror}."
            raise ConfigError(msg, hint="Give another --port, or stop what listens there.") from error
        listener.listen(_BACKLOG)  # from now on clients wait for a worker and are not refused
        yield listener


def _check_certificate(settings: ServerSettings) -> None:
    """Refuse a certificate that workers could not load."""
    if settings.certificate_file is None:
        if settings.key_file is not None:
            msg = "There is a key for TLS, and no certificate."
            raise ConfigError(msg, hint="Give --tls-cert too.")
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            settings.certificate_file, settings.key_file, password=_no_password
        )
    except (OSError, ssl.SSLError, ValueError) as error:
        msg = f"The certificate {settings.certificate_file} cannot be used: {error}."
        hint = "--tls-cert is a PEM file with the certificate, --tls-key one with its key, without a password."
        raise ConfigError(msg, hint=hint) from error


def _no_password() -> str:
    msg = "its key has a password"
    raise ValueError(msg)


@contextmanager
def _metrics_folder() -> Iterator[None]:
    """The folder of the workers' metrics, as long as the server runs."""
    before = os.environ.get(FOLDER_VARIABLE)
    folder = tempfile.mkdtemp(prefix="headrace-metrics-")
    os.environ[FOLDER_VARIABLE] = folder
    try:
        yield
    finally:
        if before is None:
            del os.environ[FOLDER_VARIABLE]
        else:
            os.environ[FOLDER_VARIABLE] = before
        shutil.rmtree(Path(folder), ignore_errors=True)
