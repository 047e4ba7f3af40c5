"""`POST /v1/lookup` answers what a client in the same process answers; what is wrong with a request is told."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from headrace.lookup import FeatureClient
from headrace.lookup.wire import ARROW_TYPE, answer_from_arrow, answer_from_json, answer_to_json
from tests.lookup.conftest import at
from tests.serving.server_process import ServerProcess

ALL = ["shops:*", "windows:*", "refunds:*"]


@pytest.fixture(scope="module")
def client(shop: Path) -> FeatureClient:
    return FeatureClient(shop)


@pytest.mark.parametrize(
    ("features", "entities", "time"),
    [
        ("desk", {"shop": ["a", "b", "nobody"], "buyer": [7, 2**60, 1]}, None),
        (ALL, {"shop": ["a", "b", "nobody"]}, None),
        (ALL, {"shop": ["a"]}, 135),
        (["days:*"], {"day": ["1970-01-01T00:00:00Z"]}, None),
        (["members:count_60"], {"member": [True, False]}, None),
        (["shops:count_60"], {"shop": []}, None),
    ],
)
def test_answers_are_those_of_the_client_in_process(
    server: ServerProcess, client: FeatureClient, features: Any, entities: dict[str, Any], time: int | None
) -> None:
    rows = {name: [at(0)] if name == "day" else values for name, values in entities.items()}
    wanted = client.get_online_features(features, rows, None if time is None else at(time))
    more = {} if time is None else {"at": at(time).isoformat()}
    reply = server.lookup(features, entities, **more)
    assert reply.status == 200, reply.content
    assert reply.content == orjson.dumps(answer_to_json(wanted))
    assert answer_from_json(reply.json).records() == wanted.records()


def test_arrow_is_the_same_answer(server: ServerProcess, client: FeatureClient) -> None:
    body = {"features": ALL, "entities": {"shop": ["a", "b", "nobody"]}}
    reply = server.post("/v1/lookup", body, {"Accept": ARROW_TYPE})
    assert reply.headers["content-type"] == ARROW_TYPE
    wanted = client.get_online_features(ALL, body["entities"])  # type: ignore[arg-type]
    assert answer_from_arrow(reply.content).records() == wanted.records()


def test_rows_may_be_objects(server: ServerProcess) -> None:
    columns = server.lookup("desk", {"shop": ["a", "b"], "buyer": [7, 8]})
    rows = [{"shop": "a", "buyer": 7}, {"shop": "b", "buyer": 8}]
    assert server.post("/v1/lookup", {"features": "desk", "entity_rows": rows}).content == columns.content


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "not JSON"),
        (b"\xff\xfe", 400, "not JSON"),
        (b'{"features": "desk", "entities": {"buyer": [NaN]}}', 400, "not JSON"),
        (b'{"features": "desk", "entities": {"buyer": ' + b"[" * 100_000, 400, "JSON"),
        (b"", 400, "not JSON"),
        (b"[]", 422, "object"),
        (b"{}", 422, "features"),
        ({"features": 7}, 422, "$.features"),
        ({"features": "desk", "entity": {}}, 422, "entity"),
        ({"features": "desk"}, 422, "entities"),
        ({"features": [], "entities": {"shop": ["a"]}}, 422, "no features"),
        ({"features": "lost", "entities": {"shop": ["a"]}}, 422, "lost"),
        ({"features": ["shops:lost"], "entities": {"shop": ["a"]}}, 422, "lost"),
        ({"features": ["lost:*"], "entities": {"shop": ["a"]}}, 422, "lost"),
        ({"features": ["shops:*"], "entities": {}}, 200, ""),
        ({"features": "desk", "entities": {"shop": ["a"]}}, 422, "'buyer'"),
        ({"features": ["shops:*"], "entities": {"shop": [None]}}, 422, "'shop'"),
        ({"features": ["shops:*"], "entities": {"shop": [7]}}, 422, "shop=7"),
        ({"features": ["buyers:*"], "entities": {"buyer": ["7"]}}, 422, "buyer='7'"),
        ({"features": ["buyers:*"], "entities": {"buyer": [True]}}, 422, "buyer=True"),
        ({"features": ["buyers:*"], "entities": {"buyer": [7.0]}}, 422, "buyer=7.0"),
        ({"features": ["buyers:*"], "entities": {"buyer": [2**70]}}, 200, ""),
        (b'{"features": ["buyers:*"], "entities": {"buyer": [' + b"1" * 5_000 + b"]}}", 422, "out of range"),
        ({"features": ["days:*"], "entities": {"day": ["soon"]}}, 422, "day"),
        ({"features": ["days:*"], "entities": {"day": ["2026-01-01T00:00:00"]}}, 422, "time zone"),
        ({"features": "desk", "entities": {"shop": ["a", "b"], "buyer": [7]}}, 422, "length"),
        ({"features": "desk", "entities": {"shop": [[]], "buyer": [{}]}}, 422, "buyer"),
        ({"features": "desk", "entities": {}, "entity_rows": []}, 422, "both"),
        ({"features": ["shops:*"], "entities": {"shop": ["a"]}, "at": "now"}, 422, "at="),
        ({"features": ["shops:*"], "entities": {"shop": ["a"]}, "at": "1970-01-01T00:00:00"}, 422, "time zone"),
        ({"features": ["shops:*"], "entities": {"shop": ["a"]}, "at": "9999-12-31T23:59:59Z"}, 200, ""),
        ({"features": ["shops:*"], "entities": {"shop": ["a"]}, "request": {"amount": [1, 2]}}, 422, "request.amount"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do(server: ServerProcess, body: Any, status: int, words: str) -> None:
    reply = server.post("/v1/lookup", body)
    assert reply.status == status, reply.content
    if status != 200:
        assert words in reply.error["message"]
        assert reply.error["hint"]
        assert reply.error["kind"].endswith("Error")


def test_a_body_of_another_type_is_refused(server: ServerProcess) -> None:
    body = json.dumps({"features": ["shops:*"], "entities": {"shop": ["a"]}}).encode()
    for headers in ({}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}):
        reply = server.request("POST", "/v1/lookup", body, headers)
        assert reply.status == 415
        assert "application/json" in str(reply.error["hint"])
    assert server.post("/v1/lookup", body, {"Content-Type": "application/json; charset=utf-8"}).status == 200


def test_other_paths_and_methods_get_errors_of_the_same_form(server: ServerProcess) -> None:
    assert server.get("/lost").status == 404
    assert server.get("/lost").error["hint"]
    wrong = server.get("/v1/lookup")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
    assert "GET /v1/lookup" in wrong.error["message"]


def test_a_client_that_offers_another_protocol_gets_its_answer_in_this_one(server: ServerProcess) -> None:
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAEAAEAA"}  # as Java's does
    body = json.dumps({"features": ["shops:*"], "entities": {"shop": ["a"]}})
    with closing(server.connect()) as connection:
        for _ in range(3):
            connection.request("POST", "/v1/lookup", body, {"Content-Type": "application/json", **offer})
            reply = connection.getresponse()
            assert reply.status == 200
            assert json.load(reply)["features"]["shops__pieces_ever"] == [2]
