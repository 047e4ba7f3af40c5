"""CSV is read as its standard says, whole; what breaks it is named by row and line.

The oracle is Python's csv module.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.tabular.csv_file import BadRecord, CsvError, CsvFile, Dialect

Row = tuple[int, int, list[str | None]]

anyhow = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def read(
    path: Path, dialect: Dialect | None = None, *, window: int = 1 << 20
) -> tuple[list[str], list[Row], list[BadRecord]]:
    """Header, rows (number, line, values) and bad records of a file."""
    file = CsvFile(path, dialect or Dialect(), window=window)
    rows: list[Row] = []
    bad: list[BadRecord] = []
    count = 0
    for part in file.rows(range(len(file.columns))):
        values = [list(row.values()) for row in part.table.to_pylist()]
        rows += zip(part.rows.tolist(), part.lines.tolist(), values, strict=True)
        bad += part.bad
        count += part.read
    numbers = sorted([row for row, *_ in rows] + [one.row for one in bad])
    assert numbers == list(range(1, count + 1)), "every record is a row or a bad one, once"
    return file.columns, rows, bad


def written(tmp_path: Path, text: str | bytes, name: str = "x.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def oracle(text: str) -> list[list[str]] | None:
    """The records of a text by Python's csv module, without blank lines; None where it complains."""
    try:
        return [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error:
        return None


_value = st.text(st.sampled_from('ab",;\n\r \té'), max_size=6)


@pytest.mark.slow
@anyhow
@given(
    rows=st.lists(st.lists(_value, min_size=3, max_size=3), max_size=40),
    mark=st.sampled_from(["\n", "\r\n", "\r"]),
    always=st.booleans(),
    window=st.sampled_from([16, 64, 1 << 20]),
)
def test_what_csv_writes_reads_back_whole(
    tmp_path: Path, rows: list[list[str]], mark: str, always: bool, window: int
) -> None:
    out = io.StringIO(newline="")
    # Python's writer leaves a lone line break of another kind without quotes, which no reader can take for one.
    always = always or any(sign in value for row in rows for value in row for sign in "\r\n")
    writer = csv.writer(out, lineterminator=mark, quoting=csv.QUOTE_ALL if always else csv.QUOTE_MINIMAL)
    writer.writerows([["one", "two", "three"], *rows])
    header, found, bad = read(written(tmp_path, out.getvalue()), window=window)
    assert header == ["one", "two", "three"]
    assert bad == []
    assert [["" if value is None else value for value in values] for *_, values in found] == rows
    # The line of each is how many line breaks stand before it.
    sign, line = mark[-1], 2
    for (_, at, _), values in zip(found, rows, strict=True):
        assert at == line
        line += 1 + sum(value.count(sign) for value in values)
    assert line == out.getvalue().count(sign) + 1


@anyhow
@given(text=st.text(st.sampled_from('ab,,""\n\n\r'), max_size=60), window=st.sampled_from([16, 1 << 20]))
def test_any_text_is_read_as_the_standard_says_or_complained_of(tmp_path: Path, text: str, window: int) -> None:
    text = "a,b\n" + text
    _, found, bad = read(written(tmp_path, text), window=window)
    wanted = oracle(text)
    if wanted is None:
        assert bad
    elif not any("fields" not in one.reason for one in bad):
        good = [(row, values) for row, values in enumerate(wanted) if row and len(values) == 2]
        assert [(row, ["" if value is None else value for value in values]) for row, _, values in found] == good


def test_first_quote_may_stand_anywhere(tmp_path: Path) -> None:
    text = "a,b\n" + "plain,1\n" * 50_000 + '"5"" pipe, long",2\n"two\nlines",3\n'
    _, found, bad = read(written(tmp_path, text))
    assert bad == []
    assert found[-2:] == [(50_001, 50_002, ['5" pipe, long', "2"]), (50_002, 50_003, ["two\nlines", "3"])]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('a 5" pipe,1', "within a field"),
        ('"a" b,1', "follows the closing quote"),
        ('"a,1', "not closed"),
        ("a\rb,1", "carriage return"),
        ("a,1,2", "it has 3 fields, and the header has 2"),
        ("a", "it has 1 field, and the header has 2"),
        (" ", "it has 1 field, and the header has 2"),
    ],
)
def test_line_that_breaks_the_standard_is_named_and_the_others_are_read(tmp_path: Path, line: str, reason: str) -> None:
    path = written(tmp_path, f'a,b\nx,1\n"y\ny",2\n{line}\nz,3\n')
    _, found, bad = read(path)
    assert [(row, at, values) for row, at, values in found] == [
        (1, 2, ["x", "1"]),
        (2, 3, ["y\ny", "2"]),
        (4, 6, ["z", "3"]),
    ]
    assert [(one.row, one.line, one.column, one.text) for one in bad] == [(3, 5, None, line)]
    assert reason in bad[0].reason


def test_thousands_of_faults_cost_little(tmp_path: Path) -> None:
    text = "a,b\n" + 'x 5" pipe,1\ny,2\n' * 5_000
    _, found, bad = read(written(tmp_path, text))
    assert [row for row, *_ in found] == list(range(2, 10_001, 2))
    assert [one.line for one in bad] == list(range(2, 10_001, 2))


