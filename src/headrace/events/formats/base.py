"""What a format of events is: the way from the records of a fetch to columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import pyarrow as pa

from headrace.events.raw_records import RawRecords

__all__ = ["Decoded", "Failure", "Format"]


class Failure(NamedTuple):
    """A record that is not an event of its source.

    Attributes:
        row: Its row in the fetch.
        reason: What is wrong with it.
        field: The field that is wrong; None where it is the whole record.
    """

    row: int
    reason: str
    field: str | None


@dataclass(frozen=True)
class Decoded:
    """A fetch as columns.

    Attributes:
        table: The columns that the source declares, with one row per good record, in order.
        failures: The records that are not in the table.
    """

    table: pa.Table
    failures: Sequence[Failure] = field(default=())


class Format(Protocol):
    """Reads the records of one source.

    A format sees keys, headers and values, and decides alone what a value means. Positions, record timestamps and
    `max_future` are checked by `EventDecoder`, for all formats alike.
    """

    @property
    def calls_no_user_code(self) -> bool:
        """Whether reading calls none of the model author's functions: then a fetch may be read early, or twice."""

    def read(self, records: RawRecords) -> Decoded:
        """Read a fetch. A record that cannot be read is a failure; it does not raise.

        Args:
            records: The records.
        """

    def written(self, records: RawRecords, row: int, name: str) -> object:
        """What a record has in a field, before validation; None where that cannot be said. Used in hints.

        Args:
            records: The records.
            row: The record's row.
            name: The field.
        """
