"""The formats by name, and a format of one's own."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pydantic import AwareDatetime, BaseModel

from headrace.errors import PlanError
from headrace.events.decode import EventDecoder
from headrace.events.formats import FORMATS
from headrace.events.formats.base import Decoded, Failure
from headrace.events.model_schema import columns_of
from headrace.events.raw_records import Headers, RawRecords
from headrace.events.row_columns import RowColumns
from headrace.plan import Source

NOON_MS = 1_700_000_000_000


class Visit(BaseModel):
    """An event."""

    at: AwareDatetime
    page: str


SOURCE = Source(
    name="visits", topic="visits", model="web:Visit", key=None, timestamp_field="at", columns=columns_of(Visit)
)


class TabSeparated:
    """A format by headers: a record with `form: tabs` has a time in seconds and a page."""

    def __init__(self) -> None:
        self._columns = RowColumns(SOURCE, Visit)

    calls_no_user_code = False

    def read(self, records: RawRecords) -> Decoded:
        rows, good, failures = [], [], []
        for row, value in enumerate(records.values):
            headers = dict((records.headers or [()] * len(records))[row])
            if headers.get("form") != b"tabs":
                failures.append(Failure(row, "no tabs", None))
                continue
            at, _, page = (value or b"").decode().partition("\t")
            rows.append(Visit.model_validate({"at": float(at), "page": page}).__dict__)
            good.append(row)
        table, misfits = self._columns.fitting(rows)
        return Decoded(table, [*failures, *(Failure(good[at], *why) for at, why in misfits.items())])

    def written(self, records: RawRecords, row: int, name: str) -> object:
        return None


def records_of(values: list[bytes | None], headers: list[Headers] | None) -> RawRecords:
    offsets = np.arange(len(values))
    return RawRecords(offsets * 0, offsets, np.full(len(values), NOON_MS), [None] * len(values), values, headers)


def test_json_is_the_format_of_a_source_that_names_none() -> None:
    assert list(FORMATS) == ["json"]
    assert SOURCE.format == "json"
    batch, dead = EventDecoder(SOURCE, Visit).decode(records_of([b'{"at": 1700000000, "page": "a"}'], None))
    assert (batch.table.column("page").to_pylist(), dead) == (["a"], [])


def test_format_that_this_version_does_not_know_is_refused() -> None:
    with pytest.raises(PlanError, match="source 'visits' has the format 'avro'; this headrace reads json") as raised:
        EventDecoder(SOURCE.model_copy(update={"format": "avro"}), Visit)
    assert "headrace apply" in str(raised.value.hint)


def test_format_decides_by_headers_and_the_decoder_checks_what_holds_for_all() -> None:
    tabs: Headers = (("form", b"tabs"), ("trace", b"1"))
    values: list[bytes | None] = [b"1700000000\ta", b"?", b"1800000000\tfuture", b"1600000000\tb"]
    decoder = EventDecoder(SOURCE, Visit, TabSeparated())
    batch, dead = decoder.decode(records_of(values, [tabs, (("trace", b"2"),), tabs, tabs]))
    assert batch.offset.tolist() == [0, 3]
    assert batch.table.column("page") == pa.chunked_array([["a", "b"]])
    assert [(letter.offset, letter.reason.split(" is ")[0], letter.headers) for letter in dead] == [
        (1, "no tabs", (("trace", b"2"),)),
        (2, "2027-01-15T08:00:00Z", tabs),
    ]
