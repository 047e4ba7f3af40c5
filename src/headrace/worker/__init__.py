"""The stream path: Kafka fetches through Faust into the online store and the log.

What a name needs is imported when the name is used: `headrace status` reads what workers are asked to do, and needs no
Faust.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.extras import lazy_names

if TYPE_CHECKING:
    from headrace.worker.faust_driver import StreamApp, create_app
    from headrace.worker.worker_process import run_worker

__all__ = ["StreamApp", "create_app", "run_worker"]

_APP, _RUN = "headrace.worker.faust_driver", "headrace.worker.worker_process"

__getattr__ = lazy_names(__name__, {"StreamApp": _APP, "create_app": _APP, "run_worker": _RUN}, extra="stream")
