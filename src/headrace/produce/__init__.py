"""Producing events to Kafka: validated, idempotent, confirmed; and replaying finite histories.

What a name needs is imported when the name is used: the command line names all commands, and most need no Kafka.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.extras import lazy_names

if TYPE_CHECKING:
    from headrace.produce.deadletters import read_dead_letters
    from headrace.produce.encode import EncodedEvent, EventEncoder
    from headrace.produce.history import History, load_history
    from headrace.produce.letters import replay_dead_letters, why_not_replayed
    from headrace.produce.options import ReplayOptions, ReplayProgress, ReplaySummary, parse_time
    from headrace.produce.producer import EventProducer, find_source
    from headrace.produce.replays import produce, replay

__all__ = [
    "EncodedEvent",
    "EventEncoder",
    "EventProducer",
    "History",
    "ReplayOptions",
    "ReplayProgress",
    "ReplaySummary",
    "find_source",
    "load_history",
    "parse_time",
    "produce",
    "read_dead_letters",
    "replay",
    "replay_dead_letters",
    "why_not_replayed",
]

_HOMES = {
    "EncodedEvent": "encode",
    "EventEncoder": "encode",
    "EventProducer": "producer",
    "History": "history",
    "ReplayOptions": "options",
    "ReplayProgress": "options",
    "ReplaySummary": "options",
    "find_source": "producer",
    "load_history": "history",
    "parse_time": "options",
    "produce": "replays",
    "read_dead_letters": "deadletters",
    "replay": "replays",
    "replay_dead_letters": "letters",
    "why_not_replayed": "letters",
}


__getattr__ = lazy_names(
    __name__, {name: f"headrace.produce.{module}" for name, module in _HOMES.items()}, extra="stream"
)
