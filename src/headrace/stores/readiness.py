"""Whether a store holds what it should: one that was emptied, or is being filled from the log, has no answers yet.

The store says so itself, in the fact that every lookup reads in the same moment as the records: while it is filled, its generation begins with
`filling:`. A worker writes that before the first record and replaces it after the last one. So a worker that is killed in between leaves a store
that is not ready, and the next one to start completes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from headrace.errors import StoreNotReadyError
from headrace.plan import View
from headrace.stores.base import OnlineStore
from headrace.stores.facts import CLOCK, GENERATION, new_generation, view_facts
from headrace.stores.served_versions import serving_facts

__all__ = ["State", "end_filling", "filling_facts", "not_ready", "state_of"]

_FILLING = "filling:"


class State(StrEnum):
    """What a store as a whole can answer.

    `ready`: lookups. `filling`: nothing yet, it is being filled from the log. `empty`: nothing, for nobody has begun to fill it.
    """

    READY = "ready"
    FILLING = "filling"
    EMPTY = "empty"


def state_of(facts: Mapping[str, str]) -> State:
    """The state of a store that says this of itself."""
    if facts.get(GENERATION, "").startswith(_FILLING):
        return State.FILLING
    # The clock and the views are noted first, before the store is filled.
    return State.READY if CLOCK in facts or view_facts(facts) else State.EMPTY


def filling_facts(views: Iterable[View]) -> dict[str, str]:
    """The facts of a store that will serve these versions once it has been filled; to be set before its first record."""
    facts = serving_facts(views)
    return facts | {GENERATION: f"{_FILLING}{facts[GENERATION]}"}


def end_filling(store: OnlineStore) -> None:
    """Say that a store holds everything that the log does; nothing changes where that was so."""
    if state_of(store.meta()) is State.FILLING:
        store.set_meta({GENERATION: new_generation()})


def not_ready(state: State) -> StoreNotReadyError:
    """The error of a lookup in a store that is not ready."""
    if state is State.FILLING:
        msg = "The online store is being filled from the log: it has no answers until that is done."
        return StoreNotReadyError(
            msg, hint="Try again soon; `headrace status` shows how far it is, and whether a worker runs."
        )
    msg = "The online store is empty: no worker has filled it yet, or it was emptied since (a Redis that kept nothing, say)."
    return StoreNotReadyError(
        msg, hint="Start a worker (`headrace stream`): it fills the store from the log before anything else."
    )
