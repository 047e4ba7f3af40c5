"""What `pip install headrace[…]` gives, extra by extra: each in an environment of its own, from the wheel."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from headrace.cli.commands import COMMANDS
from headrace.extras import EXTRAS
from headrace.plan import write_plan
from headrace.state import LocalState
from tests.plan.examples import PLAN

ROOT = Path(__file__).parents[2]

NEEDS = {
    "apply": ("feast",),
    "plan": ("feast",),
    "dev": ("stream",),
    "produce orders-topic": ("stream",),
    "stream": ("stream",),
    "lookup --service desk --key region=1 --key shop=a": (),
    "history --service desk --spine spine.csv": ("offline", "stream"),
    "dataset build training": ("offline", "stream"),
    "dataset verify .": ("offline", "stream"),
    "status": (),
    "list": (),
    "show shops": (),
    "log head orders": ("offline", "stream"),
    "deadletters": ("stream",),
    "audit": ("offline", "stream"),
    "forget shop a": ("offline", "stream"),
    "backfill shops": ("stream", "offline"),
    "rollback shops": ("stream", "offline"),
    "import orders --from orders.csv": ("offline", "stream"),
    "log show": ("offline", "stream"),
    "log compact": ("offline", "stream"),
    "log vacuum": ("offline", "stream"),
    "demo": ("all",),
    "init made": (),
    "reset --yes": ("offline", "stream"),
    "health": (),
    "materialize": ("offline", "feast", "stream"),
    "serve --help": (),
    "token list": (),
}
"""By command, the extras of which each is enough for it."""

ENDLESS = {"dev", "stream", "demo"}
"""Commands that are not run where they have what they need."""

NOTING = {"status", "show shops"}
"""Commands that show what they can, and note what cannot be asked here."""

TOLD = re.compile(r"^error: .*pip install 'headrace\[(\w+)\]'$")
LOGGED = re.compile(r"^\S+Z INFO .*\n", re.MULTILINE)
"""A worker's log line."""

# Runs in the fresh environment, where pytest is not.
PROBE = """
import importlib, json, pkgutil, sys, warnings
warnings.simplefilter("error")
import headrace
from headrace.errors import MissingExtraError

names = {}
found = [module.name for module in pkgutil.iter_modules(headrace.__path__, "headrace.")]
packages = [headrace] + [name for name in found if not name.endswith((".__main__", ".stream"))]
for package in packages:
    package = package if isinstance(package, str) else "headrace"
    try:
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", ()):
            try:
                getattr(module, name)
            except MissingExtraError as error:
                names[f"{package}.{name}"] = error.hint
    except MissingExtraError as error:
        names[package] = error.hint

from typer.testing import CliRunner
from headrace.cli import app
runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})

helps = {}
import typer
root = typer.main.get_command(app)
for name in root.commands:
    done = runner.invoke(app, [name, "--help"])
    helps[name] = [done.exit_code, repr(done.exception)]
runs = {}
for line in json.loads(sys.argv[1]):
    done = runner.invoke(app, line.split())
    expected = done.exception is None or isinstance(done.exception, SystemExit)
    runs[line] = [done.exit_code, done.output, "" if expected else repr(done.exception)]
print(json.dumps({"names": names, "helps": helps, "runs": runs}))
"""


BARE = {"numpy", "pyarrow", "pydantic"}
"""What the bare package has too: extras name newer versions of it."""


def declared() -> dict[str, list[str]]:
    """By extra, what pyproject.toml says it brings."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found: dict[str, list[str]] = table["project"]["optional-dependencies"]
    return found


def test_packages_and_their_extras_are_those_of_pyproject() -> None:
    homes = metadata.packages_distributions()
    brought = {
        extra: {re.split(r"[\[<>=]", line)[0].lower() for line in lines if not line.startswith("headrace")} - BARE
        for extra, lines in declared().items()
        if extra not in ("bench", "dev")
    }
    direct = {package: homes[package][0].lower().replace("_", "-") for package in EXTRAS} | {
        "hiredis": "redis",
        "mode": "faust-streaming",
    }
    for package, extras in EXTRAS.items():
        having = {extra for extra, lines in brought.items() if direct[package] in lines}
        assert set(extras) == having, package
    assert set(direct.values()) == set().union(*brought.values())


def test_every_command_is_tried() -> None:
    assert {line.split()[0] for line in NEEDS} == set(COMMANDS)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (made,) = folder.iterdir()
    return made


def installed(wheel: Path, extra: str, folder: Path) -> Path:
    """The Python of a fresh environment that holds the wheel with one extra, in the versions that are tested."""
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(folder)], check=True)
    what = f"headrace[{extra}] @ {wheel.as_uri()}" if extra else f"headrace @ {wheel.as_uri()}"
    install = [uv, "pip", "install", "-q", "--constraint", str(ROOT / "requirements.lock"), what]
    subprocess.run(install, env={**os.environ, "VIRTUAL_ENV": str(folder)}, check=True)
    return folder / "bin" / "python"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("extra", ["", *(name for name in declared() if name not in ("bench", "dev"))])
def test_extra_alone_gives_a_working_command_line_and_names_what_it_lacks(
    wheel: Path, extra: str, tmp_path: Path
) -> None:
    python = installed(wheel, extra, tmp_path / "env")
    project = tmp_path / "project"
    project.mkdir()
    (project / "headrace.toml").write_text("[headrace]\n")
    (project / "spine.csv").write_text("region,shop,event_timestamp\n1,a,2026-01-01T00:00:00Z\n")
    write_plan(PLAN, LocalState(project / ".headrace").file("plan.json"))
    enough = {line: not needed or extra == "all" or extra in needed for line, needed in NEEDS.items()}
    lines = [line for line in NEEDS if not (enough[line] and line in ENDLESS)]
    done = subprocess.run(
        [python, "-c", PROBE, json.dumps(lines)], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)

    assert {name: state for name, state in found["helps"].items() if state[0]} == {}
    for line, (code, output, unexpected) in found["runs"].items():
        assert not unexpected, (line, unexpected)
        if not enough[line]:
            match = TOLD.match(LOGGED.sub("", output).rstrip("\n"))  # one line, whatever the command
            assert (code, match and match[1]) == (1, NEEDS[line][0]), (line, output)
        else:
            assert line in NOTING or "pip install" not in output, (line, output)
    for name, hint in found["names"].items():
        assert f"[{extra}]" not in hint, name
    if extra == "all":
        assert found["names"] == {}
    if not extra:
        assert {"headrace.EventProducer", "headrace.TrainingClient", "headrace.event_source"} <= set(found["names"])
        assert not {"headrace.FeatureClient", "headrace.Project"} & set(found["names"])
