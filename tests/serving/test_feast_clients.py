"""Feast's own clients and Feast's own server beside `headrace serve`: the same requests, the same answers.

What differs is listed and tested one by one: where Feast is wrong, headrace is not the same on purpose.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from headrace.lookup import FeatureClient
from tests.serving.feast_project import AREAS, NOW, FeastProject
from tests.serving.server_process import ServerProcess

if TYPE_CHECKING:
    from feast import FeatureStore
    from starlette.testclient import TestClient

STREAM = ["shop_orders:" + name for name in ("orders_1h", "mean_price_1h", "pieces_ever", "last_note")]
DRIVER = ["driver_stats:" + name for name in ("conv_rate", "trips", "name", "active", "scores", "tags")]
SHOPS = ["a", "b", "c", "old", "never"]
DRIVERS = [1001, 1002, 2**62, 7]

pytestmark = pytest.mark.filterwarnings("ignore")
"""Feast's own server and client warn; headrace's server runs in a process of its own."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> FeastProject:
    return FeastProject.make(tmp_path_factory.mktemp("feast_project"))


@pytest.fixture(scope="module")
def server(project: FeastProject) -> Iterator[ServerProcess]:
    with ServerProcess(project.root) as started:
        yield started.wait_ready()


@pytest.fixture(scope="module")
def remote(project: FeastProject, server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return project.client_of(server.url, tmp_path_factory.mktemp("remote"))


@pytest.fixture(scope="module")
def ours(project: FeastProject) -> Iterator[FeatureClient]:
    with FeatureClient(project.root) as client:
        yield client


@pytest.fixture(scope="module")
def feast(project: FeastProject, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Feast's own server, on a SQLite store with the same rows."""
    from feast.feature_server import get_app
    from starlette.testclient import TestClient

    with TestClient(
        get_app(project.feast_with_rows(tmp_path_factory.mktemp("feast"))), raise_server_exceptions=False
    ) as made:
        yield made


def plain(column: list[Any]) -> list[str]:
    """Values by their exact form: -0.0 is not 0.0, 1 is not 1.0."""
    return [repr(value) for value in column]


# Feast's remote online store


def test_remote_store_gives_what_our_client_gives(remote: FeatureStore, ours: FeatureClient) -> None:
    rows: dict[str, Any] = {"shop": SHOPS[:4], "driver_id": DRIVERS}
    found = remote.get_online_features([*STREAM, *DRIVER], rows, full_feature_names=True).to_dict()
    expected = ours.get_online_features([*STREAM, *DRIVER], rows).to_dict()
    assert list(found) == list(expected)
    assert {name: plain(values) for name, values in found.items()} == {
        name: plain(values) for name, values in expected.items()
    }


def test_remote_store_takes_a_service_rows_and_short_names(remote: FeatureStore, ours: FeatureClient) -> None:
    rows = [{"shop": shop, "driver_id": driver} for shop, driver in zip(SHOPS, [*DRIVERS, 1003], strict=True)]
    service = remote.get_feature_service("desk")
    found = remote.get_online_features(service, rows).to_dict()
    expected = ours.get_online_features("desk", rows).to_dict()
    short = {name.partition("__")[2] or name: values for name, values in expected.items()}
    # In Feast's format times are whole seconds, and empty lists are null.
    short["last_prices"] = [one or None for one in short["last_prices"]]
    short["newest"] = [None if one is None else int(one.timestamp()) for one in short["newest"]]
    assert {name: plain(values) for name, values in found.items()} == {
        name: plain(values) for name, values in short.items()
    }


def test_remote_store_gives_on_demand_features(remote: FeatureStore, ours: FeatureClient) -> None:
    names = ["trip_score:score", "driver_stats:trips"]
    rows = [{"driver_id": driver, "km": km} for driver, km in zip(DRIVERS, (2.0, 3.0, 0.5, 1.0), strict=True)]
    found = remote.get_online_features(names, rows).to_dict()
    expected = ours.get_online_features(names, rows).to_dict()
    assert plain(found["score"]) == plain(expected["trip_score__score"])
    assert found["trips"] == expected["driver_stats__trips"]
    assert set(found) == {"driver_id", "score", "trips"}  # request data is not in Feast's answers


def test_remote_store_names_versions(remote: FeatureStore, ours: FeatureClient) -> None:
    answer = remote.get_online_features(DRIVER[:1], [{"driver_id": 1}], include_feature_view_version_metadata=True)
    assert [one.name for one in answer.proto.metadata.feature_view_metadata] == ["driver_stats"]


def test_remote_store_raises_feasts_own_errors_with_our_hints(remote: FeatureStore) -> None:
    from feast.errors import FeastError, FeatureViewNotFoundException

    with pytest.raises(FeatureViewNotFoundException, match="no view named 'nothing'.*driver_stats"):
        remote.get_online_features(["nothing:x"], [{"driver_id": 1}])
    with pytest.raises(FeastError, match="Row 0 of `entities` cannot be used: 'driver_id': 'x' is no int64"):
        remote.get_online_features(DRIVER[:1], [{"driver_id": "x"}])


def test_remote_store_writes_what_it_then_reads(remote: FeatureStore, ours: FeatureClient) -> None:
    import pandas as pd

    frame = pd.DataFrame(
        {
            "driver_id": [1001, 5001],
            "city": ["Bonn", "Bonn"],
            "rides": [2**60 + 1, 4],
            "rating": [0.1, None],
            "event_timestamp": [pd.Timestamp(NOW)] * 2,
        }
    )
    remote.write_to_online_store("driver_areas", frame)
    rows = [{"driver_id": 1001, "city": "Bonn"}, {"driver_id": 5001, "city": "Bonn"}]
    names = ["driver_areas:rides", "driver_areas:rating"]
    assert remote.get_online_features(names, rows).to_dict() == {
        "driver_id": [1001, 5001],
        "city": ["Bonn", "Bonn"],
        "rides": [2**60 + 1, 4],
        "rating": [0.1, None],
    }
    assert ours.get_online_features(names, rows).to_dict()["driver_areas__rides"] == [2**60 + 1, 4]


# Feast's own server


def in_order(body: dict[str, Any]) -> dict[str, Any]:
    """An answer by name: Feast gives a view's features in an order that changes from process to process."""
    names = body["metadata"]["feature_names"]
    return {"metadata": {**body["metadata"], "feature_names": sorted(names)}} | dict(
        zip(names, body["results"], strict=True)
    )


REQUESTS: dict[str, dict[str, Any]] = {
    "one feature": {"features": ["driver_stats:trips"], "entities": {"driver_id": [1001]}},
    "features of all types": {
        "features": ["driver_stats:" + name for name in ("trips", "active", "since", "scores", "tags")],
        "entities": {"driver_id": [1001, 2**62]},
    },
    "full names": {
        "features": ["driver_stats:conv_rate", "driver_areas:rides"],
        "entities": {"driver_id": [1001, 1001], "city": ["Oslo", "Ulm"]},
        "full_feature_names": True,
    },
    "the same entity twice": {"features": ["driver_stats:name"], "entities": {"driver_id": [1001, 1001]}},
    "an unknown entity": {"features": ["driver_stats:trips"], "entities": {"driver_id": [1001, 7]}},
    "columns that nobody needs": {
        "features": ["driver_stats:trips"],
        "entities": {"driver_id": [1001], "colour": ["red"]},
    },
    "keys as texts": {"features": ["driver_stats:trips"], "entities": {"driver_id": ["1001"]}},
    "version metadata": {
        "features": ["driver_stats:trips"],
        "entities": {"driver_id": [1001]},
        "include_feature_view_version_metadata": True,
    },
}


@pytest.mark.parametrize("name", REQUESTS)
def test_the_same_request_has_the_same_answer(server: ServerProcess, feast: TestClient, name: str) -> None:
    request = REQUESTS[name]
    theirs, mine = feast.post("/get-online-features", json=request), server.post("/get-online-features", request)
    assert (theirs.status_code, mine.status) == (200, 200)
    expected, found = in_order(theirs.json()), in_order(mine.json)
    for view in found["metadata"].get("feature_view_metadata", []):
        assert len(view.pop("hash")) == 16  # ours says which definition answered
    assert json.dumps(found, sort_keys=True) == json.dumps(expected, sort_keys=True)


def test_answers_are_the_same_bytes(server: ServerProcess, feast: TestClient) -> None:
    request = REQUESTS["one feature"]
    assert (
        server.post("/get-online-features", request).content == feast.post("/get-online-features", json=request).content
    )


def both(server: ServerProcess, feast: TestClient, request: dict[str, Any]) -> tuple[Any, Any]:
    """The last feature's result of Feast and of headrace."""
    theirs, mine = feast.post("/get-online-features", json=request), server.post("/get-online-features", request)
    assert (theirs.status_code, mine.status) == (200, 200)
    return theirs.json()["results"][-1], mine.json["results"][-1]


def test_differs_a_row_older_than_the_ttl_is_not_served(server: ServerProcess, feast: TestClient) -> None:
    theirs, mine = both(server, feast, {"features": ["driver_stats:trips"], "entities": {"driver_id": [1003]}})
    assert (theirs["values"], theirs["statuses"]) == ([8], ["PRESENT"])
    assert (mine["values"], mine["statuses"]) == ([None], ["OUTSIDE_MAX_AGE"])
    assert mine["event_timestamps"] == theirs["event_timestamps"]


def test_differs_a_null_has_a_status_of_its_own(server: ServerProcess, feast: TestClient) -> None:
    theirs, mine = both(server, feast, {"features": ["driver_stats:conv_rate"], "entities": {"driver_id": [1002]}})
    assert theirs["values"] == mine["values"] == [None]
    assert (theirs["statuses"], mine["statuses"]) == (["PRESENT"], ["NULL_VALUE"])


def test_differs_an_on_demand_feature_has_the_event_time_of_what_it_was_computed_from(
    server: ServerProcess, feast: TestClient
) -> None:
    request = {"features": ["trip_score:score"], "entities": {"driver_id": [1001, 2**62], "km": [2.5, 1.0]}}
    theirs, mine = both(server, feast, request)
    assert json.dumps(mine["values"]) == json.dumps(theirs["values"])
    assert mine["statuses"] == theirs["statuses"] == ["PRESENT"] * 2
    assert theirs["event_timestamps"] == ["1970-01-01T00:00:00Z"] * 2
    assert mine["event_timestamps"] == ["2024-05-01T11:00:00Z", "2024-05-01T09:00:00Z"]


WRONG: dict[str, tuple[dict[str, Any], int, int, str]] = {
    "unknown service": (
        {"feature_service": "nothing", "entities": {"driver_id": [1]}},
        404,
        404,
        "FeatureServiceNotFoundException",
    ),
    "unknown view": (
        {"features": ["nothing:x"], "entities": {"driver_id": [1]}},
        404,
        404,
        "FeatureViewNotFoundException",
    ),
    "unknown feature": ({"features": ["driver_stats:x"], "entities": {"driver_id": [1]}}, 500, 422, "FeastError"),
    "no features": ({"features": [], "entities": {"driver_id": [1]}}, 500, 422, "FeastError"),
    "a name without a view": (
        {"features": ["trips"], "entities": {"driver_id": [1]}},
        500,
        404,
        "FeatureServiceNotFoundException",
    ),
    "two of one name": (
        {
            "features": ["shop_orders:orders_1h", "driver_areas:rides", "driver_areas:rides2"],
            "entities": {"shop": ["a"]},
        },
        500,
        422,
        "FeastError",
    ),
    "a missing key": ({"features": ["driver_stats:trips"], "entities": {"drivers": [1]}}, 500, 422, "FeastError"),
    "a null key": ({"features": ["driver_stats:trips"], "entities": {"driver_id": [None]}}, 500, 422, "FeastError"),
    "a key of another type": (
        {"features": ["driver_stats:trips"], "entities": {"driver_id": ["x"]}},
        500,
        422,
        "FeastError",
    ),
    "columns of different lengths": (
        {"features": ["driver_areas:rides"], "entities": {"driver_id": [1, 2], "city": ["Oslo"]}},
        500,
        422,
        "FeastError",
    ),
    "no request data": (
        {"features": ["trip_score:score"], "entities": {"driver_id": [1001]}},
        404,
        404,
        "RequestDataNotFoundInEntityRowsException",
    ),
    "no entities": ({"features": ["driver_stats:trips"], "entities": {}}, 500, 422, "FeastError"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_requests_are_refused_with_a_status_that_is_not_tried_again(
    server: ServerProcess, feast: TestClient, name: str
) -> None:
    request, status_of_feast, status, feast_class = WRONG[name]
    assert feast.post("/get-online-features", json=request).status_code == status_of_feast
    reply = server.post("/get-online-features", request)
    assert reply.status == status
    detail = json.loads(reply.json)
    assert (detail["module"], detail["class"]) == ("feast.errors", feast_class)
    assert detail["message"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "is not JSON"),
        (b'{"features": ["driver_stats:trips"], "entities": {"driver_id": [NaN]}}', 400, "is not JSON"),
        (b"[]", 422, "another shape"),
        (b'{"features": "driver_stats:trips", "entities": {"driver_id": [1]}}', 422, "another shape"),
        (b'{"features": ["driver_stats:trips"], "entities": {"driver_id": 1}}', 422, "another shape"),
        (b'{"features": ["driver_stats:trips"], "entities": {"driver_id": [%s]}}' % (b"9" * 400), 422, "driver_id"),
        (b'{"features": ["driver_stats:trips"], "entities": {"driver_id": ["\xff"]}}', 400, "is not JSON"),
        (
            b'{"features": ["driver_stats:trips"], "entities": {"driver_id": [%s]}}' % (b"[" * 100_000),
            400,
            "is not JSON",
        ),
    ],
)
def test_bodies_that_are_no_request_are_refused(server: ServerProcess, body: bytes, status: int, said: str) -> None:
    reply = server.post("/get-online-features", body)
    assert reply.status == status
    assert said in json.loads(reply.json)["message"]


def test_no_rows_are_no_answer_and_no_error(server: ServerProcess, feast: TestClient) -> None:
    request = {"features": ["driver_stats:trips"], "entities": {"driver_id": []}}
    assert feast.post("/get-online-features", json=request).status_code == 500
    reply = server.post("/get-online-features", request)
    assert (reply.status, reply.json["metadata"]["feature_names"]) == (200, ["driver_id", "trips"])
    assert reply.json["results"] == [{"values": [], "statuses": [], "event_timestamps": []}] * 2


def test_differs_an_empty_list_is_null_because_feasts_client_fails_on_it(
    server: ServerProcess,
) -> None:
    from feast.type_map import python_values_to_proto_values

    request = {"features": ["shop_orders:last_prices"], "entities": {"shop": ["a", "b", "never"]}}
    result = server.post("/get-online-features", request).json["results"][-1]
    assert result["values"] == [[0.1, 0.2], None, None]
    assert result["statuses"] == ["PRESENT", "NULL_VALUE", "NOT_FOUND"]
    with pytest.raises(TypeError, match="empty value"):
        python_values_to_proto_values([[]])  # what the client makes of each value


def test_windows_say_what_left_them(server: ServerProcess) -> None:
    request = {"features": ["shop_windows:orders", "shop_windows:highest"], "entities": {"shop": ["a", "old", "never"]}}
    results = server.post("/get-online-features", request).json["results"]
    assert results[1]["values"] == [2, 0, 0]
    assert results[1]["statuses"] == ["PRESENT"] * 3  # the count of no events is a value: 0
    assert results[2]["values"] == [0.2, None, None]
    assert results[2]["statuses"] == ["PRESENT", "OUTSIDE_MAX_AGE", "NOT_FOUND"]
    old = (NOW - timedelta(minutes=300)).isoformat().replace("+00:00", "Z")
    assert results[2]["event_timestamps"][1:] == [old, "1970-01-01T00:00:00Z"]


def test_two_features_of_one_name_need_full_names(server: ServerProcess) -> None:
    request: dict[str, Any] = {
        "features": ["driver_stats:trips", "driver_stats:trips"],
        "entities": {"driver_id": [1001]},
    }
    assert server.post("/get-online-features", request).json["metadata"]["feature_names"] == ["driver_id", "trips"]


def test_health_is_answered_to_anybody(server: ServerProcess) -> None:
    reply = server.get("/health")
    assert (reply.status, reply.content) == (200, b"")


def test_rows_of_the_push_source_are_there(server: ServerProcess) -> None:
    entities = {"driver_id": AREAS["driver_id"], "city": AREAS["city"]}
    results = server.post("/get-online-features", {"features": ["driver_areas:rides"], "entities": entities}).json
    assert results["results"][2]["values"] == AREAS["rides"]
