"""Notes in a store which logs its records were made from, and since when.

Each lookup carries this. So an audit compares what was served with the log that it came from: a log that was created
again does not know what the one before it had, and records made before an erasure had counted what was erased.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from headrace.errors import LogError
from headrace.log import Place, made_log, make_log
from headrace.log.location import Location
from headrace.plan import Source
from headrace.stores import CatalogueChange, OnlineStore, Readiness
from headrace.stores.catalogue import UNKNOWN_LOG

__all__ = ["check_refillable_from", "note_origin"]


def note_origin(store: OnlineStore, root: Place, sources: Iterable[Source]) -> None:
    """Note what a store is filled from: when a worker starts, and again after its first append to a log.

    If a log is missing although the store has its events, it is created here, so that it is known that the records come
    from two logs. The log of a new topic is created by its first append: until then the model may change in any way.

    Args:
        store: The store, open to write.
        root: The place of all logs.
        sources: All sources when a worker starts. After that only the one that was appended to: the first append of
            another may not be finished.

    Raises:
        LogError, LogUnavailableError: A log cannot be read or made.
    """
    catalogue, filled = store.catalogue(), {at.topic for at in store.positions()}
    change = CatalogueChange()
    if not filled:
        change.filled(time.time_ns() // 1000)
    for source in sources:
        made, known = made_log(root, source), catalogue.origin.logs.get(source.topic)
        logs = known
        if source.topic in filled:
            if known is None:  # noted nowhere, as the log was not there yet when the store began to be filled
                known = (UNKNOWN_LOG if made is None else made.id,)
            made = made or make_log(root, source)
            logs = known if made.id in known else (*known, made.id)
        elif made is not None:
            logs = (made.id,)
        if logs is not None and logs != catalogue.origin.logs.get(source.topic):
            change.made_from(source.topic, logs)
    if change.facts and catalogue.readiness is Readiness.READY:
        # Clients that run see another generation and read the catalogue again. While a store is filled, its
        # generation changes at the end of that.
        change.new_generation()
    store.change(change)


def check_refillable_from(store: OnlineStore, root: Place, sources: Iterable[Source]) -> None:
    """Refuse to empty a store that has events which the logs that are here never had: nobody has asked for that.

    Args:
        store: The store.
        root: The place of all logs.
        sources: The sources.

    Raises:
        LogError: The store was filled from a log that is not here, or a log cannot be read.
    """
    logs = store.catalogue().origin.logs
    for source in sources:
        known = set(logs.get(source.topic, ()))
        made = made_log(root, source)
        if known - {UNKNOWN_LOG, None if made is None else made.id}:
            msg = (
                "The online store has events that are gone from the broker, so it must be filled again. But the log of "
                f"{source.topic!r} from which it was filled is not at {Location.of(root).below(source.topic)}. "
                "What only that log has would be lost."
            )
            hint = (
                "Bring the log back. `headrace stream --rebuild` fills the store from what is here, without the rest; "
                "`headrace reset` starts from nothing."
            )
            raise LogError(msg, hint=hint)
