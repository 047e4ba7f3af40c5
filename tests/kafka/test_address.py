from __future__ import annotations

from pathlib import Path

import pytest

from headrace.config import Project
from headrace.errors import BrokerUnavailableError
from headrace.kafka import EmbeddedBroker, broker_address


def project(root: Path, settings: str = "") -> Project:
    (root / "headrace.toml").write_text(f"[headrace]\n{settings}")
    return Project.load(root)


def test_named_broker_is_taken_as_it_is(tmp_path: Path) -> None:
    assert broker_address(project(tmp_path, 'broker = "kafka:9092,kafka2:9092"')) == "kafka:9092,kafka2:9092"


@pytest.mark.kafka
def test_embedded_broker_is_found_while_it_runs(tmp_path: Path) -> None:
    here = project(tmp_path)
    with EmbeddedBroker(here.broker_state_path) as broker:
        assert broker_address(here) == broker.address
    with pytest.raises(BrokerUnavailableError, match="headrace dev"):
        broker_address(here)
