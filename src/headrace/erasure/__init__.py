"""Erasure: what is forgotten is gone from online records, log and recorded lookups, and no replay brings it back."""

from headrace.extras import needing

with needing("offline"):
    from headrace.erasure.forget import Forgotten, forget
    from headrace.erasure.keep import ErasureFilter
    from headrace.erasure.ledger import Entity, Erasure, Ledger

__all__ = ["Entity", "Erasure", "ErasureFilter", "Forgotten", "Ledger", "forget"]
