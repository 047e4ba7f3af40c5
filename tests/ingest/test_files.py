"""Files as people have them: every row is an event or a bad row, and times of all kinds are read or refused by name."""

from __future__ import annotations

import csv
import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from headrace.cli import app
from headrace.errors import IngestError
from headrace.ingest import Origin, import_history
from headrace.log import EventLog
from headrace.plan import Column, DType
from headrace.tabular.csv_file import Dialect
from headrace.tabular.time_columns import TimeReader
from tests.ingest.conftest import MODEL, SOURCE, START, Sale, Shop, brute_force, same, shop_at, table_of

runner = CliRunner(env={"COLUMNS": "400", "NO_COLOR": "1", "TERM": "dumb"})
HEADER = "shop,sold_at,price,pieces"


def put(shop: Shop, text: str | bytes, name: str = "sales.csv") -> str:
    path = shop.project.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def values(shop: Shop, name: str) -> list[Any]:
    return [value for batch in shop.log.scan() for value in batch.column(name).to_pylist()]


def run(shop: Shop, *words: str) -> tuple[int, str]:
    done = runner.invoke(app, ["import", "sales", *words, "--project", str(shop.project.root)])
    return done.exit_code, done.output if "--json" in words else " ".join(done.output.split())


# --- rows


def test_first_quote_of_a_large_file_may_stand_anywhere(shop: Shop) -> None:
    path = Path(put(shop, ""))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["shop", "sold_at", "price", "coupon"])
        writer.writerows([["a", "2013-01-01T00:00:00Z", 1, "plain"]] * 25_000)
        writer.writerow(['b"2', "2013-01-01T00:01:00Z", 2, '5" pipe, long\nand more'])
    done = shop.load(str(path))
    assert (done.rows, done.events, done.bad) == (25_001, 25_001, 0)
    assert values(shop, "coupon")[-1] == '5" pipe, long\nand more'
    (found,) = shop.online(['b"2'], 1)
    assert found["shops__pieces_ever"] == 1


def test_rows_are_events_and_bad_rows_with_line_and_reason(shop: Shop) -> None:
    text = (
        f"{HEADER}\n"
        'a,2013-01-01T00:00:00Z,1,"1\n"\n'  # line 2 and 3
        "a,2013-01-01T00:01:00Z,1\n"
        'a 5" b,2013-01-01T00:02:00Z,1,1\n'
        "\n"
        "a,2013-01-01T00:03:00Z,1,1\n"
        "caf\xe9,2013-01-01T00:04:00Z,1,1\n"
        "a,2013-01-01T00:05:00Z,x,1\n"
    )
    done = shop.load(put(shop, text.encode("latin-1")), skip_bad=True)
    assert (done.rows, done.events, done.bad, done.logged) == (6, 2, 4, 2)
    rows = [json.loads(line) for line in Path(done.bad_file or "").read_text().splitlines()]
    assert [(row["row"], row["line"], row["field"]) for row in rows] == [
        (2, 4, None),
        (3, 5, None),
        (5, 8, "shop"),
        (6, 9, "price"),
    ]
    assert "it has 3 fields, and the header has 4" in rows[0]["reason"]
    assert "a quote" in rows[1]["reason"]
    assert "--encoding" in rows[2]["reason"]
    with pytest.raises(IngestError) as refused:
        shop.load(put(shop, text.encode("latin-1"), "again.csv"))
    assert "4 of 6 rows cannot be imported" in str(refused.value)
    assert "line 4 (row 2), the whole row: it has 3 fields" in str(refused.value)
    assert "disk" not in str(refused.value)


def test_dialect_is_the_one_declared(shop: Shop) -> None:
    path = put(shop, "shop;sold_at;price;coupon\n'caf\xe9';2013-01-01 00:00:00;1;NULL\n".encode("cp1252"))
    words = ["--quote", "'", "--encoding", "cp1252", "--zone", "UTC", "--null", "NULL", "--json"]
    code, said = run(shop, "--from", path, *words)
    assert code == 0, said
    assert (values(shop, "shop"), values(shop, "coupon")) == (["café"], [None])
    code, said = run(shop, "--from", path, "--delimiter", ";;")
    assert (code, "Give one ASCII character" in said) == (1, True)
    assert "Europe/Berlin" in run(shop, "--from", path, "--zone", "Mars")[1]
    assert "s, ms, us, ns" in run(shop, "--from", path, "--epoch", "days")[1]


