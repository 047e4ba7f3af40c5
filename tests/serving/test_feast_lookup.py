"""`POST /get-online-features` for stream views: the values of our client, in Feast's form, and Feast's errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.lookup import FeatureClient
from tests.serving.server_process import Reply, ServerProcess

FEATURES = ["shops:count_60", "shops:mean_price_60", "shops:pieces_ever", "shops:last_note", "shops:last_gift"]
SHOPS = ["a", "b", "never"]


def ask(server: ServerProcess, features: Any, entities: Any, **more: Any) -> Reply:
    named = {"feature_service": features} if isinstance(features, str) else {"features": features}
    return server.post("/get-online-features", {**named, "entities": entities, **more})


def refusal(reply: Reply) -> tuple[int, str, str]:
    """The status, the class of `feast.errors`, and the message."""
    detail = json.loads(reply.json)
    assert detail["module"] == "feast.errors"
    return reply.status, detail["class"], detail["message"]


def test_values_are_those_of_our_client(server: ServerProcess, shop: Path) -> None:
    body = ask(server, FEATURES, {"shop": SHOPS}, full_feature_names=True).json
    with FeatureClient(shop) as client:
        expected = client.get_online_features(FEATURES, {"shop": SHOPS}).to_dict()
    written = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}
    plain = {name: [written.get(repr(one), one) for one in values] for name, values in expected.items()}
    assert body["metadata"]["feature_names"] == list(plain)
    assert [repr(result["values"]) for result in body["results"]] == [repr(values) for values in plain.values()]


def test_a_service_has_short_names_and_its_keys_first(server: ServerProcess) -> None:
    reply = ask(server, "desk", {"other": [1], "buyer": [7], "shop": ["a"]})
    assert reply.status == 422  # the service has two features of one name
    assert refusal(reply)[1] == "FeatureNameCollisionError"
    body = ask(server, "desk", {"buyer": [7], "other": [1], "shop": ["a"]}, full_feature_names=True).json
    names = ["buyer", "shop", "refunds__refunds_ever", "shops__count_60", "pairs__count_60"]
    assert body["metadata"] == {"feature_names": names}
    assert [result["values"] for result in body["results"][:2]] == [[7], ["a"]]


def test_a_null_says_what_is_known_of_its_entity(server: ServerProcess) -> None:
    count, note = ask(server, ["shops:count_60", "shops:last_note"], {"shop": SHOPS}).json["results"][1:]
    assert (count["values"][2], count["statuses"]) == (0, ["PRESENT"] * 3)
    assert (note["values"], note["statuses"]) == ([None] * 3, ["NULL_VALUE", "NULL_VALUE", "NOT_FOUND"])
    assert count["event_timestamps"][2] == "1970-01-01T00:00:00Z"


def test_keys_are_read_by_their_type(server: ServerProcess) -> None:
    for key in (7, "7", 7.0):
        assert ask(server, ["buyers:count_60"], {"buyer": [key]}).json["results"][0]["values"] == [7]
    assert ask(server, ["members:count_60"], {"member": [1]}).json["results"][0]["values"] == [True]
    body = ask(server, ["days:count_60"], {"day": ["1970-01-01T00:00:00Z", 0]}).json
    assert body["results"][0]["values"] == [0, 0]
    assert body["results"][1]["values"][0] == body["results"][1]["values"][1] > 0


def test_versions_are_named_if_they_are_asked_for(server: ServerProcess) -> None:
    more = {"include_feature_view_version_metadata": True}
    (view,) = ask(server, ["shops:count_60"], {"shop": ["a"]}, **more).json["metadata"]["feature_view_metadata"]
    assert view["name"] == "shops"
    assert len(view["hash"]) == 16
    asked = f"shops@{view['hash']}:count_60"
    body = ask(server, [asked], {"shop": ["a"]}, full_feature_names=True, **more).json
    assert body["metadata"]["feature_view_metadata"] == [view]
    assert body["metadata"]["feature_names"] == ["shop", f"shops@{view['hash']}__count_60"]


@pytest.mark.parametrize(
    ("features", "entities", "refused"),
    [
        ("nothing", {"shop": ["a"]}, (404, "FeatureServiceNotFoundException", "Feature services: desk")),
        (["nothing:x"], {"shop": ["a"]}, (404, "FeatureViewNotFoundException", "no view named 'nothing'")),
        (["shops@v9:x"], {"shop": ["a"]}, (422, "FeastError", "v9")),
        (["shops:x"], {"shop": ["a"]}, (422, "FeastError", "no feature named 'x'")),
        ([], {"shop": ["a"]}, (422, "FeastError", "names no features")),
        (["pairs:count_60"], {"shop": ["a"]}, (422, "FeastError", "lacks 'buyer' (the key of 'pairs')")),
        (["pairs:count_60"], {"shop": ["a"], "buyer": [1, 2]}, (422, "FeastError", "shop has 1, buyer has 2")),
        (["shops:count_60"], {"shop": ["a", None]}, (422, "FeastError", "Row 1 of `entities` cannot be used: 'shop'")),
        (["buyers:count_60"], {"buyer": ["x"]}, (422, "FeastError", "'x' is no int64")),
        (["buyers:count_60"], {"buyer": [2**63]}, (422, "FeastError", "does not fit in 64 bits")),
        (["days:count_60"], {"day": ["today"]}, (422, "FeastError", "write times as ISO 8601")),
        (["shops:count_60"], {}, (422, "FeastError", "lacks 'shop'")),
        (["shops:count_60"], {"shop": ["a"] * 20_000}, (422, "FeastError", "20,000 rows")),
    ],
)
def test_what_cannot_be_answered_is_refused_as_feasts_client_expects(
    server: ServerProcess, features: Any, entities: Any, refused: tuple[int, str, str]
) -> None:
    status, feast_class, message = refusal(ask(server, features, entities))
    assert (status, feast_class) == refused[:2]
    assert refused[2] in message


def test_no_rows_are_an_empty_answer(server: ServerProcess) -> None:
    body = ask(server, ["shops:count_60"], {"shop": []}).json
    assert body["results"] == [{"values": [], "statuses": [], "event_timestamps": []}] * 2


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"entities": {"shop": 1}}', b'{"entities": {"shop": [NaN]}}', b"\xff"])
def test_bodies_that_are_no_request_are_refused(server: ServerProcess, body: bytes) -> None:
    status, feast_class, _ = refusal(server.post("/get-online-features", body))
    assert status in (400, 422)
    assert feast_class == "FeastError"
