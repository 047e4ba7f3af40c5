"""Producing events to Kafka: validated, idempotent, confirmed; and replaying finite histories."""

from headrace.produce.deadletters import read_dead_letters
from headrace.produce.encode import EncodedEvent, EventEncoder
from headrace.produce.history import History, load_history
from headrace.produce.options import ReplayOptions, ReplayProgress, ReplaySummary, parse_time
from headrace.produce.producer import EventProducer, find_source
from headrace.produce.replay import produce, replay

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
]
