from __future__ import annotations

from pathlib import Path

import pytest

from headrace.config import Project
from headrace.errors import BrokerUnavailableError
from headrace.kafka import EmbeddedBroker, project_connection


def project(root: Path, settings: str = "") -> Project:
    (root / "headrace.toml").write_text(f"[headrace]\n{settings}")
    return Project.load(root)


def test_named_broker_is_taken_as_it_is(tmp_path: Path) -> None:
    assert str(project_connection(project(tmp_path, 'broker = "kafka:9092,kafka2:9092"'))) == "kafka:9092,kafka2:9092"


@pytest.mark.kafka
def test_embedded_broker_is_found_while_it_runs(tmp_path: Path) -> None:
    here = project(tmp_path)
    with EmbeddedBroker(here.broker_state_path) as broker:
        assert project_connection(here) == broker.connection
    with pytest.raises(BrokerUnavailableError, match="headrace dev"):
        project_connection(here)
