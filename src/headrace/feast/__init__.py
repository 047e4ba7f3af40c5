"""Feast-native: stores that feature_store.yaml names, so that Feast's own calls serve and join headrace's features.

    online_store:
      type: headrace.feast.HeadraceOnlineStore
    offline_store:
      type: headrace.feast.HeadraceOfflineStore

Reading feature_store.yaml imports the classes it names, so a class imports what it works with when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.extras import lazy_names

if TYPE_CHECKING:
    from headrace.feast.compute_engine import HeadraceComputeEngine, HeadraceComputeEngineConfig
    from headrace.feast.offline_store import HeadraceOfflineStore, HeadraceOfflineStoreConfig
    from headrace.feast.online_store import HeadraceOnlineStore, HeadraceOnlineStoreConfig

__all__ = [
    "HeadraceComputeEngine",
    "HeadraceComputeEngineConfig",
    "HeadraceOfflineStore",
    "HeadraceOfflineStoreConfig",
    "HeadraceOnlineStore",
    "HeadraceOnlineStoreConfig",
]

_HOMES = {
    "HeadraceComputeEngine": "headrace.feast.compute_engine",
    "HeadraceComputeEngineConfig": "headrace.feast.compute_engine",
    "HeadraceOfflineStore": "headrace.feast.offline_store",
    "HeadraceOfflineStoreConfig": "headrace.feast.offline_store",
    "HeadraceOnlineStore": "headrace.feast.online_store",
    "HeadraceOnlineStoreConfig": "headrace.feast.online_store",
}

__getattr__ = lazy_names("headrace.feast", _HOMES, "feast")
