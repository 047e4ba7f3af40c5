"""The log: every applied event, in Delta Lake tables of Parquet files, one table per topic."""

from headrace.log.erase import Erased
from headrace.log.lookups import LookupTable
from headrace.log.snapshot import LogFile, LogSnapshot
from headrace.log.table import Appended, EventLog

__all__ = ["Appended", "Erased", "EventLog", "LogFile", "LogSnapshot", "LookupTable"]
