"""A reader of one partition that gives two records at a time."""

from __future__ import annotations

from headrace.events.raw_records import RawRecords
from headrace.events.source_partition import SourcePartition
from headrace.kafka.fetch_reader import Read, RecordsGone
from tests.worker.shop import record

__all__ = ["END", "SALES", "TwoAtATime"]

SALES = SourcePartition("sales", 0)
END = 40


class TwoAtATime:
    """Reads a partition of `END` records from a place."""

    gone: list[RecordsGone] = []

    def __init__(self, place: int) -> None:
        self.place = place
        self.waiting: list[int] = []

    def fetch(self, wanted: set[SourcePartition], timeout_s: float) -> None:
        del wanted, timeout_s
        if not self.waiting:
            first, self.place = self.place, min(self.place + 2, END)
            self.waiting = list(range(first, self.place))

    def take(self, wanted: set[SourcePartition]) -> dict[SourcePartition, Read]:
        del wanted
        taken, self.waiting = self.waiting, []
        records = RawRecords.of(record(offset, "a", offset) for offset in taken)
        return {SALES: Read(records, self.place)} if taken else {}

    def end(self, source: SourcePartition) -> int:
        del source
        return END
