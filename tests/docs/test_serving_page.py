"""The examples of docs/serving.md run: its curl commands and its TypeScript, against a server of the flights."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from headrace.declare import compile_repo
from headrace.kafka import EmbeddedBroker
from headrace.lookup import FeatureClient
from headrace.plan import write_plan
from headrace.serving.limits import Limits
from headrace.state import LocalState
from tests.e2e.flights import ROOT, Deployment
from tests.serving.server_process import ServerProcess

PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ (curl .+)$", PAGE, re.MULTILINE)
(TYPESCRIPT,) = re.findall(r"^```typescript\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
TYPES = re.compile(r"^type .*\n|: (?:string|Record<string, unknown\[\]>|Promise<Answer>)(?=[,) ])", re.MULTILINE)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """A few hundred events of both topics, applied."""
    folder = tmp_path_factory.mktemp("served")
    write_plan(compile_repo(ROOT / "feature_repo"), LocalState(folder).file("plan.json"))
    with EmbeddedBroker(folder / "broker.json") as broker:
        deployed = Deployment(folder, {"broker": broker.address})
        for topic in ("departures", "weather"):
            deployed.json("produce", topic, "--limit", "400")
        deployed.json("stream", "--until-end")
    return deployed


@pytest.fixture(scope="module")
def server(deployment: Deployment) -> Iterator[ServerProcess]:
    with ServerProcess(ROOT, environment=deployment.environment, log_folder=deployment.state) as started:
        yield started.wait_ready()


def test_the_page_has_examples() -> None:
    assert len(COMMANDS) >= 3


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("command", COMMANDS)
def test_curl_commands_are_answered(server: ServerProcess, command: str) -> None:
    here = command.replace("http://127.0.0.1:6566", server.url)
    assert here != command
    done = subprocess.run(["sh", "-c", here], capture_output=True, text=True, check=True)
    assert "error" not in json.loads(done.stdout), done.stdout


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_typescript_gets_the_value_of_a_client_in_process(
    server: ServerProcess, deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "lookup.mjs"
    program.write_text(TYPES.sub("", TYPESCRIPT))  # node runs it without its types
    done = subprocess.run(["node", str(program), server.url], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, value in deployment.environment.items():
        if name.startswith("HEADRACE_"):
            monkeypatch.setenv(name, value)
    with FeatureClient(ROOT) as client:
        answer = client.get_online_features("delay_model", [{"origin": "EWR", "carrier": "UA"}])
    assert json.loads(done.stdout) == answer.to_dict()["origin_departures__departures_1h"]


def test_every_limit_is_on_the_page_with_its_value() -> None:
    told = PAGE.split("\n## Limits\n")[1].split("\n## ")[0]
    for limit in fields(Limits):
        assert f"`{limit.name}`" in told
        assert isinstance(limit.default, int | float)
        assert f"{limit.default:,.0f}" in told


def test_every_route_of_the_document_is_on_the_page(server: ServerProcess) -> None:
    for path in server.get("/openapi.json").json["paths"]:
        assert f" {path}`" in PAGE or path.startswith(("/get-online", "/push", "/write-to", "/materialize")), path
