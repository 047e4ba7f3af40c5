"""Reading CSV strictly by its standard (RFC 4180), record by record. Nothing is guessed from a sample.

A vectorised pass over the bytes (`tabular.csv_records`) finds the ends of records and fields, and checks that every
quote is where the standard allows one. So Arrow's parser, which is fast and accepts everything, gets only records with
one meaning. A record that breaks the standard is reported with its row and line, and reading continues with the next
line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv

from headrace.events.columns import IntArray
from headrace.tabular.csv_encoding import COMPRESSED, CsvError, utf8_chunks
from headrace.tabular.csv_records import WINDOW, Dialect, Records, Splitter

__all__ = ["CSV_ENDINGS", "BadRecord", "CsvError", "CsvFile", "CsvRows", "Dialect"]

CSV_ENDINGS = tuple(f"{kind}{packed}" for kind in (".csv", ".tsv") for packed in ("", *COMPRESSED))
"""The endings of the names of files that are read here."""

_SHOWN = 2_000


class BadRecord(NamedTuple):
    """A record that cannot be read.

    Attributes:
        row: Its number, from 1, the header not counted.
        line: The line it begins on, from 1.
        column: The name of the column that is wrong; None where it is the whole row.
        reason: What is wrong.
        text: The text of the record, cut where it is long.
    """

    row: int
    line: int
    column: str | None
    reason: str
    text: str

    def __str__(self) -> str:
        return f"line {self.line:,} (row {self.row:,}), {self.column or 'the whole row'}: {self.reason}"


class CsvRows(NamedTuple):
    """Some records of a file.

    Attributes:
        table: The requested columns, as texts, in the requested order; null where nothing is written, an empty text
            where `""` is.
        rows: The number of each, from 1, the header not counted.
        lines: The line that each begins on, from 1.
        bad: The records that cannot be read.
        read: How many records there were, good and bad.
    """

    table: pa.Table
    rows: IntArray
    lines: IntArray
    bad: list[BadRecord]
    read: int


class CsvFile:
    """A CSV file with a header, plain or compressed. Blank lines are skipped.

    Args:
        path: The file.
        dialect: How it is written.
        window: How many bytes to read together.

    Raises:
        CsvError: It cannot be read, is empty, or its header breaks the standard.
    """

    def __init__(self, path: str | Path, dialect: Dialect, *, window: int = WINDOW) -> None:
        self.path = str(path)
        self._dialect = dialect
        is_tabs = any(self.path.lower().endswith(f".tsv{one}") for one in ("", *COMPRESSED))
        self._splitter = Splitter(dialect, is_tabs=is_tabs, window=window)
        self.columns = self._header()

    @property
    def delimiter(self) -> str:
        """The character between its fields."""
        return self._splitter.delimiter

    def rows(self, wanted: Sequence[int]) -> Iterator[CsvRows]:
        """The records after the header, in order.

        Args:
            wanted: The columns to read, by number from 0.

        Raises:
            CsvError: The file cannot be read, or is not of its encoding.
        """
        row = 0  # of the header
        for records in self._splitter.records(utf8_chunks(self.path, self._dialect.encoding)):
            broken_lines = np.array([one.line for one in records.broken], np.int64)
            rows = row + np.arange(len(records.starts)) + np.searchsorted(broken_lines, records.lines)
            broken_rows = row + np.arange(len(broken_lines)) + np.searchsorted(records.lines, broken_lines)
            fits = (rows > 0) & (records.fields == len(self.columns))
            bad = [self._ragged(records, at, int(rows[at])) for at in np.flatnonzero((rows > 0) & ~fits).tolist()]
            bad += [
                BadRecord(number, one.line, None, one.reason, _shown(one.text))
                for number, one in zip(broken_rows.tolist(), records.broken, strict=True)
            ]
            good, lines = rows[fits], records.lines[fits]
            table, no_text = self._texts(self._parsed(records.bytes_of(fits), wanted), good, lines)
            if no_text:
                is_text = ~np.isin(good, [one.row for one in no_text])
                table, good, lines = table.filter(pa.array(is_text)), good[is_text], lines[is_text]
            read = len(rows) + len(broken_rows)
            yield CsvRows(table, good, lines, sorted(bad + no_text), read - (row == 0))
            row += read

    def _header(self) -> list[str]:
        first = next((one for one in self._splitter.records(utf8_chunks(self.path, self._dialect.encoding))), None)
        if first is None:
            msg = f"{self.path} is empty."
            raise CsvError(msg, "Give a file that begins with a header: the names of its columns.")
        if not len(first.starts) or (first.broken and first.broken[0].line < first.lines[0]):
            why = first.broken[0].reason if first.broken else "it is too long"
            msg = f"The header of {self.path} cannot be read: {why}."
            raise CsvError(msg, "Write the columns' names in the first line, by the rules of CSV (RFC 4180).")
        one = np.zeros(len(first.starts), np.bool_)
        one[0] = True
        table = self._parse(first.bytes_of(one), [str(n) for n in range(int(first.fields[0]))], None)
        try:
            names = [column[0].as_py().decode() for column in table.columns]
        except UnicodeDecodeError:
            names = ["\0"]
        if any("\0" in name for name in names):
            msg = f"The header of {self.path} is no text in {self._dialect.encoding}."
            raise CsvError(msg, "Say what it is encoded in: --encoding utf-16, or cp1252.")
        return names

    def _ragged(self, records: Records, at: int, row: int) -> BadRecord:
        fields, wanted = int(records.fields[at]), len(self.columns)
        why = f"it has {fields:,} field{'s' * (fields != 1)}, and the header has {wanted:,}"
        return BadRecord(row, int(records.lines[at]), None, why, _shown(records.text(at)))

    def _parsed(self, good: bytes, wanted: Sequence[int]) -> pa.Table:
        if not good:
            return pa.table({str(n): pa.array([], pa.binary()) for n in wanted})
        return self._parse(good, [str(n) for n in range(len(self.columns))], [str(n) for n in wanted])

    def _parse(self, good: bytes, names: list[str], wanted: list[str] | None) -> pa.Table:
        dialect = self._dialect
        return pcsv.read_csv(
            pa.BufferReader(good),
            read_options=pcsv.ReadOptions(column_names=names, use_threads=False, block_size=len(good) + 1),
            parse_options=pcsv.ParseOptions(
                delimiter=self._splitter.delimiter,
                quote_char=dialect.quote or False,
                double_quote=True,
                escape_char=dialect.escape or False,
                newlines_in_values=True,
            ),
            convert_options=pcsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.binary()),
                include_columns=wanted,
                strings_can_be_null=wanted is not None,
                null_values=["", *([dialect.null] if dialect.null is not None else [])],
                quoted_strings_can_be_null=False,
                check_utf8=False,
            ),
        )

    def _texts(self, table: pa.Table, rows: IntArray, lines: IntArray) -> tuple[pa.Table, list[BadRecord]]:
        """The table as texts, and the records with bytes that are no text, which are null in the table."""
        bad: dict[int, BadRecord] = {}
        columns: list[pa.ChunkedArray] = []
        for name, column in zip(table.column_names, table.columns, strict=True):
            try:
                columns.append(column.cast(pa.string()))
                continue
            except pa.ArrowInvalid:
                texts: list[str | None] = []
            for at, value in enumerate(column.to_pylist()):
                try:
                    texts.append(None if value is None else value.decode())
                except UnicodeDecodeError as error:
                    texts.append(None)
                    byte = error.object[error.start]
                    why = (
                        f"byte 0x{byte:02x} is no text in UTF-8; if the file is encoded in another way, "
                        "say --encoding cp1252 (or latin-1 …)"
                    )
                    bad.setdefault(
                        at, BadRecord(int(rows[at]), int(lines[at]), self.columns[int(name)], why, repr(value[:200]))
                    )
            columns.append(pa.chunked_array([pa.array(texts, pa.string())]))
        return pa.table(columns, names=table.column_names), list(bad.values())


def _shown(text: bytes) -> str:
    return text[:_SHOWN].decode("utf-8", "replace").rstrip("\r\n")
