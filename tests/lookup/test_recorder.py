"""Recording what was served: sampled, bounded, in the background, and never in a lookup's way."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from headrace.config import Project
from headrace.errors import ConfigError
from headrace.log import LookupTable
from headrace.lookup import FeatureClient, OnlineFeatures
from headrace.lookup.recorder import LookupRecorder
from headrace.plan import write_plan
from headrace.stores import OnlineStore
from tests.lookup.conftest import PLAN, fill, order
from tests.waits import wait_until


@pytest.fixture
def answer(store: OnlineStore, client: FeatureClient) -> OnlineFeatures:
    fill(store, order(100), order(130))
    return client.get_online_features("shops:*", [{"shop": "a", "session": "private"}, {"shop": "b"}])


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [row for rows in LookupTable(path).read() for row in rows]


def test_record_holds_what_was_served_and_when(tmp_path: Path, answer: OnlineFeatures) -> None:
    before = time.time_ns() // 1000
    recorder = LookupRecorder(tmp_path / "audit", PLAN, 1)
    recorder.offer(answer)
    recorder.close()
    rows = rows_of(tmp_path / "audit")
    assert [json.loads(row["features"]) for row in rows] == [record["features"] for record in answer.records()]
    assert [json.loads(row["evidence"]) for row in rows] == [record["evidence"] for record in answer.records()]
    assert [json.loads(row["views"]) for row in rows] == [record["views"] for record in answer.records()]
    assert {(row["at_us"], row["plan"], row["unrecorded"]) for row in rows} == {(answer.at_us, PLAN.hash, 0)}
    assert all(before <= row["served_at_us"] <= time.time_ns() // 1000 for row in rows)
    assert (recorder.recorded, recorder.dropped) == (2, 0)


def test_only_join_keys_of_a_request_are_kept(tmp_path: Path, answer: OnlineFeatures) -> None:
    recorder = LookupRecorder(tmp_path / "audit", PLAN, 1)
    recorder.offer(answer)
    recorder.close()
    assert [json.loads(row["keys"]) for row in rows_of(tmp_path / "audit")] == [{"shop": "a"}, {"shop": "b"}]


def test_answers_are_written_in_the_background_while_the_client_is_open(tmp_path: Path, answer: OnlineFeatures) -> None:
    recorder = LookupRecorder(tmp_path / "audit", PLAN, 1, every_s=0.01)
    recorder.offer(answer)
    wait_until(lambda: recorder.recorded == 2, "both rows are recorded")
    assert len(rows_of(tmp_path / "audit")) == 2
    recorder.close()
    recorder.close()
    assert len(rows_of(tmp_path / "audit")) == 2


def test_share_is_sampled(tmp_path: Path, answer: OnlineFeatures) -> None:
    recorder = LookupRecorder(tmp_path / "audit", PLAN, 0.25, capacity=10_000, every_s=60)
    for _ in range(2_000):
        recorder.offer(answer)
    recorder.close()
    assert 2 * 400 < recorder.recorded < 2 * 600
    assert recorder.dropped == 0


def test_full_queue_drops_counts_and_tells(tmp_path: Path, answer: OnlineFeatures) -> None:
    recorder = LookupRecorder(tmp_path / "audit", PLAN, 1, capacity=3, every_s=60)
    for _ in range(5):
        recorder.offer(answer)
    recorder.flush()
    assert (recorder.recorded, recorder.dropped) == (6, 4)
    assert sum(row["unrecorded"] for row in rows_of(tmp_path / "audit")) == 4
    for _ in range(4):
        recorder.offer(answer)
    recorder._waiting.clear()  # noqa: SLF001 as if nothing had been left to write the count with
    with patch(
        "headrace.lookup.recorder.logger.warning"
    ) as warning:  # Faust disables loggers that were there before it
        recorder.close()
    assert "2 lookups that should have been recorded" in warning.call_args.args[0] % warning.call_args.args[1:]


def test_table_that_cannot_be_written_fails_no_lookup_and_is_counted(
    tmp_path: Path, answer: OnlineFeatures, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "audit").write_text("in the way")
    recorder = LookupRecorder(tmp_path / "audit", PLAN, 1, every_s=60)
    recorder.offer(answer)
    with caplog.at_level(logging.WARNING):
        recorder.flush()
    assert "2 lookups could not be recorded" in caplog.text
    assert (recorder.recorded, recorder.dropped) == (0, 2)
    (tmp_path / "audit").unlink()
    recorder.offer(answer)
    recorder.close()
    assert sum(row["unrecorded"] for row in rows_of(tmp_path / "audit")) == 2


def test_many_clients_record_into_one_table(tmp_path: Path, answer: OnlineFeatures) -> None:
    def record() -> None:
        recorder = LookupRecorder(tmp_path / "audit", PLAN, 1, every_s=60)
        for _ in range(5):
            recorder.offer(answer)
            recorder.flush()
        recorder.close()

    threads = [threading.Thread(target=record) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rows_of(tmp_path / "audit")) == 3 * 5 * 2


@pytest.mark.parametrize("rate", [-0.1, 1.1])
def test_what_is_no_share_is_refused(tmp_path: Path, rate: float) -> None:
    with pytest.raises(ConfigError, match="from 0 to 1"):
        LookupRecorder(tmp_path, PLAN, rate)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "headrace.toml").write_text("[audit]\nsample = 1\n")
    found = Project.load(tmp_path)
    write_plan(PLAN, found.plan_file)
    return found


def test_client_records_what_the_project_or_the_caller_says(store: OnlineStore, project: Project) -> None:
    fill(store, order(100))
    for audit, rows in ((None, 1), (0, 1), (1, 2)):
        with FeatureClient(project, store=store, audit=audit) as client:
            assert (client.recorder is None) == (audit == 0)
            client.get_online_features("shops:count_60", [{"shop": "a"}])
        assert len(rows_of(project.audit_path)) == rows


@pytest.mark.slow
def test_program_that_ends_without_closing_its_client_loses_nothing(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from headrace.lookup import OnlineFeatures; from headrace.lookup.recorder import LookupRecorder\n"
        "from headrace.plan import Plan\n"
        "recorder = LookupRecorder(Path(sys.argv[1]), Plan(project='p', sources={}, views={}), 1)\n"
        "recorder.offer(OnlineFeatures(1, 'h', {}, [{'k': 1}], {}, {}, {}))\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "audit")], check=True)
    assert len(rows_of(tmp_path / "audit")) == 1


def test_client_that_records_nothing_does_not_import_delta_lake() -> None:
    program = "import sys, headrace.lookup; headrace.lookup.FeatureClient; assert 'deltalake' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
