"""The log: every applied event, in Delta Lake tables of Parquet files, one table per topic."""

from headrace.extras import needing

with needing("offline"):
    from headrace.log.compact import Compacted, Upkeep
    from headrace.log.erase import Erased
    from headrace.log.facts import TableFacts
    from headrace.log.head import log_head
    from headrace.log.incarnations import Gap, Incarnation, TopicHistory, TopicNotes, topic_history
    from headrace.log.lookups import LookupTable
    from headrace.log.made import Made, made_log, make_log
    from headrace.log.pins import forget_pins, missing_pins, pinned_versions
    from headrace.log.recent import newest_record
    from headrace.log.snapshot import LogFile, LogSnapshot
    from headrace.log.table import Appended, EventLog
    from headrace.log.vacuum import Vacuumed

__all__ = [
    "Appended",
    "Compacted",
    "Erased",
    "EventLog",
    "Gap",
    "Incarnation",
    "LogFile",
    "LogSnapshot",
    "LookupTable",
    "Made",
    "TableFacts",
    "TopicHistory",
    "TopicNotes",
    "Upkeep",
    "Vacuumed",
    "forget_pins",
    "log_head",
    "made_log",
    "make_log",
    "missing_pins",
    "newest_record",
    "pinned_versions",
    "topic_history",
]