def test_nothing_is_null_and_an_empty_text_in_quotes_is_a_text(tmp_path: Path) -> None:
    path = written(tmp_path, 'a,b\n,""\n\\N,"\\N"\n')
    assert [values for *_, values in read(path)[1]] == [[None, ""], ["\\N", "\\N"]]
    assert [values for *_, values in read(path, Dialect(null="\\N"))[1]] == [[None, ""], [None, "\\N"]]


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        ("a;b\n1,5;x\n", Dialect()),
        ("a\tb\n1,5\tx\n", Dialect()),
        ("a|b\n1,5|x\n", Dialect()),
        ("a:b\n1,5:x\n", Dialect(delimiter=":")),
        ("a;b\n'1,5';x\n", Dialect(quote="'")),
        ('a,b\n"1,5","x"\n', Dialect(escape="\\")),
        ("a,b\n1\\,5,x\n", Dialect(escape="\\", quote=None)),
        ('a,b\n"1,5",x\n\n\r\n', Dialect()),
        ('\ufeffa,b\r\n"1,5",x', Dialect()),
    ],
)
def test_dialects(tmp_path: Path, text: str, dialect: Dialect) -> None:
    header, found, bad = read(written(tmp_path, text), dialect)
    assert (header, [values for *_, values in found], bad) == (["a", "b"], [["1,5", "x"]], [])


def test_escaped_quotes_are_read_where_the_dialect_says_so(tmp_path: Path) -> None:
    path = written(tmp_path, 'a,b\n"5\\" pipe, \\\\",1\n')
    assert read(path, Dialect(escape="\\"))[1] == [(1, 2, ['5" pipe, \\', "1"])]
    assert "follows the closing quote" in read(path)[2][0].reason


def test_quote_is_a_character_where_nothing_is_quoted(tmp_path: Path) -> None:
    assert read(written(tmp_path, 'a,b\n5" pipe,"x\n'), Dialect(quote=None))[1] == [(1, 2, ['5" pipe', '"x'])]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "latin-1"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path, 'naïve,b\r\n"é, ü",x\r\n'.encode(encoding))
    known = Dialect() if encoding in ("utf-8", "utf-8-sig", "utf-16") else Dialect(encoding=encoding)
    assert read(path, known) == (["naïve", "b"], [(1, 2, ["é, ü", "x"])], [])


def test_value_that_is_no_utf8_costs_its_row(tmp_path: Path) -> None:
    _, found, bad = read(written(tmp_path, b"a,b\nx,1\ncaf\xe9,2\nz,3\n"))
    assert [row for row, *_ in found] == [1, 3]
    assert [(one.row, one.line, one.column) for one in bad] == [(2, 3, "a")]
    assert "byte 0xe9" in bad[0].reason
    assert "--encoding cp1252" in bad[0].reason


@pytest.mark.parametrize("name", ["x.csv.gz", "x.csv.zst", "x.csv.bz2", "x.csv.xz", "X.CSV.GZ"])
def test_compressed_files(tmp_path: Path, name: str) -> None:
    text = b'a,b\n"x\nx",1\n'
    whole = text + b"y,2\n"
    packed: bytes = {
        "gz": gzip.compress(text) + gzip.compress(b"y,2\n"),
        "zst": pa.compress(whole, codec="zstd", asbytes=True),
        "bz2": bz2.compress(whole),
        "xz": lzma.compress(whole),
    }[name.lower().rpartition(".")[2]]
    path = written(tmp_path, packed, name)
    assert [values for *_, values in read(path)[1]] == [["x\nx", "1"], ["y", "2"]]
    path.write_bytes(packed[:-3])
    with pytest.raises(CsvError, match="cannot be read"):
        read(path)


def test_header_alone_has_no_rows(tmp_path: Path) -> None:
    for text in ("a,b", "a,b\n", "a,b\r", "a,b\r\n\r\n"):
        assert read(written(tmp_path, text)) == (["a", "b"], [], [])


@pytest.mark.parametrize(
    ("text", "dialect", "message"),
    [
        (b"", Dialect(), "is empty"),
        (b"\n\n", Dialect(), "is empty"),
        (b'a "b",c\n', Dialect(), "header of .* cannot be read: a quote"),
        (b"a;b\tc\n", Dialect(), "may be the delimiter"),
        ("a,b\n".encode("utf-16-le"), Dialect(), "header of .* is no text in utf-8"),
        (b"a,b\n\x81,1\n", Dialect(encoding="cp1252"), "not encoded in cp1252"),
        (b"a,b\n", Dialect(encoding="utf-99"), "no encoding 'utf-99'"),
    ],
)
def test_file_that_cannot_be_read_is_refused(tmp_path: Path, text: bytes, dialect: Dialect, message: str) -> None:
    with pytest.raises(CsvError, match=message):
        read(written(tmp_path, text), dialect)


@pytest.mark.parametrize(
    "signs", [{"delimiter": ""}, {"delimiter": "||"}, {"quote": "é"}, {"delimiter": '"'}, {"escape": '"'}]
)
def test_dialect_that_cannot_be_is_refused(signs: dict[str, str]) -> None:
    with pytest.raises(CsvError):
        Dialect(**signs)
