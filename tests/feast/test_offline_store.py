"""Historical features through Feast's FeatureStore, compared with a brute force and with headrace's own join."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64, Int64, String

from headrace import query_source
from headrace.errors import BatchSourceError, FeastStoreError, SpineError
from headrace.feast import HeadraceOfflineStore
from headrace.training import TrainingClient
from tests.feast.conftest import NOON
from tests.feast.repos import Shop

START = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = ["a", "b", "c", None]


class _Registry:
    """Only what an offline store asks a registry for."""

    def list_on_demand_feature_views(self, project: str, allow_cache: bool = False) -> list[Any]:
        return []


def registry() -> Any:
    return _Registry()


def config_of(folder: Path) -> RepoConfig:
    config = RepoConfig(
        project="p",
        provider="local",
        registry="none",
        online_store={"type": "headrace.feast.HeadraceOnlineStore"},
        offline_store={"type": "headrace.feast.HeadraceOfflineStore"},
        entity_key_serialization_version=3,
    )
    config.repo_path = folder
    return config


def view_of(
    ttl: timedelta | None, created: bool = True, path: str = "rows.parquet", query: str = "", **more: Any
) -> FeatureView:
    return FeatureView(
        name="rows",
        entities=[Entity(name="key", join_keys=["key"], value_type=ValueType.STRING)],
        ttl=ttl,
        schema=[
            Field(name="value", dtype=Int64),
            Field(name="other", dtype=Float64),
            Field(name="key", dtype=String),
        ],
        source=query_source(name="row_query", sql=query, timestamp_field="at", created_field="created")
        if query
        else FileSource(
            name="row_file",
            path=path,
            timestamp_field="at",
            created_timestamp_column="created" if created else "",
            **more,
        ),
    )


def joined(folder: Path, view: Any, frame: Any, **options: Any) -> pd.DataFrame:
    job = HeadraceOfflineStore.get_historical_features(
        config_of(folder),
        [view],
        ["rows:value", "rows:other"],
        frame,
        registry(),
        "p",
        **options,
    )
    return job.to_df()


def minutes(number: float) -> datetime:
    return START + timedelta(minutes=number)


def expected(rows: list[dict[str, Any]], key: Any, t: datetime, ttl: timedelta | None, *, by_created: bool) -> Any:
    """The row that counts at `t`, one after the other: later in time, then created later, then later in the file."""
    best = None
    for number, row in enumerate(rows):
        if row["key"] is None or row["key"] != key or row["at"] > t or (by_created and row["created"] > t):
            continue
        rank = (row["at"], row["created"], number)
        if best is None or rank > best[0]:
            best = (rank, row)
    if best is None or (ttl is not None and best[1]["at"] < t - ttl):
        return None
    return best[1]["value"]


@pytest.mark.parametrize("by_created", [False, True])
@pytest.mark.parametrize("ttl", [None, timedelta(minutes=4)])
@pytest.mark.parametrize("seed", range(3))
def test_random_rows_join_as_a_brute_force_says(
    tmp_path: Path, seed: int, ttl: timedelta | None, by_created: bool
) -> None:
    rng = random.Random(seed)
    rows = [
        {
            "key": rng.choice(KEYS),
            "at": (at := minutes(rng.randrange(30))),
            "created": at + timedelta(minutes=rng.randrange(-1, 6)),
            "value": number,
            "other": number / 3,
        }
        for number in range(200)
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "rows.parquet")
    asked = [
        (rng.choice([*KEYS, "d"]), minutes(rng.choice([rng.randrange(40), rng.random() * 40]))) for _ in range(300)
    ]
    frame = pd.DataFrame({"key": [key for key, _ in asked], "event_timestamp": [t for _, t in asked]})
    found = joined(tmp_path, view_of(ttl), frame, filter_by_created_timestamp=by_created)
    wanted = [expected(rows, key, t, ttl, by_created=by_created) for key, t in asked]
    assert [None if pd.isna(value) else int(value) for value in found["value"]] == wanted
    assert [None if pd.isna(key) else key for key in found["key"]] == [key for key, _ in asked]
    assert found["event_timestamp"].tolist() == [pd.Timestamp(t) for _, t in asked]


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """A folder with three rows."""
    rows = {
        "key": ["a", "a", "b"],
        "at": [minutes(0), minutes(5), minutes(1)],
        "value": [1, 2, 3],
        "other": [0.1, 0.2, 0.3],
    }
    pd.DataFrame({**rows, "created": rows["at"]}).to_parquet(tmp_path / "rows.parquet")
    return tmp_path


def test_an_entity_frame_may_be_sql(few: Path) -> None:
    pd.DataFrame({"key": ["b", "a"], "event_timestamp": [minutes(6), minutes(4)]}).to_parquet(few / "spine.parquet")
    by_path = joined(few, view_of(None), "SELECT key, event_timestamp FROM 'spine.parquet'")
    assert by_path["value"].tolist() == [3, 1]
    sql = "SELECT key, CAST(created AS TIMESTAMPTZ) + INTERVAL 1 MINUTE AS event_timestamp FROM row_file"
    by_name = joined(few, view_of(None), f"{sql} ORDER BY key, created")
    assert by_name["value"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (pd.DataFrame({"key": ["a"]}), "no column 'event_timestamp'"),
        (pd.DataFrame({"event_timestamp": [START]}), "no column 'key', a join key"),
        (pd.DataFrame({"key": ["a"], "event_timestamp": ["soon"]}), "no times"),
        (pd.DataFrame({"key": ["a"], "event_timestamp": [5]}), "not a timestamp"),
        (pd.DataFrame({"key": ["a", "b"], "event_timestamp": [START, pd.NaT]}), "null in row 1"),
        (pd.DataFrame({"key": [1], "event_timestamp": [START]}), "int64, and the source of 'rows' has varchar"),
        (pd.DataFrame({"key": ["a"], "event_timestamp": [START], "value": [1]}), "named like features: value"),
        ("SELECT 1; SELECT 2", "not one SELECT"),
        ("SELECT nothing FROM nowhere", "cannot be run"),
        ("DROP TABLE rows", "not one SELECT"),
    ],
)
def test_a_wrong_entity_frame_says_what_is_wrong(few: Path, frame: Any, said: str) -> None:
    with pytest.raises(SpineError, match=said):
        joined(few, view_of(None), frame)


def test_a_frame_without_rows_gives_none(few: Path) -> None:
    frame = pd.DataFrame(
        {"key": pd.Series([], dtype=str), "event_timestamp": pd.Series([], dtype="datetime64[ns, UTC]")}
    )
    found = joined(few, view_of(None), frame)
    assert list(found.columns) == ["key", "event_timestamp", "value", "other"]
    assert len(found) == 0


def test_join_keys_may_be_renamed_and_mapped(few: Path) -> None:
    frame = pd.DataFrame({"buyer": ["b"], "event_timestamp": [minutes(9)]})
    view = view_of(None).with_join_key_map({"key": "buyer"}).with_name("buyers")
    job = HeadraceOfflineStore.get_historical_features(
        config_of(few),
        [view],
        ["buyers:value"],
        frame,
        registry(),
        "p",
        full_feature_names=True,
    )
    assert job.to_df()["buyers__value"].tolist() == [3]


def test_columns_of_a_source_may_be_mapped(few: Path) -> None:
    renamed = pd.read_parquet(few / "rows.parquet").rename(columns={"value": "v", "at": "moment", "key": "k"})
    renamed.to_parquet(few / "renamed.parquet")
    view = view_of(None, path="renamed.parquet", field_mapping={"v": "value", "moment": "at", "k": "key"})
    found = joined(few, view, pd.DataFrame({"key": ["a"], "event_timestamp": [minutes(9)]}))
    assert found["value"].tolist() == [2]


def test_every_key_at_the_times_of_its_rows(few: Path) -> None:
    found = joined(few, view_of(None), None, start_date=minutes(0), end_date=minutes(1))
    assert found[["key", "value"]].to_numpy().tolist() == [["a", 1], ["b", 3]]
    at_once = joined(few, view_of(None), None, end_date=minutes(9))
    assert at_once[["key", "value"]].to_numpy().tolist() == [["a", 2], ["b", 3]]


def test_a_missing_source_or_column_is_named(few: Path) -> None:
    frame = pd.DataFrame({"key": ["a"], "event_timestamp": [START]})
    with pytest.raises(BatchSourceError, match="no file at"):
        joined(few, view_of(None, path="never.parquet"), frame)
    pd.DataFrame({"key": ["a"], "at": [START]}).to_parquet(few / "narrow.parquet")
    with pytest.raises(BatchSourceError, match="no column 'created'"):
        joined(few, view_of(None, path="narrow.parquet"), frame)


def pull(folder: Path, *, latest: bool, start: float, end: float) -> pd.DataFrame:
    view = view_of(None)
    call = (
        HeadraceOfflineStore.pull_latest_from_table_or_query
        if latest
        else HeadraceOfflineStore.pull_all_from_table_or_query
    )
    source = view.batch_source
    assert source is not None
    job = call(config_of(folder), source, ["key"], ["value"], "at", "created", minutes(start), minutes(end))
    return job.to_df()


def test_pulling_rows_counts_both_ends(few: Path) -> None:
    assert pull(few, latest=True, start=0, end=5)["value"].tolist() == [2, 3]
    assert pull(few, latest=True, start=0, end=4.9)["value"].tolist() == [1, 3]
    assert pull(few, latest=False, start=1, end=5)["value"].tolist() == [3, 2]
    assert list(pull(few, latest=False, start=9, end=9).columns) == ["key", "value", "at", "created"]


def rows_to_add(**changed: Any) -> pa.Table:
    columns = {"key": ["c"], "at": [minutes(2)], "value": [9], "other": [0.9], "created": [minutes(2)]}
    return pa.table({**columns, **changed})


def test_appending_to_a_folder_adds_a_file_and_to_a_file_rewrites_it(few: Path) -> None:
    (few / "folder").mkdir()
    (few / "rows.parquet").rename(few / "folder" / "part.parquet")
    view = view_of(None, path="folder")
    names = pq.read_schema(few / "folder" / "part.parquet").names
    HeadraceOfflineStore.offline_write_batch(config_of(few), view, rows_to_add().select(names), None)
    assert len(list((few / "folder").glob("*.parquet"))) == 2
    frame = pd.DataFrame({"key": ["c", "a"], "event_timestamp": [minutes(9)] * 2})
    assert joined(few, view, frame)["value"].tolist() == [9, 2]
    single = view_of(None, path="folder/part.parquet")
    HeadraceOfflineStore.offline_write_batch(config_of(few), single, rows_to_add().select(names), None)
    assert pq.read_table(few / "folder" / "part.parquet").column("value").to_pylist() == [1, 2, 3, 9]


def test_history_of_stream_views_is_headrace_s_own(shop: Shop, shop_store: Any) -> None:
    frame = pd.DataFrame(
        {
            "customer": ["bob", "ann", "eve", None, "bob"],
            "shop": [8, 7, 7, 7, 8],
            "event_timestamp": [NOON - timedelta(minutes=one) for one in (1, 45, 1, 3, 0)],
        },
        index=[5, 3, 1, 9, 2],
    )
    features = ["spending:orders_1h", "spending:spent_1h", "pairs:dearest", "scores:score"]
    found = shop_store.get_historical_features(entity_df=frame, features=features, full_feature_names=True).to_df()
    assert found.index.tolist() == frame.index.tolist()
    spine = frame[frame["customer"].notna()]
    own = TrainingClient(shop.project).get_historical_features(spine, features[:3]).to_df()
    ours = found[found["customer"].notna()].reset_index(drop=True)
    for name in ("spending__orders_1h", "spending__spent_1h", "pairs__dearest"):
        pd.testing.assert_series_equal(ours[name], own[name], check_dtype=False, check_exact=True)
    # bob's order of 20 minutes before noon was known at noon only.
    assert ours["spending__orders_1h"].tolist() == [1, 2, 0, 2]
    assert found.loc[9, ["spending__orders_1h", "pairs__dearest", "scores__score"]].isna().all()
    assert found["scores__score"].tolist()[:2] == [0.5, 0.25]


def test_on_demand_features_of_history_are_computed_row_by_row(shop: Shop, shop_store: Any) -> None:
    frame = pd.DataFrame(
        {"customer": ["bob", "ann"], "amount": [0.2, 5.4], "event_timestamp": [NOON, NOON - timedelta(minutes=1)]}
    )
    found = shop_store.get_historical_features(entity_df=frame, features=["judged:share", "judged:risk"]).to_df()
    assert found["share"].tolist() == [0.2 / (0.1 + 0.7), 5.4 / (2.5 + 0.2)]
    assert found["risk"].tolist() == [0.5 * 0.2, 0.25 * 5.4]


def test_history_of_a_stream_view_needs_no_frame(shop: Shop, shop_store: Any) -> None:
    job = shop_store.get_historical_features(
        features=["spending:orders_1h"], start_date=NOON - timedelta(minutes=60), end_date=NOON - timedelta(minutes=40)
    )
    found = job.to_df()
    assert found[["customer", "orders_1h"]].to_numpy().tolist() == [["ann", 2], ["bob", 1]]


def test_the_log_of_a_stream_view_is_not_written_through_feast(shop_store: Any) -> None:
    view = shop_store.get_stream_feature_view("spending")
    with pytest.raises(FeastStoreError, match="its history is the log"):
        HeadraceOfflineStore.offline_write_batch(shop_store.config, view, pa.table({"a": [1]}), None)


def test_views_of_different_keys_need_a_frame(shop_store: Any) -> None:
    with pytest.raises(SpineError, match="all views must have the same join keys"):
        shop_store.get_historical_features(features=["spending:orders_1h", "pairs:dearest"], end_date=NOON)


def test_a_query_is_a_source(few: Path) -> None:
    view = view_of(None, query="SELECT * REPLACE (value * 10 AS value) FROM 'rows.parquet'")
    frame = pd.DataFrame({"key": ["a", "b"], "event_timestamp": [minutes(4), minutes(4)]})
    assert joined(few, view, frame)["value"].tolist() == [10, 30]
