"""Erasure: what is forgotten is gone from online records, log and recorded lookups, and no replay brings it back."""

from headrace.extras import needing

with needing("offline"):
    from headrace.erasure.erasure_filter import ErasureFilter
    from headrace.erasure.forget import Forgotten, forget, forget_all
    from headrace.erasure.inventory import (
        Inventory,
        Places,
        inventory_of,
        places_of,
        stale_views,
        views_counting_erased,
    )
    from headrace.erasure.ledger import Entity, Erasure, Ledger

__all__ = [
    "Entity",
    "Erasure",
    "ErasureFilter",
    "Forgotten",
    "Inventory",
    "Ledger",
    "Places",
    "forget",
    "forget_all",
    "places_of",
    "stale_views",
    "views_counting_erased",
    "inventory_of",
]
