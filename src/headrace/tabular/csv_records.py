"""Where the records and fields of a CSV file end, and where it breaks the standard.

    a,"b ""c"", d",e    quotes around a field; inside them a quote is written twice, and every other byte is allowed
    a "b",c             refused: a quote within a field that does not begin with one
    "a"b,c              refused: text after the closing quote

A byte is inside quotes where the number of quotes before it is odd. So numpy can read a whole window of bytes at once.
This is true while each quote is where the standard allows one. At the first other quote, its record is reported as
broken, and reading continues with the line after the one where that record began.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headrace.events.columns import BoolArray, IntArray
from headrace.tabular.csv_encoding import CsvError

__all__ = ["WINDOW", "Broken", "Dialect", "Records", "Splitter"]

_LF, _CR = 10, 13
WINDOW = 4 << 20
"""How many bytes are read together."""

_LONGEST = 64 << 20
"""The longest record. A longer one is taken for a quote that is not closed."""

_WITHIN = 'a quote (") is within a field that does not begin with one'
_BEHIND = "text follows the closing quote of a field"
_UNCLOSED = "a quote opens a field here and is not closed as it should be"
_RETURN = "a carriage return is outside quotes, and lines end otherwise"


@dataclass(frozen=True, kw_only=True)
class Dialect:
    r"""How a CSV file is written, where it is not as the standard says.

    Attributes:
        delimiter: The character between fields; None is the comma where the header has one, else the only one of ``;``,
            tab and ``|`` that it has.
        quote: The character around fields; None where a quote is a character like others.
        escape: The character before a quote inside quotes, where that is not another quote.
        encoding: The encoding of its text. A byte order mark is left out.
        null: The text that means no value (``\N``, ``NULL``). An empty field means it too.

    Raises:
        CsvError: One of these characters is not valid, or two are the same.
    """

    delimiter: str | None = None
    quote: str | None = '"'
    escape: str | None = None
    encoding: str = "utf-8"
    null: str | None = None

    def __post_init__(self) -> None:
        for name, sign in (("delimiter", self.delimiter), ("quote", self.quote), ("escape", self.escape)):
            if sign is not None and (len(sign) != 1 or not sign.isascii() or sign in "\r\n\0"):
                msg = f"The {name} of a CSV file cannot be {sign!r}."
                raise CsvError(msg, "Give one ASCII character.")
        signs = [sign for sign in (self.delimiter, self.quote, self.escape) if sign is not None]
        if len(set(signs)) != len(signs):
            msg = "The delimiter, the quote and the escape of a CSV file must differ."
            raise CsvError(msg, "Give no escape where a quote within quotes is written twice.")


class Broken(NamedTuple):
    """A line that breaks the standard.

    Attributes:
        line: Its number, from 1.
        reason: What is wrong.
        text: The line.
    """

    line: int
    reason: str
    text: bytes


class Records(NamedTuple):
    """Consecutive records, and the broken lines among them.

    Attributes:
        data: Their bytes.
        starts: Where each begins.
        ends: Where the line break after each is.
        fields: How many fields each has.
        lines: The line that each begins on, from 1.
        broken: The lines among them that break the standard.
    """

    data: bytes
    starts: IntArray
    ends: IntArray
    fields: IntArray
    lines: IntArray
    broken: list[Broken]

    def text(self, at: int) -> bytes:
        """The bytes of one record."""
        return self.data[self.starts[at] : self.ends[at] + 1]

    def bytes_of(self, kept: BoolArray) -> bytes:
        """The bytes of some records, one after the other."""
        if kept.all() and len(kept) and not self.broken:
            return self.data[self.starts[0] : self.ends[-1] + 1]
        chosen = np.flatnonzero(kept).tolist()
        return b"".join([self.data[self.starts[at] : self.ends[at] + 1] for at in chosen])


class Splitter:
    """Splits bytes into records.

    Args:
        dialect: How they are written.
        is_tabs: Whether fields are separated by tabs, where the dialect does not say.
        window: How many bytes to read together. After a broken line it is a small part of that, and grows again.
    """

    def __init__(self, dialect: Dialect, *, is_tabs: bool = False, window: int = WINDOW) -> None:
        self._window, self._smallest = window, max(window // 64, 8)
        given = dialect.delimiter if dialect.delimiter is not None or not is_tabs else "\t"
        self._delimiter = None if given is None else ord(given)
        self._quote = None if dialect.quote is None else ord(dialect.quote)
        self._escape = None if dialect.escape is None else ord(dialect.escape)
        self._break: int | None = None
        self._forms: tuple[re.Pattern[bytes], ...] | None = None

    @property
    def delimiter(self) -> str:
        """The character between fields."""
        return chr(self._delimiter or ord(","))

    def records(self, chunks: Iterator[bytes]) -> Iterator[Records]:
        """Every record, in order. Only blank lines are between them.

        Args:
            chunks: The bytes of a file from its beginning, in UTF-8.
        """
        data, at, line, size, is_all, is_clean = b"", 0, 1, self._window, False, True
        while True:
            while not is_all and len(data) - at < size:
                chunk = next(chunks, None)
                is_all = chunk is None
                data, at = data[at:] + (chunk or b""), 0
            if at == len(data):
                return
            window = data[at : at + size]
            if is_all and len(window) == len(data) - at:
                window = self._ended(window)
            found, used = (None, 0) if is_clean else self._by_line(window, line)
            if not used:
                found, used = self._split(
                    window, line, is_end=is_all and at + size >= len(data), is_full=size >= _LONGEST
                )
            if found is None:
                size *= 2
                continue
            if len(found.starts) or found.broken:
                yield found
            line += window.count(self._break or _LF, 0, used)
            at = min(at + used, len(data))
            is_clean = not found.broken
            size = max(min(size * 2, self._window), self._smallest) if is_clean else self._smallest

    def _split(self, window: bytes, line: int, *, is_end: bool, is_full: bool) -> tuple[Records | None, int]:
        """The whole records at the beginning of a window, and their bytes; None where more bytes are needed."""
        chars = np.frombuffer(window, np.uint8)
        quotes, is_plain = self._signs(chars)
        if not self._settle(chars, is_plain, is_whole=is_end or is_full):
            return None, 0
        breaks = np.flatnonzero(chars == self._break)
        ends = breaks if is_plain is None else breaks[is_plain[breaks]]
        fault = self._first_fault(chars, quotes, is_plain)
        if fault is None and is_end and len(quotes) % 2:
            fault = int(quotes[-1]), _UNCLOSED
        if fault is None and is_full and not len(ends):
            fault = 0, _UNCLOSED
        used = int(ends[-1]) + 1 if len(ends) else 0
        broken: list[Broken] = []
        if fault is not None:
            where, why = fault
            before = int(np.searchsorted(ends, where))
            start = int(ends[before - 1]) + 1 if before else 0
            behind = int(np.searchsorted(breaks, start))
            if behind == len(breaks) and not (is_end or is_full):
                return None, 0
            used = int(breaks[behind]) + 1 if behind < len(breaks) else len(window)
            broken.append(Broken(line + behind, _UNCLOSED if where >= used else why, window[start:used]))
            ends = ends[:before]
        elif not used:
            return None, 0
        return self._laid_out(window, chars, ends, breaks, is_plain, line, broken), used

    def _by_line(self, window: bytes, line: int) -> tuple[Records | None, int]:
        """The same, line by line, for windows with many faults. It ends at the first line that needs the next one."""
        if self._quote is None or self._escape is not None or self._break != _LF:
            return None, 0
        forms = self._forms or _line_forms(self.delimiter, chr(self._quote))
        self._forms = forms
        whole, within, behind, quoted = forms
        records: list[tuple[int, int, int, int]] = []
        broken: list[Broken] = []
        start = 0
        while (end := window.find(b"\n", start)) >= 0:
            text = window[start : end + 1]
            if whole.fullmatch(text):
                if text not in (b"\n", b"\r\n"):
                    fields = quoted.sub(b"", text).count(self.delimiter.encode()) + 1
                    records.append((start, end, fields, line))
            elif within.match(text):
                broken.append(Broken(line, _WITHIN, text))
            elif behind.match(text):
                broken.append(Broken(line, _BEHIND, text))
            else:
                break
            start, line = end + 1, line + 1
        starts, ends, counts, lines = np.array(records, np.int64).reshape(-1, 4).T
        return Records(window, starts, ends, counts, lines, broken), start

    def _laid_out(
        self,
        window: bytes,
        chars: NDArray[np.uint8],
        ends: IntArray,
        breaks: IntArray,
        is_plain: BoolArray | None,
        line: int,
        broken: list[Broken],
    ) -> Records:
        starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1]) if len(ends) else ends
        delimiters = np.flatnonzero(chars == (self._delimiter or ord(",")))
        if is_plain is not None:
            delimiters = delimiters[is_plain[delimiters]]
        fields = np.diff(np.searchsorted(delimiters, ends), prepend=0) + 1
        lines = line + np.searchsorted(breaks, starts)
        length = ends - starts
        is_blank = (length == 0) | ((length == 1) & (chars[starts] == _CR))
        if is_blank.any():
            starts, ends, fields, lines = (part[~is_blank] for part in (starts, ends, fields, lines))
        return Records(window, starts, ends, fields, lines, broken)

    def _signs(self, chars: NDArray[np.uint8]) -> tuple[IntArray, BoolArray | None]:
        """The positions of quotes, and which bytes are outside quotes and not escaped; None is all of them."""
        is_escaped = None if self._escape is None else _escaped(chars == self._escape)
        if self._quote is None:
            return np.empty(0, np.int64), None if is_escaped is None else ~is_escaped
        is_quote = chars == self._quote
        if is_escaped is not None:
            is_quote &= ~is_escaped
        elif not is_quote.any():
            return np.empty(0, np.int64), None
        is_plain = np.cumsum(is_quote, dtype=np.uint8) & 1 == 0
        if is_escaped is not None:
            is_plain &= ~is_escaped
        return np.flatnonzero(is_quote), is_plain

    def _ended(self, window: bytes) -> bytes:
        """The end of the file, with a line break at its end."""
        if self._break is None and window.endswith(b"\r"):
            return window  # a file of a header alone
        mark = b"\r" if self._break == _CR else b"\n"
        return window if window.endswith(mark) else window + mark

    def _settle(self, chars: NDArray[np.uint8], is_plain: BoolArray | None, *, is_whole: bool) -> bool:
        """Learn from the first record how lines end, and the delimiter where it is not given. True once it is whole."""
        if self._break is None:
            ends = np.flatnonzero((chars == _LF) | (chars == _CR))
            ends = ends if is_plain is None else ends[is_plain[ends]]
            if not is_whole and (not len(ends) or ends[0] == len(chars) - 1):
                return False
            first = int(ends[0]) if len(ends) else len(chars)
            mark = chars[first : first + 2].tobytes()
            self._break = _CR if mark.startswith(b"\r") and mark != b"\r\n" else _LF
            header = chars[:first] if is_plain is None else chars[:first][is_plain[:first]]
            if self._delimiter is None:
                self._delimiter = _found(header.tobytes())
        return True

    def _first_fault(
        self, chars: NDArray[np.uint8], quotes: IntArray, is_plain: BoolArray | None
    ) -> tuple[int, str] | None:
        faults: list[tuple[int, str]] = []
        separates = np.zeros(256, np.bool_)
        separates[[_LF, _CR, self._delimiter or ord(",")]] = True
        if len(quotes):
            # A quote inside quotes is written twice: the first closes, the second opens again.
            is_doubled = np.diff(quotes) == 1
            opens = (
                quotes[2::2][~is_doubled[1::2]] if quotes[0] == 0 else quotes[::2][~np.append(False, is_doubled[1::2])]
            )
            closes = quotes[1::2][~np.append(is_doubled[1::2], False)[: len(quotes) // 2]]
            closes = closes[closes < len(chars) - 1]
            stray = opens[~separates[chars[opens - 1]]]
            faults += [(int(stray[0]), _WITHIN)] if len(stray) else []
            stray = closes[~separates[chars[closes + 1]]]
            faults += [(int(stray[0]), _BEHIND)] if len(stray) else []
        other = _CR if self._break == _LF else _LF
        returns = np.flatnonzero(chars[:-1] == other)
        returns = returns if is_plain is None else returns[is_plain[returns]]
        if other == _CR:
            returns = returns[chars[returns + 1] != _LF]
        faults += [(int(returns[0]), _RETURN)] if len(returns) else []
        return min(faults, default=None)


def _line_forms(delimiter: str, quote: str) -> tuple[re.Pattern[bytes], ...]:
    """Patterns: a line that is a whole record; a quote within a field; text after a closing quote; text in quotes."""
    d, q = re.escape(delimiter), re.escape(quote)
    in_quotes = f"{q}(?:[^{q}\\r\\n]|{q}{q})*+{q}"
    field = f"(?:{in_quotes}|[^{d}{q}\\r\\n]*+)"
    before = f"(?:{field}{d})*+"
    forms = (
        f"{before}{field}\\r?\\n",
        f"{before}[^{d}{q}\\r\\n]++{q}",
        f"{before}{in_quotes}[^{d}{q}\\r\\n]",
        in_quotes,
    )
    return tuple(re.compile(form.encode()) for form in forms)


def _escaped(is_escape: BoolArray) -> BoolArray:
    """Which bytes are escaped: those after an odd number of escapes in a row, and every second escape in the row."""
    place = np.arange(len(is_escape))
    # Where the run of escapes that ends before each byte begins.
    last_other = np.maximum.accumulate(np.where(is_escape, -1, place))
    run = np.zeros(len(is_escape), np.int64)
    run[1:] = (place - last_other)[:-1]
    found: BoolArray = run % 2 == 1
    return found


def _found(header: bytes) -> int:
    """The delimiter of a header without its quoted text."""
    if b"," in header:
        return ord(",")
    others = [sign for sign in ";\t|" if sign.encode() in header]
    if len(others) > 1:
        msg = f"The header has {' and '.join(map(repr, others))}, and either may be the delimiter."
        raise CsvError(msg, "Say which it is: --delimiter ';'.")
    return ord(others[0]) if others else ord(",")
