"""The log: every applied event, in Delta Lake tables of Parquet files, one table per topic."""

from headrace.extras import needing

with needing("offline"):
    from headrace.log.compaction import Compacted, Upkeep
    from headrace.log.dataset_pins import forget_pins, missing_pins, pinned_versions
    from headrace.log.head import log_head
    from headrace.log.location import Place
    from headrace.log.log_identity import Made, made_log, make_log
    from headrace.log.recent_ids import newest_record
    from headrace.log.recorded_lookups import LookupTable
    from headrace.log.row_erasure import Erased
    from headrace.log.snapshot import LogFile, LogSnapshot
    from headrace.log.table import Appended, EventLog
    from headrace.log.table_facts import TableFacts
    from headrace.log.topic_history import Gap, Incarnation, TopicHistory, TopicNotes, topic_history
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
    "Place",
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
