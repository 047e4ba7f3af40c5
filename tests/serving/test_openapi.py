"""The OpenAPI document describes what the server does: schemathesis asks what it allows, and finds no contradiction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
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
    """Ask one operation what its schema allows, and what it does not allow."""
    from hypothesis import given
    from schemathesis import GenerationMode

    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        def ask(case: Any) -> None:
            case.call_and_validate(checks=CHECKS)

        ask()


def test_the_application_can_be_made_without_a_store(shop: Path) -> None:
    app = create_app(ServerSettings(shop))
    assert app.openapi()["info"]["title"] == "headrace"


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_no_page_loads_scripts_from_elsewhere(server: ServerProcess, path: str) -> None:
    assert server.get(path).status == 404
