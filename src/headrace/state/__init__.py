"""Small facts that must survive: plans, requests, the ledger of erasures, imports, pins, notes on topics."""

from headrace.state.base import ABSENT, State, StateConflictError, StateFile, Stored, folders_and_name
from headrace.state.local import LocalState
from headrace.state.memory import MemoryState
from headrace.state.note import Note

__all__ = [
    "ABSENT",
    "LocalState",
    "MemoryState",
    "Note",
    "State",
    "StateConflictError",
    "StateFile",
    "Stored",
    "folders_and_name",
]
