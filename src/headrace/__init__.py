"""headrace: a streaming feature store whose online and offline features provably agree.

Importing it is cheap: a name's modules are imported when the name is first used.

PYTEST_DONT_REWRITE (pytest rewrites the packages of its plugins. Without this it would warn programs that imported this
package before pytest did.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.client import AsyncFeatureClient, FeatureClient, HttpSettings
    from headrace.config import Project
    from headrace.declare import aggregation, event_source, query_source, stream_view
    from headrace.errors import HeadraceError
    from headrace.lookup import OnlineFeatures
    from headrace.produce import EventProducer
    from headrace.training import Dataset, HistoricalFeatures, TrainingClient

__version__ = "0.1.0"

__all__ = [
    "AsyncFeatureClient",
    "Dataset",
    "EventProducer",
    "FeatureClient",
    "HeadraceError",
    "HistoricalFeatures",
    "HttpSettings",
    "OnlineFeatures",
    "Project",
    "TrainingClient",
    "aggregation",
    "event_source",
    "query_source",
    "stream_view",
]

_HOMES = {
    "AsyncFeatureClient": "headrace.client",
    "Dataset": "headrace.training",
    "EventProducer": "headrace.produce",
    "FeatureClient": "headrace.client",
    "HeadraceError": "headrace.errors",
    "HistoricalFeatures": "headrace.training",
    "HttpSettings": "headrace.client",
    "OnlineFeatures": "headrace.lookup",
    "Project": "headrace.config",
    "TrainingClient": "headrace.training",
    "aggregation": "headrace.declare",
    "event_source": "headrace.declare",
    "query_source": "headrace.declare",
    "stream_view": "headrace.declare",
}


def __getattr__(name: str) -> Any:
    from headrace.extras import lazy_names  # late, so that `import headrace` takes almost no time

    return lazy_names("headrace", _HOMES)(name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
