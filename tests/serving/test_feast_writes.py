"""Pushing, writing and materializing through Feast's routes: what is written, what wins, and what is refused whole."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from headrace.config import Permission
from headrace.training import TrainingClient
from tests.serving.feast_project import AREA_TYPES, DRIVER_TYPES, DRIVERS, NOW, FeastProject, write_parquet
from tests.serving.server_process import Reply, ServerProcess
from tests.serving.test_callers import made

if TYPE_CHECKING:
    from starlette.testclient import TestClient

pytestmark = pytest.mark.filterwarnings("ignore")
"""Feast's own server and client warn; headrace's server runs in a process of its own."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> FeastProject:
    return FeastProject.make(tmp_path_factory.mktemp("written_project"))


@pytest.fixture(scope="module")
def server(project: FeastProject) -> Iterator[ServerProcess]:
    with ServerProcess(project.root) as started:
        yield started.wait_ready()


@pytest.fixture(scope="module")
def feast(project: FeastProject, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    from feast.feature_server import get_app
    from starlette.testclient import TestClient

    with TestClient(
        get_app(project.feast_with_rows(tmp_path_factory.mktemp("feast"))), raise_server_exceptions=False
    ) as made:
        yield made


def area(driver: int, city: str = "Bonn", minutes: int = 0, **more: Any) -> dict[str, list[Any]]:
    """One row of `driver_areas`, some minutes before `NOW`."""
    at = (NOW - timedelta(minutes=minutes)).isoformat()
    row = {"driver_id": driver, "city": city, "rides": 1, "rating": 0.5, "event_timestamp": at, **more}
    return {name: [value] for name, value in row.items()}


def push(server: ServerProcess, df: Any, to: str = "online", source: str = "driver_push") -> Reply:
    return server.post("/push", {"push_source_name": source, "df": df, "to": to})


def rides(server: ServerProcess, driver: int, city: str = "Bonn") -> tuple[Any, str]:
    """The feature `rides` of an entity, and its status."""
    entities = {"driver_id": [driver], "city": [city]}
    body = server.post("/get-online-features", {"features": ["driver_areas:rides"], "entities": entities}).json
    return body["results"][-1]["values"][0], body["results"][-1]["statuses"][0]


def said(reply: Reply) -> tuple[int, str, str]:
    """The status, Feast's class and the message of a refusal."""
    detail = json.loads(reply.json)
    return reply.status, detail["class"], detail["message"]


def held(project: FeastProject) -> list[int]:
    """The drivers in the source of `driver_areas`."""
    return sorted(pq.read_table(project.repo / "data" / "areas")["driver_id"].to_pylist())


def test_a_push_is_read_at_once_and_answers_as_feast_does(server: ServerProcess, feast: TestClient) -> None:
    request = {"push_source_name": "driver_push", "df": area(11), "to": "online"}
    theirs, mine = feast.post("/push", json=request), server.post("/push", request)
    assert (mine.status, mine.content) == (theirs.status_code, theirs.content) == (200, b"")
    assert rides(server, 11) == (1, "PRESENT")


def test_a_newer_row_wins_and_at_the_same_time_the_later_write(server: ServerProcess) -> None:
    push(server, area(12, minutes=5, rides=5))
    push(server, area(12, minutes=9, rides=9))
    assert rides(server, 12) == (5, "PRESENT")
    push(server, area(12, minutes=5, rides=55))
    assert rides(server, 12) == (55, "PRESENT")
    push(server, area(12, minutes=1, rides=None))
    assert rides(server, 12) == (None, "NULL_VALUE")


def test_differs_feast_replaces_a_row_by_an_older_one(server: ServerProcess, feast: TestClient) -> None:
    for minutes, value in ((5, 5), (9, 9)):
        request = {"push_source_name": "driver_push", "df": area(13, minutes=minutes, rides=value), "to": "online"}
        assert feast.post("/push", json=request).status_code == 200
    entities = {"driver_id": [13], "city": ["Bonn"]}
    found = feast.post("/get-online-features", json={"features": ["driver_areas:rides"], "entities": entities}).json()
    assert found["results"][-1]["values"] == [9]


def test_offline_appends_to_the_source_and_training_sees_it(server: ServerProcess, project: FeastProject) -> None:
    before = held(project)
    assert push(server, area(14, rides=14), "offline").status == 200
    assert held(project) == sorted([*before, 14])
    assert rides(server, 14) == (None, "NOT_FOUND")
    assert push(server, area(15, rides=15), "online_and_offline").status == 200
    assert rides(server, 15) == (15, "PRESENT")
    spine = {"driver_id": [14, 15], "city": ["Bonn", "Bonn"], "event_timestamp": [NOW, NOW]}
    import pandas as pd

    found = TrainingClient(project.root).get_historical_features(
        pd.DataFrame(spine), ["driver_areas:rides"], as_of="event"
    )
    assert found.to_df()["driver_areas__rides"].tolist() == [14, 15]


def test_materialize_incremental_loads_what_was_appended(server: ServerProcess, project: FeastProject) -> None:
    assert push(server, area(16, rides=16), "offline").status == 200
    reply = server.post("/materialize-incremental", {"end_ts": NOW.isoformat(), "feature_views": ["driver_areas"]})
    assert (reply.status, reply.json) == (200, None)
    assert rides(server, 16) == (16, "PRESENT")


def test_materialize_loads_a_range(server: ServerProcess, project: FeastProject) -> None:
    late = {name: [values[1]] for name, values in DRIVERS.items()}
    late |= {"driver_id": [77], "at": [NOW - timedelta(minutes=3)], "made_at": [NOW]}
    write_parquet(project.repo / "data" / "drivers" / "late.parquet", late, DRIVER_TYPES)
    request = {"features": ["driver_stats:trips"], "entities": {"driver_id": [77]}}

    def trips() -> Any:
        return server.post("/get-online-features", request).json["results"][-1]["values"][0]

    before = {"start_ts": "2024-01-01", "end_ts": (NOW - timedelta(minutes=4)).isoformat()}
    assert server.post("/materialize", before).status == 200
    assert trips() is None
    assert server.post("/materialize", {"start_ts": "2024-01-01", "end_ts": "2024-05-01T12:00:00"}).status == 200
    assert trips() == 2**60 + 1


def test_materialize_in_the_background_is_accepted_and_happens(server: ServerProcess, project: FeastProject) -> None:
    assert push(server, area(17, rides=17), "offline").status == 200
    reply = server.post("/materialize?async=true", {"disable_event_timestamp": True, "feature_views": ["driver_areas"]})
    assert (reply.status, reply.json) == (202, {"status": "accepted", "feature_views": ["driver_areas"]})
    server.wait_for(lambda: rides(server, 17) == (17, "PRESENT"), "the rows are materialized")


def test_rows_of_one_view_are_written(server: ServerProcess, feast: TestClient) -> None:
    request = {"feature_view_name": "driver_areas", "df": area(18, rides=18)}
    theirs, mine = feast.post("/write-to-online-store", json=request), server.post("/write-to-online-store", request)
    assert (mine.status, mine.content) == (theirs.status_code, theirs.content) == (200, b"null")
    assert rides(server, 18) == (18, "PRESENT")


def test_no_rows_write_nothing_as_in_feast(server: ServerProcess, feast: TestClient) -> None:
    empty: list[dict[str, list[Any]]] = [{}, {name: [] for name in area(1)}]
    for df in empty:
        request = {"push_source_name": "driver_push", "df": df, "to": "online"}
        assert server.post("/push", request).status == feast.post("/push", json=request).status_code == 200


def test_pushes_at_the_same_time_all_arrive(server: ServerProcess) -> None:
    replies: list[Reply] = []

    def several(first: int) -> None:
        replies.extend(push(server, area(driver, rides=driver)) for driver in range(first, first + 10))

    threads = [threading.Thread(target=several, args=(first,)) for first in (1000, 2000, 3000, 4000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {reply.status for reply in replies} == {200}
    assert [rides(server, driver)[0] for driver in (1009, 2000, 3005, 4009)] == [1009, 2000, 3005, 4009]


REFUSED: dict[str, tuple[str, dict[str, Any], int, str, str]] = {
    "unknown push source": (
        "/push",
        {"push_source_name": "nothing", "df": area(1)},
        422,
        "PushSourceNotFoundException",
        "Push sources of this project: driver_push",
    ),
    "the source of a stream view": (
        "/push",
        {"push_source_name": "orders", "df": {"shop": ["a"]}},
        422,
        "PushSourceNotFoundException",
        "from the Kafka topic 'orders'",
    ),
    "unknown target": (
        "/push",
        {"push_source_name": "driver_push", "df": area(1), "to": "both"},
        422,
        "FeastError",
        "`to`",
    ),
    "unknown view": (
        "/write-to-online-store",
        {"feature_view_name": "nothing", "df": area(1)},
        404,
        "FeatureViewNotFoundException",
        "driver_areas",
    ),
    "a stream view": (
        "/write-to-online-store",
        {"feature_view_name": "shop_orders", "df": {"shop": ["a"]}},
        422,
        "FeastError",
        "is a stream view",
    ),
    "an on-demand view": (
        "/write-to-online-store",
        {"feature_view_name": "trip_score", "df": {"km": [1.0]}},
        422,
        "FeastError",
        "is an on-demand view",
    ),
    "materialize a stream view": (
        "/materialize-incremental",
        {"end_ts": "2024-05-01", "feature_views": ["shop_orders"]},
        422,
        "FeastError",
        "is no batch view",
    ),
    "materialize an unknown view": (
        "/materialize-incremental",
        {"end_ts": "2024-05-01", "feature_views": ["nothing"]},
        404,
        "FeatureViewNotFoundException",
        "Batch views: ",
    ),
    "no start": ("/materialize", {"end_ts": "2024-05-01"}, 422, "FeastError", "no start_ts"),
    "a time that is none": (
        "/materialize-incremental",
        {"end_ts": "noon"},
        422,
        "FeastError",
        "end_ts='noon' is no time",
    ),
    "a range that ends before it begins": (
        "/materialize",
        {"start_ts": "2024-05-02", "end_ts": "2024-05-01"},
        422,
        "FeastError",
        "is not before",
    ),
    "a version": (
        "/materialize-incremental",
        {"end_ts": "2024-05-01", "feature_views": ["driver_areas"], "version": "v2"},
        422,
        "FeastError",
        "'v2'",
    ),
    "no name": ("/push", {"df": area(1)}, 422, "FeastError", "push_source_name"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_requests_that_cannot_be_done_are_refused(server: ServerProcess, name: str) -> None:
    path, request, status, feast_class, message = REFUSED[name]
    found = said(server.post(path, request))
    assert found[:2] == (status, feast_class)
    assert message in found[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"driver_id": [None]}, "'driver_id': it is null"),
        ({"driver_id": ["x"]}, "'x' is no int64"),
        ({"rides": [1.5]}, "1.5 is no int64"),
        ({"rating": ["good"]}, "'good' is no float64"),
        ({"event_timestamp": ["noon"]}, "write times as ISO 8601"),
        ({"event_timestamp": [1714564800]}, "write times as ISO 8601"),
        ({"event_timestamp": [None]}, "'event_timestamp': it is null"),
        ({"rides": [1, 2]}, "differ in length"),
        ({"rides": None}, "has no column 'rides'"),
    ],
)
@pytest.mark.parametrize("to", ["online", "online_and_offline"])
def test_rows_that_contradict_the_schema_are_refused_whole(
    server: ServerProcess, project: FeastProject, change: dict[str, Any], message: str, to: str
) -> None:
    before = held(project)
    good, bad = area(19), {**area(20), **change}
    df = {name: [*good[name], *bad[name]] for name in good if bad[name] is not None}
    status, feast_class, text = said(push(server, df, to))
    assert (status, feast_class) == (422, "FeastError")
    assert message in text
    assert rides(server, 19) == (None, "NOT_FOUND")
    assert held(project) == before


def test_a_source_that_lacks_columns_of_the_push_refuses_it_before_anything_is_written(
    server: ServerProcess, project: FeastProject
) -> None:
    before = held(project)
    status, _, text = said(push(server, area(21, colour="red"), "online_and_offline"))
    assert status == 422
    assert "has no column 'colour'" in text
    assert rides(server, 21) == (None, "NOT_FOUND")
    assert held(project) == before
    assert push(server, area(21, colour="red")).status == 200  # online, other columns do no harm


def test_a_source_that_is_away_is_named(tmp_path: Path) -> None:
    project = FeastProject.make(tmp_path)
    with ServerProcess(project.root) as started:
        server = started.wait_ready()
        for file in (project.repo / "data" / "areas").iterdir():
            file.unlink()
        status, feast_class, text = said(push(server, area(22), "online_and_offline"))
        assert (status >= 400, feast_class) == (True, "FeastError")
        assert "driver_area_file" in text
        assert rides(server, 22) == (None, "NOT_FOUND")
    assert set(AREA_TYPES) == set(area(1))


def test_writes_need_the_permission_for_their_view(tmp_path: Path) -> None:
    project = FeastProject.make(tmp_path)
    reader = made(project.root, "reader", Permission.READ_ONLINE, views=("*",))
    writer = made(project.root, "writer", Permission.WRITE, views=("driver_areas",))
    end = {"end_ts": NOW.isoformat()}
    requests: list[tuple[str, dict[str, Any], int]] = [
        ("/push", {"push_source_name": "driver_push", "df": area(23)}, 200),
        ("/write-to-online-store", {"feature_view_name": "driver_areas", "df": area(23)}, 200),
        ("/materialize-incremental", {**end, "feature_views": ["driver_areas"]}, 200),
        ("/write-to-online-store", {"feature_view_name": "driver_stats", "df": {}}, 403),
        ("/materialize-incremental", {**end, "feature_views": ["driver_stats"]}, 403),
        ("/materialize-incremental", end, 403),
        ("/materialize-incremental", {**end, "feature_views": ["nowhere"]}, 403),
        ("/push", {"push_source_name": "nothing", "df": area(23)}, 403),
    ]
    with ServerProcess(project.root) as started:
        server = started.wait_ready()
        for path, request, status in requests:
            assert server.post(path, request).status == 401
            refused = said(server.post(path, request, {"Authorization": f"Bearer {reader}"}))
            assert refused[:2] == (403, "FeastPermissionError")
            assert server.post(path, request, {"Authorization": f"Bearer {writer}"}).status == status
        asked = server.post("/materialize-incremental", end, {"Authorization": f"Bearer {writer}"})
        assert "driver_stats" not in asked.content.decode()
