"""`headrace lookup --url`: the same record as from the store here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from headrace.cli import app
from headrace.config import Project
from headrace.lookup import FeatureClient as InProcessClient
from headrace.plan import write_plan
from headrace.stores import open_store
from tests.client.wire_server import WireServer, answer_with, error_body
from tests.lookup.conftest import PLAN, at, fill, order, serving

DESK = ["--service", "desk", "--key", "shop=a", "--key", "buyer=7"]


def run(*arguments: str, code: int = 0) -> Any:
    runner = CliRunner(env={"COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb"})
    done = runner.invoke(app, ["lookup", *arguments])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout) if "--json" in arguments else done.output


def test_record_is_that_of_the_store_here(server: WireServer, tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text('[headrace]\nclock = "record"\n')
    project = Project.load(tmp_path)
    write_plan(PLAN, project.plan_file)
    with open_store(project.store_url, writable=True) as store:
        store.change(serving())
        fill(store, order(5, gift=False, note="ü", price=-0.0, pieces=2**62))
        with WireServer(InProcessClient(plan=PLAN, store=store)) as mine:
            for asked in (DESK, ["--feature", "days:*", "--key", "day=1970-01-01T00:00:00Z"]):
                when = ["--at", at(9).isoformat()]
                here = run(*asked, *when, "--project", str(tmp_path), "--json")
                assert run(*asked, *when, "--url", mine.url, "--json") == here


def test_table_names_the_server(server: WireServer) -> None:
    output = run(*DESK, "--url", server.url)
    assert f"shop=a, buyer=7 at 1970-01-01T00:00:00.000007Z ({server.url})" in output
    assert "shops:count_60" in output


def test_token_is_read_from_its_file_without_the_line_end(server: WireServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t0ken\n")
    run(*DESK, "--url", server.url, "--token-file", str(tmp_path / "token"), "--json")
    assert {one.headers["authorization"] for one in server.asked} == {"Bearer t0ken"}


def test_without_a_service_the_only_one_is_asked(server: WireServer) -> None:
    assert run(*DESK[2:], "--url", server.url, "--json") == run(*DESK, "--url", server.url, "--json")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--token-file", "none"], "--token-file is for a server, and no server is named."),
        (["--ca-file", "none"], "--ca-file is for a server, and no server is named."),
        (["--url", "URL", "--token-file", "none"], "The token cannot be read"),
        (["--url", "URL", "--key", "shop"], "--key shop names no join key of these features."),
        (["--url", "URL", "--key", "buyer=x"], "--key buyer=x is not of the type int64."),
        (["--url", "URL", "--feature", "shops:none"], "--service and --feature cannot be given together."),
        (["--url", "features:6566"], "'features:6566' is no URL of a server."),
    ],
)
def test_wrong_calls_are_told_so(server: WireServer, tmp_path: Path, arguments: list[str], told: str) -> None:
    given = [server.url if one == "URL" else one for one in arguments]
    assert told in run(*DESK, *given, code=1)


def test_unknown_features_are_named(server: WireServer) -> None:
    asked = ["--url", server.url, "--key", "shop=a"]
    assert "The server has no service or feature named 'none'" in run("--service", "none", *asked, code=1)
    assert "named 'shops:none'" in run("--feature", "shops:none", *asked, code=1)


def test_a_server_that_is_overloaded_ends_as_not_available(server: WireServer) -> None:
    server.always = answer_with(503, error_body("ServerUnavailableError", "Too many.", "Later."), Retry_After="3600")
    found = run(*DESK, "--url", server.url, "--json", code=4)
    assert (found["error"], found["kind"]) == ("Too many.", "ServerUnavailableError")