@pytest.mark.parametrize("quoted", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_empty_text_in_quotes_is_a_text_and_else_nothing(shop: Shop, quoted: int) -> None:
    text = f'{HEADER},coupon\n"a","2013-01-01T00:00:00Z","1","",""\na,2013-01-01T00:01:00Z,1,,\n'
    shop.load(put(shop, text))
    assert values(shop, "pieces") == [1, 1]
    assert values(shop, "coupon") == ["", None]


def test_file_with_a_header_alone_has_no_event(shop: Shop) -> None:
    with pytest.raises(IngestError, match="There is no event to import"):
        shop.load(put(shop, HEADER))
    with pytest.raises(IngestError, match=r"sales\.csv is empty"):
        shop.load(put(shop, ""))


def test_file_that_is_not_what_it_says_is_named_and_the_state_folder_is_not(shop: Shop) -> None:
    for name in ("sales.csv.gz", "sales.csv.zst"):
        with pytest.raises(IngestError, match=rf"{name} cannot be read") as refused:
            shop.load(put(shop, f"{HEADER}\na,2013-01-01T00:00:00Z,1,1\n", name))
        assert "disk" not in str(refused.value)


# --- columns and fields


def test_columns_without_a_field_and_fields_without_a_column_are_said(shop: Shop) -> None:
    path = put(shop, "shop,sold_at,Price,sale-id,color\na,2013-01-01T00:00:00Z,1,x,red\n")
    with pytest.raises(
        IngestError, match=r"(?s)no column 'price'.*Did you mean --map price=Price --map sale_id=sale-id"
    ):
        shop.load(path)
    code, said = run(shop, "--from", path, "--map", "price=Price", "--dry-run")
    assert code == 0, said
    assert "no column for pieces, coupon, sale_id" in said
    assert "no field for the columns 'sale-id', color" in said
    assert "Did you mean --map sale_id=sale-id?" in said
    code, said = run(shop, "--from", path, "--map", "price=Price", "--json")
    (unmatched,) = json.loads(said)["unmatched"]
    assert unmatched == {
        "part": path,
        "columns": ["sale-id", "color"],
        "fields": ["pieces", "coupon", "sale_id"],
        "hints": ["--map sale_id=sale-id"],
    }


@pytest.mark.parametrize("column", ["COUPON", " coupon ", "tbl.coupon", "Coupon", "coupom", "sales_coupon"])
def test_column_that_looks_like_a_field_is_offered(shop: Shop, column: str) -> None:
    path = put(shop, f'shop,sold_at,price,pieces,sale_id,"{column}"\na,2013-01-01T00:00:00Z,1,1,x,y\n')
    done = shop.load(path, dry_run=True)
    (said,) = done.unmatched
    assert said.hints in ((f"--map coupon={column}",), (f"--map 'coupon={column}'",))


def test_same_columns_in_many_files_are_said_once_and_others_by_file(shop: Shop) -> None:
    text = "shop,sold_at,price,extra\na,2013-01-01T00:00:00Z,1,x\n"
    put(shop, text, "a.csv")
    put(shop, text.replace(":00Z", ":01Z"), "b.csv")
    put(shop, text.replace(":00Z", ":02Z").replace("extra", "other"), "c.csv")
    done = shop.load(str(shop.project.root / "?.csv"), dry_run=True)
    assert [(Path(one.part).name, one.columns) for one in done.unmatched] == [
        ("a.csv", ("extra",)),
        ("c.csv", ("other",)),
    ]


def test_folders_of_a_path_are_columns(shop: Shop) -> None:
    put(shop, "sold_at,price\n2013-01-01T00:00:00Z,1\n", "h/shop=a%20b/coupon=x/part-0.csv")
    put(shop, "sold_at,price\n2013-01-01T00:00:00Z,1\n", "h/shop=007/coupon=__HIVE_DEFAULT_PARTITION__/part-0.csv")
    pq.write_table(table_of([Sale("z", 1)]).drop_columns(["shop"]), shop.project.root / "h/shop=a%20b/part.parquet")
    done = shop.load(str(shop.project.root / "h" / "**" / "*.*"))
    assert done.events == 3
    found = zip(values(shop, "shop"), values(shop, "coupon"), strict=True)
    assert set(found) == {("007", None), ("a b", "x"), ("a b", None)}


def test_column_that_is_there_twice_is_refused_only_where_it_is_needed(shop: Shop) -> None:
    path = put(shop, "shop,sold_at,price,x,x\na,2013-01-01T00:00:00Z,1,1,2\n")
    assert shop.load(path, dry_run=True).events == 1
    with pytest.raises(IngestError, match="more than one column called 'x'"):
        shop.load(path, mapped={"coupon": "x"})


# --- times


@pytest.mark.parametrize(
    ("written", "how"),
    [
        ("2013-01-01 00:00:00+00", TimeReader()),
        ("2013-01-01T00:00:00.000Z", TimeReader()),
        ("2013-01-01 00:00:00 UTC", TimeReader()),
        ("1356998400", TimeReader()),
        ("1356998400000", TimeReader()),
        ("1356998400000000", TimeReader(unit="us")),
        ("1356998400000000000", TimeReader(unit="ns")),
        ("2013-01-01", TimeReader(zone=UTC)),
        ("2013-01-01 00:00:00", TimeReader(zone=UTC)),
    ],
)
def test_times_that_databases_write_are_read(shop: Shop, written: str, how: TimeReader) -> None:
    shop.load(put(shop, f"{HEADER},seen\na,{written},1,1,{written}\n"), moments=how, known_at="seen")
    assert values(shop, "sold_at") == [START]
    assert values(shop, "_known_at_us") == [1_356_998_400_000_000]


@pytest.mark.parametrize(
    ("written", "what_to_do"),
    [
        ("2013-01-01 00:00:00", "--zone UTC"),
        ("2013-01-01", "--zone UTC"),
        ("01-JAN-13 12.00.00 AM", "strptime"),
        ("1356998400000000", "--epoch"),
        ("20130101", "--epoch s"),
        ("2013-02-30 00:00:00+00", "day is out of range"),
    ],
)
def test_times_that_are_not_read_are_named_with_what_to_do(shop: Shop, written: str, what_to_do: str) -> None:
    with pytest.raises(IngestError) as refused:
        shop.load(put(shop, f"{HEADER}\na,{written},1,1\n"))
    assert "line 2 (row 1), sold_at: " in str(refused.value)
    assert what_to_do in str(refused.value)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_parquet_times_without_a_zone_are_read_in_the_one_said(shop: Shop, unit: str) -> None:
    at = pa.array([datetime(2013, 1, 1)], pa.timestamp(unit))  # noqa: DTZ001
    path = shop.project.root / "sales.parquet"
    pq.write_table(pa.table({"shop": ["a"], "sold_at": at, "price": [1.0]}), path)
    with pytest.raises(IngestError, match="--zone UTC"):
        shop.load(str(path))
    shop.load(str(path), moments=TimeReader(UTC))
    assert values(shop, "sold_at") == [START]


def test_dates_are_read_from_files_and_queries(tmp_path: Path) -> None:
    source = SOURCE.model_copy(update={"columns": (*SOURCE.columns, Column(name="due", dtype=DType.DATE))})
    shop = shop_at(tmp_path, source=source)
    (shop.project.root / "feature_repo" / "sales_events.py").write_text(
        f"from datetime import date\n{MODEL}    due: date | None = None\n"
    )
    days = [date(1969, 12, 31), date(2026, 1, 5)]
    shop.load(
        put(shop, "shop,sold_at,price,due\na,1356998400,1,1969-12-31\na,1356998400,1,2026-01-05\na,1356998400,1,\n")
    )
    for number, kind in enumerate((pa.date32(), pa.date64(), pa.timestamp("ns"), pa.string())):
        path = shop.project.root / f"{number}.parquet"
        due = pa.array([days[0]], pa.date32()).cast(kind)
        pq.write_table(pa.table({"shop": ["b"], "sold_at": [START], "price": [float(number)], "due": due}), path)
        shop.load(str(path))
    query = "SELECT 'c' AS shop, TIMESTAMPTZ '2013-01-01 00:00:00Z' AS sold_at, 1.0 AS price, DATE '2026-01-05' AS due"
    shop.load(query=query)
    found = [row for batch in EventLog(shop.project.log_path, source).scan() for row in batch.to_pylist()]
    assert [row["due"] for row in found if row["shop"] == "a"] == [*days, None]
    assert [row["due"] for row in found if row["shop"] == "b"] == [days[0]] * 4
    assert [row["due"] for row in found if row["shop"] == "c"] == [days[1]]
    with pytest.raises(IngestError, match=r"line 2 \(row 1\), due: "):
        shop.load(put(shop, "shop,sold_at,price,due\na,1356998400,1,31.12.1969\n"))


# --- queries


def test_query_may_name_a_field_like_a_word_of_sql(shop: Shop) -> None:
    path = shop.project.root / "sales.parquet"
    duckdb.execute(f"COPY (SELECT 'a' AS shop, TIMESTAMP '2013-01-01' AS \"at\", 1.0 AS price) TO '{path}'")
    done = shop.load(query=f"SELECT * REPLACE (at AT TIME ZONE 'UTC' AS at) FROM '{path}'", mapped={"sold_at": "at"})
    assert '("at" AT TIME ZONE' in (done.quoted_query or "")
    assert values(shop, "sold_at") == [START]
    with pytest.raises(IngestError, match=r"(?s)The query cannot be read: Parser Error.*Fix the query"):
        shop.load(query="SELECT FROM WHERE")


def test_dialect_goes_with_the_origin(shop: Shop) -> None:
    path = put(shop, "shop:sold_at:price\na:1356998400:1\n")
    import_history(shop.project, "sales", Origin(files=path, dialect=Dialect(delimiter=":")))
    assert values(shop, "sold_at") == [START]


def test_large_csv_and_parquet_agree(shop: Shop) -> None:
    sales = [Sale("abc"[n % 3], n / 7, n / 4, n % 5) for n in range(3_000)]
    text = f"{HEADER}\n" + "".join(f"{s.shop},{s.sold_at.isoformat()},{s.price},{s.pieces}\n" for s in sales)
    shop.load(put(shop, text))
    same(shop.online("abz", 430), brute_force(sales, "abz", 430))
    assert shop.load(shop.put(sales)).imported_at is not None
