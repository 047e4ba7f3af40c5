"""Lookups whose keys and values are dates: audited, proven, and forgotten by the date."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import AwareDatetime, BaseModel
from typer.testing import CliRunner

from headrace import TrainingClient
from headrace.audit import audit_lookups
from headrace.audit.report import skew_of
from headrace.cli import app
from headrace.config import Clock, Project
from headrace.errors import SpineError
from headrace.events.decode import EventDecoder
from headrace.events.model_schema import columns_of
from headrace.log import EventLog
from headrace.lookup import FeatureClient
from headrace.plan import DType, Feature, Plan, Source, View, write_plan
from headrace.stores import CatalogueChange, open_store
from headrace.worker.pipeline import Pipeline
from tests.worker.shop import KeptLetters, one_round, raw

runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
DAY = date(2026, 1, 5)
AT = datetime(2023, 11, 14, 12, tzinfo=UTC)


class Stay(BaseModel):
    arrives: date
    at: AwareDatetime
    leaves: date | None


SOURCE = Source(
    name="sales", topic="sales", model=f"{__name__}:Stay", key="arrives", timestamp_field="at", columns=columns_of(Stay)
)
EVER: dict[str, Any] = {"window_us": None, "slide_us": None}
FEATURES = (
    Feature(name="leaves", function="last", column="leaves", dtype=DType.DATE, **EVER),
    Feature(name="latest", function="max", column="leaves", dtype=DType.DATE, **EVER),
    Feature(name="all", function="last_n", column="leaves", params=(3,), dtype=DType.DATE_LIST, **EVER),
)
VIEW = View(
    name="stays",
    source="sales",
    entities=(SOURCE.column("arrives"),),
    features=FEATURES,
    input=SOURCE.input_of(FEATURES),
)
PLAN = Plan(project="hotel", sources={"sales": SOURCE}, views={"stays": VIEW})


@pytest.fixture
def hotel(tmp_path: Path) -> Project:
    """Three stays of two arrivals, streamed."""
    (tmp_path / "headrace.toml").write_text('[headrace]\nclock = "record"\n[audit]\nsample = 1.0\n')
    project = Project.load(tmp_path)
    write_plan(PLAN, project.plan_file)
    stays = [Stay(arrives=DAY, at=AT, leaves=DAY + timedelta(days=n)) for n in (2, 1)]
    stays.append(Stay(arrives=DAY + timedelta(days=1), at=AT, leaves=None))
    values = [stay.model_dump_json().encode() for stay in stays]
    with open_store(project.store_url, writable=True) as store:
        store.change(CatalogueChange().clock(Clock.RECORD).serve([VIEW]))
        decoders, logs = {"sales": EventDecoder(SOURCE, Stay)}, {"sales": EventLog(project.log_path, SOURCE)}
        pipeline = Pipeline(PLAN, decoders, store, logs, Clock.RECORD, KeptLetters())
        pipeline.process(one_round(*(raw(n, value) for n, value in enumerate(values))))
        pipeline.flush()
    return project


def served(project: Project) -> list[dict[str, Any]]:
    with FeatureClient(project) as client:
        rows = [{"arrives": DAY}, {"arrives": DAY + timedelta(days=1)}, {"arrives": date(1, 1, 1)}]
        found = client.get_online_features(["stays:*"], rows)
        assert found.to_dict()["stays__latest"] == [DAY + timedelta(days=2), None, None]
        return found.records()


def test_lookups_by_dates_match_where_nothing_was_edited(hotel: Project) -> None:
    records = json.loads(json.dumps(served(hotel)))
    assert records[0]["keys"] == {"arrives": "2026-01-05"}
    assert records[0]["features"]["stays__all"] == ["2026-01-07", "2026-01-06"]
    report = audit_lookups(hotel)
    assert (report.lookups, report.matches, report.values, report.skews) == (3, 3, 9, [])
    proof = TrainingClient(hotel).verify_lookups(records)
    assert (proof.matches, proof.values, proof.mismatches) == (3, 9, ())
    records[0]["features"]["stays__leaves"] = "2026-01-07"
    (wrong,) = TrainingClient(hotel).verify_lookups(records).mismatches
    assert (wrong.served, wrong.recomputed) == ("2026-01-07", date(2026, 1, 6))
    assert skew_of(wrong.served, wrong.recomputed) == (86_400, None)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("spine.csv", "arrives,event_timestamp\n2026-01-05,2024-01-01T00:00Z\n1969-12-31,2024-01-01T00:00Z\n"),
        (
            "spine.jsonl",
            '{"arrives": "2026-01-05", "event_timestamp": "2024-01-01T00:00Z"}\n'
            '{"arrives": "1969-12-31", "event_timestamp": "2024-01-01T00:00Z"}\n',
        ),
    ],
)
def test_spines_in_files_are_keyed_by_dates(hotel: Project, name: str, text: str) -> None:
    path = hotel.root / name
    path.write_text(text)
    found = TrainingClient(hotel).get_historical_features(path, ["stays:leaves", "stays:all"]).to_arrow()
    assert found["arrives"].to_pylist() == [DAY, date(1969, 12, 31)]
    assert found["stays__leaves"].to_pylist() == [DAY + timedelta(days=1), None]
    assert found["stays__all"].to_pylist() == [[DAY + timedelta(days=2), DAY + timedelta(days=1)], []]
    path.write_text(text.replace("1969-12-31", "31.12.1969"))
    with pytest.raises(SpineError, match="'arrives' has a value that date cannot hold"):
        TrainingClient(hotel).get_historical_features(path, ["stays:leaves"])


def test_commands_take_a_date_as_text(hotel: Project) -> None:
    place = ["--project", str(hotel.root)]
    found = runner.invoke(app, ["lookup", "--feature", "stays:leaves", "--key", "arrives=2026-01-05", "--json", *place])
    assert found.exit_code == 0, found.output
    assert '"stays__leaves": "2026-01-06"' in found.stdout
    wrong = runner.invoke(app, ["lookup", "--feature", "stays:leaves", "--key", "arrives=5.1.2026", *place])
    assert (wrong.exit_code, "arrives=5.1.2026 is not of the type date" in wrong.output) == (1, True)


def test_what_is_held_of_a_date_is_forgotten(hotel: Project) -> None:
    served(hotel)
    done = runner.invoke(app, ["forget", "arrives", "2026-01-05", "--json", "--yes", "--project", str(hotel.root)])
    assert done.exit_code == 0, done.output
    (forgotten,) = json.loads(done.stdout)["forgotten"]
    assert (forgotten["log"], forgotten["lookups"]) == ({"sales": 2}, 1)
    rows = [row for batch in EventLog(hotel.log_path, SOURCE).scan() for row in batch.to_pylist()]
    assert [row["arrives"] for row in rows] == [DAY + timedelta(days=1)]
