"""From the assigned partitions to rounds. It knows nothing of consumer groups."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping

from headrace.events.source_partition import SourcePartition
from headrace.kafka.fetch_reader import RecordReader, RecordsGone
from headrace.worker.rounds import Aligner, Round

__all__ = ["RoundReader"]

_WAIT_S = 0.25
"""How long one look may wait for records, in seconds."""
_WAIT_FOR_OTHERS_S = 0.05
"""The same while records wait for their time: another partition's end may have become known."""


class RoundReader:
    """Reads rounds from where it was placed.

    Each placing opens a new reader, so no record from before the placing can follow it.

    Args:
        open_reader: Opens a reader of partitions, each from an offset on.
        by_record_time: Whether rounds are cut at a common record time.
    """

    def __init__(
        self, open_reader: Callable[[Mapping[SourcePartition, int]], RecordReader], *, by_record_time: bool
    ) -> None:
        self._open_reader = open_reader
        self._by_record_time = by_record_time
        self._reader: RecordReader | None = None
        self._aligner = Aligner(by_record_time=by_record_time)
        self._epoch = 0

    @property
    def is_placed(self) -> bool:
        """Whether it has a place to read from."""
        return self._reader is not None

    def place(self, starts: Mapping[SourcePartition, int], epoch: int) -> None:
        """Read from here on.

        Args:
            starts: By Kafka's partition, the first offset to read.
            epoch: What the rounds read from here are marked with.
        """
        self.stop()
        self._epoch, self._reader = epoch, self._open_reader(starts)

    def stop(self) -> None:
        """Read no more, and forget what waits: it comes again after the next placing."""
        reader, self._reader = self._reader, None
        self._aligner = Aligner(by_record_time=self._by_record_time)
        if reader is not None:  # closing waits for the read under way, and nothing depends on it
            threading.Thread(target=reader.close, name="headrace-reader-closing", daemon=True).start()

    def wait(self, sources: Collection[SourcePartition]) -> None:
        """Wait for a short while until something of these partitions was read.

        Another thread may call this. Nothing that was read is lost.

        Args:
            sources: The assigned partitions.
        """
        reader, aligner = self._reader, self._aligner
        wanted = {source for source in sources if aligner.wants(source)}
        if reader is None or not wanted:
            time.sleep(_WAIT_FOR_OTHERS_S)
        else:
            reader.fetch(wanted, _WAIT_FOR_OTHERS_S if aligner.has_waiting else _WAIT_S)

    def read_ahead(self, sources: Collection[SourcePartition]) -> None:
        """Read on while the worker is busy, for a short while; the next round is larger for it. Called as `wait` is.

        Args:
            sources: The assigned partitions.
        """
        reader = self._reader
        if reader is None or not sources:
            time.sleep(_WAIT_FOR_OTHERS_S)
        else:
            reader.fetch((), _WAIT_FOR_OTHERS_S)

    def next_round(self, sources: Collection[SourcePartition]) -> Round | None:
        """The next round of these partitions; None where none is ready.

        Args:
            sources: The assigned partitions.
        """
        if self._reader is None:
            return None
        taken = self._reader.take({source for source in sources if self._aligner.wants(source)})
        reads = self._aligner.cut(taken, sources, self.end)
        return Round(reads, self._epoch) if reads else None

    @property
    def gone(self) -> list[RecordsGone]:
        """The partitions that cannot be read on, because the broker no longer has what comes next."""
        return [] if self._reader is None else self._reader.gone

    def end(self, source: SourcePartition) -> int | None:
        """A partition's end offset as the last fetch response had it; None where there was none yet."""
        return None if self._reader is None else self._reader.end(source)
