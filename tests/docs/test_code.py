"""The code in README and docs runs: Python blocks run in order against a small deployment; TOML blocks are read."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.declare import compile_repo
from headrace.declare.feast_import import quiet_feast
from headrace.kafka import EmbeddedBroker
from headrace.plan import write_plan
from headrace.state import LocalState
from tests.e2e.flights import ROOT, Deployment

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(language, code, id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, (language, code) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")))
]
CHECKED = {"python", "toml", "bash", "typescript"}
TOLD_ELSEWHERE = {"console", "text", "json", "yaml", "sql"}
"""Commands are checked by test_links and run by tests/e2e; the others are output or drawings."""
SERVER = "http://127.0.0.1:6566"
"""The server that blocks ask."""


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A few hundred events of both topics, applied; the broker still runs."""
    folder = tmp_path_factory.mktemp("docs")
    write_plan(compile_repo(ROOT / "feature_repo"), LocalState(folder).file("plan.json"))
    with EmbeddedBroker(folder / "broker.json") as broker:
        deployed = Deployment(folder, {"broker": broker.address})
        for topic in ("departures", "weather"):
            deployed.json("produce", topic, "--limit", "400")
        deployed.json("stream", "--until-end")
        yield deployed


@pytest.fixture(scope="module")
def server(deployment: Deployment) -> Iterator[str]:
    """The URL of a server of that deployment."""
    with deployment.start("serve", "--port", "0") as process:
        assert process.stdout is not None
        listening = re.search(r"http://[0-9.:]+", process.stdout.readline())
        try:
            assert listening is not None, process.stderr.read() if process.stderr else None
            yield listening[0]
        finally:
            process.terminate()
            process.communicate(timeout=240)


def with_server(code: str, request: pytest.FixtureRequest) -> str:
    """A block that asks the server of the deployment, where it asks one."""
    return code.replace(SERVER, request.getfixturevalue("server")) if SERVER in code else code


def test_every_block_says_what_it_is() -> None:
    assert {param.values[0] for param in BLOCKS} <= CHECKED | TOLD_ELSEWHERE
    for page in PAGES:
        fences = re.findall(r"^```(\w*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert all(fences[::2]), f"{page.name} has a code block without a language"


@pytest.mark.slow
@pytest.mark.kafka
# This deployment holds the first days of 2013 alone, and the README's event comes weeks later.
@pytest.mark.filterwarnings("ignore:This event moves the record clock:headrace.errors.HeadraceWarning")
@pytest.mark.parametrize(("language", "code"), [param for param in BLOCKS if param.values[0] == "python"])
def test_python_runs(
    deployment: Deployment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    language: str,
    code: str,
) -> None:
    code = with_server(code, request)
    for name, value in deployment.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(ROOT)
    with quiet_feast():
        # A module of its own: what classes annotate their fields with is looked up there.
        module = types.ModuleType("a_code_block")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        file = tmp_path / "a_code_block.py"
        file.write_text(code, encoding="utf-8")  # Feast reads the source of on-demand functions
        exec(compile(code, str(file), "exec"), module.__dict__)  # noqa: S102 our own docs


PROGRAMS = {"bash": "curl", "typescript": "node"}


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.parametrize(
    ("language", "code"), [param for param in BLOCKS if param.values[0] in PROGRAMS and SERVER in str(param.values[1])]
)
def test_other_languages_run(request: pytest.FixtureRequest, tmp_path: Path, language: str, code: str) -> None:
    """curl runs as it is. TypeScript without annotations is JavaScript, which node runs as a module."""
    program = shutil.which(PROGRAMS[language])
    if program is None:
        pytest.skip(f"{PROGRAMS[language]} is not installed")
    script = tmp_path / ("block.sh" if language == "bash" else "block.mjs")
    script.write_text(with_server(code, request), encoding="utf-8")
    command = ["bash", "-euo", "pipefail", str(script)] if language == "bash" else [program, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize(("language", "code"), [param for param in BLOCKS if param.values[0] == "toml"])
def test_toml_is_a_projects_settings(tmp_path: Path, language: str, code: str) -> None:
    from headrace.config import Project

    assert set(tomllib.loads(code)) <= {"headrace", "kafka", "audit", "log", "serve"}
    (tmp_path / "headrace.toml").write_text(code)
    assert Project.load(tmp_path).partitions
