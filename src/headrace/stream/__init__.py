"""The stream path: Kafka fetches through Faust into the online store and the log.

What a name needs is imported when the name is used: `headrace status` reads what workers are asked to do, and needs no Faust.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.extras import lazy_names

if TYPE_CHECKING:
    from headrace.stream.app import StreamApp
    from headrace.stream.create import create_app
    from headrace.stream.run import run_worker

__all__ = ["StreamApp", "create_app", "run_worker"]

_APP, _CREATE, _RUN = "headrace.stream.app", "headrace.stream.create", "headrace.stream.run"

__getattr__ = lazy_names(__name__, {"StreamApp": _APP, "create_app": _CREATE, "run_worker": _RUN}, extra="stream")
