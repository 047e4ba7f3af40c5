"""docker-compose.yml is a deployment of this checkout: the client accepts it, and what it names exists."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.config import Project

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
def test_the_docker_client_accepts_the_file() -> None:
    command = _compose_command()
    if command is None:
        pytest.skip("docker compose is not installed; on Debian: apt-get install docker-compose")
    checked = subprocess.run(
        [*command, "-f", str(COMPOSE), "config", "-q"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_it_runs_kafka_redis_and_a_worker(services: dict[str, Any]) -> None:
    assert {"kafka", "redis", "worker"} <= set(services)
    assert all("healthcheck" in services[name] for name in ("kafka", "redis"))
    assert services["worker"]["depends_on"]["kafka"] == {"condition": "service_healthy"}


def test_its_settings_are_ones_that_headrace_reads(services: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in services["worker"]["environment"].items():
        monkeypatch.setenv(name, value)
    project = Project.load(ROOT)
    assert project.broker == "kafka:9092"
    assert project.store_url == "redis://redis:6379/0"


def test_servers_are_published_to_this_machine_only(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_what_the_image_copies_exists_and_is_not_ignored() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert copied
    for name in copied:
        assert (ROOT / name).exists(), f"the Dockerfile copies {name}"
        assert f"!{name.removeprefix('./')}" in allowed, f".dockerignore hides {name}"
