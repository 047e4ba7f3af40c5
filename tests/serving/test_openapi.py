"""The OpenAPI document describes what the server does: schemathesis asks what it allows, and finds no contradiction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from headrace.serving.app import create_app
from headrace.serving.settings import ServerSettings
from tests.examples import few_and_many
from tests.serving.server_process import ServerProcess

JSON_TYPES = st.tuples(
    st.sampled_from(["int64", "float64", "timestamp", "date", "decimal", "bytes", "object", "lost"]),
    st.text()
    | st.sampled_from(["NaN", "1e400", "7", "2026-01-01", "0001-01-01T00:00:00+23:59", "AA=="])
    | st.integers(),
).map(lambda pair: {pair[0]: pair[1]})

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
)


def test_the_document_names_every_route(server: ServerProcess) -> None:
    document = server.get("/openapi.json").json
    assert {"/v1/lookup", "/get-online-features", "/v1/catalog", "/v1/status", "/health", "/ready", "/metrics"} <= set(
        document["paths"]
    )
    operation = document["paths"]["/v1/lookup"]["post"]
    assert {"200", "400", "413", "415", "422", "503"} <= set(operation["responses"])


@few_and_many(20, 300)
def test_schemathesis_finds_nothing(server: ServerProcess, examples: int) -> None:
    schema: Any = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    for found in schema.get_all_operations():
        operation = found.ok()
        try_it(operation, examples)


def try_it(operation: Any, examples: int) -> None:
    """Ask one operation what its schema allows and, where it takes anything, what it does not allow."""
    takes_anything = bool(operation.body) or any(True for _ in operation.iter_parameters())
    modes = [GenerationMode.POSITIVE, *([GenerationMode.NEGATIVE] if takes_anything else [])]
    for mode in modes:

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        def ask(case: Any) -> None:
            case.call_and_validate(checks=CHECKS)

        ask()


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | JSON_TYPES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)
"""Any JSON, and what the wire has for values that JSON has not."""


@few_and_many(60, 1_000)
def test_no_value_of_an_entity_makes_the_server_fail(server: ServerProcess, examples: int) -> None:
    @given(
        features=st.sampled_from(["desk", ["shops:*"], ["days:*"], ["members:*", "buyers:count_60"]]),
        column=st.lists(st.sampled_from(["a", 7, True, "1970-01-01T00:00:00Z"]) | VALUES, max_size=4),
        at=st.none() | st.text() | st.datetimes(timezones=st.timezones()).map(lambda time: time.isoformat()),
        as_rows=st.booleans(),
    )
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def ask(features: Any, column: list[Any], at: str | None, as_rows: bool) -> None:
        names = ("shop", "buyer", "day", "member")
        body: dict[str, Any] = {"features": features, "at": at}
        if as_rows:
            body["entity_rows"] = [dict.fromkeys(names, value) for value in column]
        else:
            body["entities"] = dict.fromkeys(names, column)
        reply = server.post("/v1/lookup", body)
        assert reply.status in (200, 400, 422), reply.content
        assert reply.status == 200 or reply.error["message"]

    ask()


def test_the_application_can_be_made_without_a_store(shop: Path) -> None:
    app = create_app(ServerSettings(shop))
    assert app.openapi()["info"]["title"] == "headrace"


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_no_page_loads_scripts_from_elsewhere(server: ServerProcess, path: str) -> None:
    assert server.get(path).status == 404
