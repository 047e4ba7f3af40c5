"""Imported history counts online and in history as streamed events do, once, and bad rows are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from headrace.cli import app
from headrace.errors import IngestError
from headrace.log import EventLog
from headrace.log.log_columns import FIRST_IMPORT
from headrace.plan import write_plan
from tests.ingest.conftest import SOURCE, START, Sale, Shop, brute_force, plan_of, random_sales, same, shop_at, table_of

runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})

SALES = [Sale("a", 0, 1.0), Sale("a", 5, 2.0, 3), Sale("b", 6, 4.0), Sale("a", 12.5, 8.0)]


def test_imported_events_are_known_at_their_event_time_online_and_in_history(shop: Shop) -> None:
    done = shop.load(shop.put(SALES))
    assert (done.rows, done.events, done.logged, done.bad) == (4, 4, 4, 0)
    assert done.online is not None
    assert done.online.events == 4
    same(shop.online("abz", 12.75), brute_force(SALES, "abz", 12.75))
    for minute in (0, 4.99, 5, 10, 12.5, 14, 500):
        wanted = brute_force(SALES, "abz", minute)
        same(shop.history("abz", minute), wanted)
        same(shop.history("abz", minute, "event"), wanted)


def test_known_at_may_be_a_column(shop: Shop) -> None:
    sales = random_sales(1, 400)
    shop.load(shop.put(sales), known_at="seen")
    end = max(sale.known or 0 for sale in sales)
    for minute in (end, end + 1, end + 5):
        same(shop.online("abcz", minute), brute_force(sales, "abcz", minute))
    for minute in (100, 700.25, 1200, end):
        same(shop.history("abcz", minute), brute_force(sales, "abcz", minute))
        same(shop.history("abcz", minute, "event"), brute_force(sales, "abcz", minute, event=True))


def test_positions_are_those_of_no_kafka_partition_and_the_same_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        one = shop_at(tmp_path / name)
        one.load(one.put(SALES[:3]))
        one.load(one.put(SALES[3:]))
        assert one.logged() == [
            ("a", 0, FIRST_IMPORT, 0),
            ("a", 5, FIRST_IMPORT, 1),
            ("b", 6, FIRST_IMPORT, 2),
            ("a", 12.5, FIRST_IMPORT + 1, 0),
        ]
        same(one.online("ab", 13), brute_force(SALES, "ab", 13))


@pytest.mark.parametrize("clock", ["record", "system"])
def test_both_clocks_serve_imports(tmp_path: Path, clock: str) -> None:
    shop = shop_at(tmp_path, clock)
    shop.load(shop.put(SALES))
    same(shop.online("ab", 12.75), brute_force(SALES, "ab", 12.75))


def test_csv_and_parquet_give_the_same_events(shop: Shop) -> None:
    given = table_of(SALES).drop_columns(["seen", "sale_id"])
    pcsv.write_csv(given, shop.project.root / "sales.csv")
    pq.write_table(given, shop.project.root / "sales.parquet")
    assert shop.load(str(shop.project.root / "sales.csv")).logged == 4
    again = shop.load(str(shop.project.root / "sales.parquet"))
    assert (again.logged, again.imported_at is not None) == (0, True)
    same(shop.online("ab", 13), brute_force(SALES, "ab", 13))


def test_query_is_given_an_order_of_its_own(shop: Shop) -> None:
    path = shop.put(random_sales(2, 300))
    first = shop.load(query=f"FROM '{path}'", dry_run=True)
    again = shop.load(query=f"FROM '{path}' ORDER BY random();", dry_run=True)
    assert first.id == again.id


def test_query_reads_a_database_and_does_not_write_it(shop: Shop) -> None:
    database = shop.project.root / "sales.duckdb"
    with duckdb.connect(str(database)) as con:
        con.register("given", table_of(SALES))
        con.execute("CREATE TABLE sales AS FROM given")
    before = database.read_bytes()
    shop.load(query="SELECT shop AS s, sold_at, price, pieces FROM sales", database=database, mapped={"shop": "s"})
    assert database.read_bytes() == before
    same(shop.online("ab", 13), brute_force(SALES, "ab", 13))
    with pytest.raises(IngestError, match="cannot be read"):
        shop.load(query="DELETE FROM sales", database=database)


def test_glob_reads_files_in_the_order_of_their_paths(shop: Shop) -> None:
    for number, sale in enumerate(SALES):
        shop.put([sale], f"part-{3 - number}.parquet")
    done = shop.load(str(shop.project.root / "part-*.parquet"))
    assert done.events == 4
    assert [minute for _, minute, _, _ in shop.logged()] == [12.5, 6, 5, 0]


def test_fields_may_come_from_other_columns(shop: Shop) -> None:
    path = shop.project.root / "other.parquet"
    pq.write_table(table_of(SALES).rename_columns(["store", "at", "eur", "pieces", "x", "y"]), path)
    with pytest.raises(
        IngestError, match=r"(?s)has no column 'shop', which sales_events:Sale needs.*--map shop=COLUMN"
    ):
        shop.load(str(path))
    shop.load(str(path), mapped={"shop": "store", "sold_at": "at", "price": "eur"})
    same(shop.online("ab", 13), brute_force(SALES, "ab", 13))
    with pytest.raises(IngestError, match=r"(?s)no field 'shp'.*Did you mean 'shop'"):
        shop.load(str(path), mapped={"shp": "store"})
    with pytest.raises(IngestError, match=r"(?s)no column 'eu', which --map price=….*There are: store, at, eur"):
        shop.load(str(path), mapped={"shop": "store", "sold_at": "at", "price": "eu"})


# --- bad rows

CSV = """shop,sold_at,price,pieces
a,2013-01-01T00:00:00Z,1.5,1
a,2013-01-01T00:01:00Z,-2,1
,2013-01-01T00:02:00Z,1,1
a,2013-01-01 00:03:00,1,1
a,2013-01-01T00:04:00Z,1,many
a,2999-01-01T00:05:00Z,1,1
007,2013-01-01T00:06:00Z,2.5,
"""


def test_bad_rows_are_named_and_nothing_is_imported(shop: Shop) -> None:
    path = shop.project.root / "sales.csv"
    path.write_text(CSV)
    with pytest.raises(IngestError) as refused:
        shop.load(str(path))
    said = str(refused.value)
    assert "5 of 7 rows cannot be imported, so nothing was" in said
    assert f"{path}, line 3 (row 2), price: Input should be greater than or equal to 0; got '-2'" in said
    assert f"{path}, line 4 (row 3), shop: Field required" in said
    assert "line 5 (row 4), sold_at" in said
    assert "--zone UTC" in said
    assert "line 6 (row 5), pieces: Input should be a valid integer" in said
    assert "line 7 (row 6), the whole row: it would be known only at 2999-01-01T00:05:00Z, after now" in said
    assert "--skip-bad" in said
    assert shop.log.version() is None
    assert shop.logged() == []


def test_bad_rows_are_left_out_on_demand_and_written_down(shop: Shop) -> None:
    path = shop.project.root / "sales.csv"
    path.write_text(CSV)
    done = shop.load(str(path), skip_bad=True)
    assert (done.rows, done.events, done.bad, done.logged) == (7, 2, 5, 2)
    # A column that is empty is not sent, so the model's default counts; and text stays text.
    assert [(shop_, minute) for shop_, minute, *_ in shop.logged()] == [("a", 0), ("007", 6)]
    rows = [json.loads(line) for line in Path(done.bad_file or "").read_text().splitlines()]
    assert [(row["row"], row["field"]) for row in rows] == [
        (2, "price"),
        (3, "shop"),
        (4, "sold_at"),
        (5, "pieces"),
        (6, None),
    ]
    assert json.loads(rows[0]["values"])["price"] == "-2"


def test_known_at_has_to_be_a_time_no_earlier_than_the_event(shop: Shop) -> None:
    sales = [Sale("a", 0, known=0), Sale("a", 600, known=1), Sale("a", 30, known=0)]
    table = table_of(sales)
    path = shop.project.root / "sales.parquet"
    pq.write_table(table, path)
    with pytest.raises(IngestError) as refused:
        shop.load(str(path), known_at="seen")
    assert "1 of 3 rows" in str(refused.value)
    assert "row 2, sold_at: 2013-01-01T10:00:00Z is more than 3600 s past" in str(refused.value)
    nulls = table.set_column(5, "seen", pa.array([START, None, START], pa.timestamp("us", "UTC")))
    pq.write_table(nulls, path)
    with pytest.raises(IngestError, match="row 2, known_at: it is null, and every event needs one"):
        shop.load(str(path), known_at="seen")
    naive = table.set_column(5, "seen", table.column("seen").cast(pa.timestamp("us")))
    pq.write_table(naive, path)
    with pytest.raises(IngestError, match=r"row 1, known_at: .*time ?zone"):
        shop.load(str(path), known_at="seen")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"files": "nowhere.parquet"}, "There is no file nowhere.parquet"),
        ({"files": __file__}, "ends neither in .parquet"),
        ({}, "either from files or from a query"),
        ({"query": "FROM nowhere"}, "The query cannot be read"),
        ({"query": "SELECT 1 AS shop", "database": Path("nowhere.duckdb")}, "cannot be opened"),
    ],
)
def test_origin_that_cannot_be_read_is_refused(shop: Shop, given: dict[str, Any], message: str) -> None:
    with pytest.raises(IngestError, match=message):
        shop.load(**given)


def test_damaged_file_is_named(shop: Shop) -> None:
    path = shop.project.root / "sales.parquet"
    path.write_bytes(b"PAR1 no")
    with pytest.raises(IngestError, match=r"sales\.parquet cannot be read"):
        shop.load(str(path))


def test_file_is_called_as_it_is_at_the_beginning_of_a_message(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop.project.root)
    Path("sales.csv").write_text("a,b\n1,2\n")
    with pytest.raises(IngestError, match=r"^sales\.csv has no column"):
        shop.load("sales.csv")


def test_empty_history_is_refused(shop: Shop) -> None:
    with pytest.raises(IngestError, match="There is no event to import"):
        shop.load(shop.put([]))


def test_a_file_of_bad_rows_alone_is_refused_with_what_is_wrong_also_where_they_may_be_left_out(shop: Shop) -> None:
    path = shop.project.root / "sales.csv"
    path.write_text("shop,sold_at,price,pieces\na,2013-01-01T00:00:00Z,1,many\n")
    with pytest.raises(
        IngestError, match="1 of 1 rows cannot be imported, so nothing was:\n.*pieces.*'many'"
    ) as refused:
        shop.load(str(path), skip_bad=True)
    assert "--skip-bad" not in (refused.value.hint or "")


def test_a_dry_run_that_leaves_bad_rows_out_says_what_is_wrong_with_them(shop: Shop) -> None:
    path = shop.project.root / "sales.csv"
    path.write_text("shop,sold_at,price,pieces\na,2013-01-01T00:00:00Z,1,many\na,2013-01-01T00:00:00Z,1,1\n")
    words = ["import", "sales", "--from", str(path), "--skip-bad", "--dry-run", "--project", str(shop.project.root)]
    said = runner.invoke(app, words).output
    assert "pieces: Input should be a valid integer" in said.replace("\n", " ")
    (bad,) = json.loads(runner.invoke(app, [*words, "--json"]).stdout)["first_bad"]
    assert (bad["line"], bad["field"]) == (2, "pieces")


def test_unknown_source_is_refused_with_those_there_are(shop: Shop) -> None:
    done = runner.invoke(app, ["import", "sale", "--from", "x.parquet", "--project", str(shop.project.root)])
    assert done.exit_code == 1
    assert "The plan has no source 'sale'" in done.output
    assert "Sources: sales" in done.output


# --- once


def test_same_events_are_imported_once(shop: Shop) -> None:
    path = shop.put(SALES)
    first = shop.load(path)
    before = shop.log.version()
    assert first.imported_at is None
    for again in (shop.load(path), shop.load(shop.put(SALES, "copy.parquet"), name="another")):
        assert (again.id, again.events, again.logged) == (first.id, 4, 0)
        assert again.imported_at is not None
    assert shop.log.version() == before
    same(shop.online("ab", 13), brute_force(SALES, "ab", 13))


def test_file_of_an_earlier_import_is_refused_among_others(shop: Shop) -> None:
    shop.put(SALES[:2], "2012.parquet")
    shop.load(str(shop.project.root / "2012.parquet"))
    shop.put(SALES[2:], "2013.parquet")
    with pytest.raises(IngestError, match=r"2012\.parquet was imported into 'shop.sales' before"):
        shop.load(str(shop.project.root / "201*.parquet"))
    with pytest.raises(IngestError, match=r"2012\.parquet was imported"):
        shop.load(str(shop.project.root / "2012.parquet"), known_at="seen", mapped={"coupon": "shop"})


def test_id_of_another_import_is_refused(shop: Shop) -> None:
    assert shop.load(shop.put(SALES[:2]), name="2012").id == "2012"
    with pytest.raises(IngestError, match="The import '2012' .* was begun on .* with other events"):
        shop.load(shop.put(SALES[2:]), name="2012")


@pytest.mark.parametrize("fail_at", range(6))
def test_import_cut_short_goes_on_where_it_ended(shop: Shop, fail_at: int) -> None:
    sales = random_sales(3, 50)
    path = shop.put(sales)
    calls = 0
    append = EventLog.append

    def dying(self: Any, *given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > fail_at:
            raise KeyboardInterrupt
        return append(self, *given)

    with patch.object(EventLog, "append", dying), pytest.raises(KeyboardInterrupt):
        shop.load(path, known_at="seen", block_rows=10, commit_rows=10)
    held = len(shop.logged())
    assert held == min(fail_at * 10, 50)
    if fail_at < 5:
        done = shop.load(path, known_at="seen", block_rows=10, commit_rows=10)
        assert done.logged == 50 - held
    else:  # all was logged, and only the online store lacks it
        assert shop.load(path, known_at="seen", block_rows=10, commit_rows=10).imported_at is not None
    assert [place for *_, place in shop.logged()] == list(range(50))
    end = max(sale.known or 0 for sale in sales)
    same(shop.online("abc", end), brute_force(sales, "abc", end))


def test_repeated_event_ids_count_once(tmp_path: Path) -> None:
    source = SOURCE.model_copy(update={"event_id": "sale_id"})
    shop = shop_at(tmp_path, source=source)
    sales = [Sale("a", 0, sale_id="x"), Sale("a", 1, sale_id="y"), Sale("a", 2, sale_id="x"), Sale("a", 3, sale_id="y")]
    done = shop.load(shop.put(sales))
    assert (done.events, done.repeated, done.logged) == (4, 2, 2)
    same(shop.online("a", 5), brute_force(sales[:2], "a", 5))
    assert shop.load(shop.put(sales)).logged == 0
    same(shop.online("a", 5), brute_force(sales[:2], "a", 5))


def test_changed_plan_is_left_to_the_worker(shop: Shop) -> None:
    shop.load(shop.put(SALES[:2]))
    wider = plan_of().views["shops"]
    changed = wider.model_copy(update={"features": wider.features[:3]})
    write_plan(plan_of().model_copy(update={"views": {"shops": changed}}), shop.project.plan_file)
    done = shop.load(shop.put(SALES[2:]))
    assert done.logged == 2
    assert done.online is not None
    assert done.online.events is None
    assert "other versions" in done.online.note


# --- the command


def test_command_prints_what_it_did(shop: Shop) -> None:
    arguments = ["import", "sales", "--from", shop.put(SALES), "--project", str(shop.project.root)]
    dry = runner.invoke(app, [*arguments, "--dry-run", "--json"])
    assert dry.exit_code == 0
    assert json.loads(dry.stdout)["events"] == 4
    assert shop.logged() == []
    done = runner.invoke(app, [*arguments, "--json", "--known-at", "seen", "--id", "first"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["id"] == "first"
    assert said["partition"] == FIRST_IMPORT
    assert (said["logged"], said["first"], said["last"]) == (4, "2013-01-01T00:00:00Z", "2013-01-01T00:12:30Z")
    assert said["online"]["applied"] == 4
    again = runner.invoke(app, arguments)
    assert again.exit_code == 0
    assert "were imported already" in again.output
    text = runner.invoke(app, [*arguments[:3], shop.put([Sale("c", 40)]), *arguments[4:]])
    assert text.exit_code == 0
    assert "applied online" in text.output


def test_mapping_that_is_none_is_refused(shop: Shop) -> None:
    base = ["import", "sales", "--from", shop.put(SALES), "--project", str(shop.project.root)]
    assert "Write --map field=column" in runner.invoke(app, [*base, "--map", "shop"]).output
    assert "twice" in runner.invoke(app, [*base, "--map", "shop=a", "--map", "shop=b"]).output
