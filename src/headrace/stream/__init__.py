"""The stream path: Kafka fetches through Faust into the online store and the log."""

from headrace.stream.app import StreamApp, create_app
from headrace.stream.run import run_worker

__all__ = ["StreamApp", "create_app", "run_worker"]
