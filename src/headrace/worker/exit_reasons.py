"""Why a worker ended: any exception becomes one of headrace's errors, with a message for people."""

from __future__ import annotations

import traceback
from pathlib import Path

from aiokafka.errors import KafkaError

from headrace.config import Project
from headrace.errors import HeadraceError, WorkerError
from headrace.kafka.broker_errors import is_refusal, refused, unavailable
from headrace.kafka.connection import KafkaConnection

__all__ = ["explained"]

_INVALID_SESSION_TIMEOUT = 26


def explained(error: BaseException, project: Project, connection: KafkaConnection | str) -> HeadraceError:
    """The error to report for what ended a worker.

    Args:
        error: What was raised.
        project: The project, whose settings may be the reason.
        connection: The broker.
    """
    if isinstance(error, HeadraceError):
        return error
    if isinstance(error, KafkaError):
        code = getattr(error, "errno", None)
        if is_refusal(code):
            return refused(connection, _of_group(error, code, project), code)
        if error.retriable:
            return unavailable(connection, _text(error))
    msg = f"The worker cannot go on: {_text(error)}{_where(error)}."
    hint = (
        "Started again, it continues where it was. If it ends this way again, report it with what "
        "`headrace stream --verbose` says."
    )
    return WorkerError(msg, hint=hint)


def _of_group(error: KafkaError, code: object, project: Project) -> str:
    setting = f", `session_timeout = {project.session_timeout:g}`" if code == _INVALID_SESSION_TIMEOUT else ""
    return f"{type(error).__name__} (group {project.group!r}{setting})"


def _text(error: BaseException) -> str:
    said = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _where(error: BaseException) -> str:
    """The innermost file and line of the traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
