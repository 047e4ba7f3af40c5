"""A dataset is built again months later, byte for byte, or it is said exactly why that cannot be."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyarrow import parquet
from typer.testing import CliRunner

from headrace import Dataset, TrainingClient
from headrace.aggregates.registry import AGGREGATES, aggregate_of, parse_function
from headrace.cli import app
from headrace.config import Project
from headrace.erasure import forget
from headrace.errors import DatasetError
from headrace.log import EventLog, Gap, LookupTable, TopicHistory, TopicNotes
from headrace.log.log_columns import FIRST_IMPORT
from headrace.plan import Column, DType, Feature, Plan, Transform, View, write_plan
from headrace.stores import open_store
from headrace.training import verify_dataset
from headrace.training.export import file_checksum
from headrace.training.verify import VerifyReport
from headrace.training.verify_reasons import Reason
from headrace.transforms.udf import function_code, load_function
from tests.examples import few_and_many
from tests.training.conftest import HALVES as DATASET
from tests.training.conftest import MINUTE, SOURCE, SPINE, START_US, VIEW, feature, plan_of, rides, spine_of

runner = CliRunner(env={"COLUMNS": "300", "NO_COLOR": "1", "TERM": "dumb"})


def build(project: Project, folder: Path, dataset: Dataset = DATASET) -> Path:
    return TrainingClient(project).export(dataset, folder).folder


def verify(project: Project, folder: Path, dataset: Dataset = DATASET) -> VerifyReport:
    return verify_dataset(TrainingClient(project), dataset, folder)


def log_of(project: Project) -> EventLog:
    return EventLog(project.log_path, SOURCE)


def late_rides(minutes: range, first_offset: int) -> pa.Table:
    """Rides that happened inside the dataset's range, and arrived after it was built."""
    rows = rides(0, minutes)
    offsets = pa.array(np.arange(first_offset, first_offset + len(minutes)))
    return rows.set_column(rows.schema.get_field_index("_offset"), "_offset", offsets)


def test_late_and_later_events_leave_the_bytes_as_they_were(project: Project, tmp_path: Path) -> None:
    out = build(project, tmp_path / "out")
    log_of(project).append(rides(0, range(60, 200)), {0: 199})
    log_of(project).append(late_rides(range(5, 50), 200), {0: 244})
    early = late_rides(range(0, 30), 245)  # as imported history: known in the dataset's own time
    log_of(project).append(early, {0: 274})
    assert verify(project, out) == VerifyReport(2, ())
    now = build(project, tmp_path / "now")
    assert (now / "train" / "part-00000.parquet").read_bytes() != (out / "train" / "part-00000.parquet").read_bytes()
    assert verify(project, now).ok
    assert verify(project, out).ok


GIVEN = {
    "first_n": "first_n(3)",
    "last_n": "last_n(3)",
    "distinct_n": "distinct_n(3)",
    "percentile": "percentile(0.9)",
    "top_k": "top_k(3)",
    "histogram": "histogram(1, 2, 5)",
    "decayed_sum": "decayed_sum(600)",
    "decayed_count": "decayed_count(600)",
    "decayed_mean": "decayed_mean(600)",
}


def every_aggregate() -> View:
    """A view with each aggregate there is, of doubles where it takes them."""
    features = []
    for name, kind in AGGREGATES.items():
        _, params = parse_function(GIVEN.get(name, name))
        takes = [one for one in ("price", "seats", "city", "at") if SOURCE.column(one).dtype in kind.accepts]
        column = "*" if name == "count" else takes[0]
        window = 30 * MINUTE
        plain = Feature(
            name=name, function=name, column=column, window_us=window, slide_us=MINUTE, dtype=DType.INT64, params=params
        )
        features.append(plain.model_copy(update={"dtype": aggregate_of(plain, SOURCE).result_dtype}))
    return View(name="all", source="rides", entities=VIEW.entities, features=tuple(features))


def many_rides(n: int, partition: int) -> pa.Table:
    """Rides of six cities with prices of all sizes, whose sums would show the order in which they were added."""
    draw = np.random.default_rng(partition)
    ts = START_US + draw.integers(0, 120 * MINUTE, n)
    return pa.table(
        {
            "city": pa.array(draw.choice(list("abcdef"), n)),
            "price": pa.array(draw.random(n) * 10.0 ** draw.integers(-12, 12, n)),
            "seats": pa.array(draw.integers(0, 9, n)),
            "at": pa.array(ts, pa.timestamp("us", "UTC")),
            "_ts_us": pa.array(ts),
            "_known_at_us": pa.array(ts + draw.integers(0, 5 * MINUTE, n)),
            "_partition": pa.array(np.full(n, partition), pa.int32()),
            "_offset": pa.array(np.arange(n)),
            "_record_ts_us": pa.array(ts),
        }
    )


@pytest.mark.parametrize("as_of", ["known", "event"])
@few_and_many(150, 500, "rides")
def test_bytes_do_not_depend_on_threads(bare_project: Project, tmp_path: Path, as_of: str, rides: int) -> None:
    write_plan(plan_of(every_aggregate()), bare_project.plan_file)
    third = rides // 3
    for partition in (0, 1, FIRST_IMPORT):
        rows = many_rides(rides, partition)
        for begin in range(0, rides, third):  # several files, as a worker leaves them
            log_of(bare_project).append(rows.slice(begin, third), {partition: begin + third - 1})
    draw = np.random.default_rng(7)
    spine = spine_of(draw.integers(0, 120, third).tolist(), draw.choice(list("abcdefg"), third).tolist())
    dataset = replace(DATASET, spine=lambda _: spine, features=["all:*"], as_of=as_of)
    built: list[dict[str, bytes]] = []
    for threads in (1, 5):
        out = TrainingClient(bare_project, threads=threads).export(dataset, tmp_path / f"with-{threads}").folder
        built.append({str(one.relative_to(out)): one.read_bytes() for one in sorted(out.rglob("*.*"))})
    assert len(built[0]) == 3
    assert built[0] == built[1]
    assert verify(bare_project, out, dataset).ok


def test_vacuumed_version_is_named_with_what_is_missing(project: Project, tmp_path: Path) -> None:
    out = build(project, tmp_path / "out")
    log_of(project).append(rides(0, range(60, 120)), {0: 119})
    table = DeltaTable(log_of(project).path)
    table.optimize.compact()
    assert verify(project, out).ok  # the files are still there
    table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    (problem,) = verify(project, out).problems
    assert problem.startswith(
        "version 1 of the log of 'rides' pins 1 files, and 1 of them (120 events) are gone, such as _date=2013-01-01"
    )
    assert "the log is at version" in problem
    assert "an optimise and a vacuum" in problem
    assert problem.reason is Reason.VERSIONS_REMOVED
    assert verify(project, build(project, tmp_path / "now")).ok


def test_cleaned_up_commits_are_the_reason(project: Project, tmp_path: Path) -> None:
    out = build(project, tmp_path / "out")
    log_of(project).append(rides(0, range(60, 120)), {0: 119})
    DeltaTable(log_of(project).path).create_checkpoint()
    for name in (f"{0:020}.json", f"{1:020}.json", f"{1:020}.checkpoint.parquet"):
        (log_of(project).path / "_delta_log" / name).unlink()
    (problem,) = verify(project, out).problems
    assert problem.startswith("version 1 of the log of 'rides' is gone, although there is version 2: the commits")
    assert problem.reason is Reason.VERSIONS_REMOVED


def test_log_made_anew_or_set_back_is_the_reason(project: Project, tmp_path: Path) -> None:
    log_of(project).append(rides(0, range(60, 120)), {0: 119})
    out = build(project, tmp_path / "out")
    last = log_of(project).path / "_delta_log" / f"{2:020}.json"
    last.rename(tmp_path / "commit")
    last.with_suffix(".checkpoint.parquet").unlink()
    last.with_name("_last_checkpoint").unlink()
    (problem,) = verify(project, out).problems
    assert problem == "the log of 'rides' was set back: it has versions up to 1, and version 2 is pinned"
    assert problem.reason is Reason.LOG_SET_BACK
    shutil.rmtree(log_of(project).path)
    log_of(project).append(rides(0, range(60)), {0: 59})
    log_of(project).append(rides(0, range(60, 120)), {0: 119})
    (problem,) = verify(project, out).problems
    assert "the log of 'rides' was created again: the table at" in problem
    assert problem.reason is Reason.NEW_LOG
    shutil.rmtree(log_of(project).path)
    (problem,) = verify(project, out).problems
    assert (problem.reason, "is gone: there is none" in problem) == (Reason.NEW_LOG, True)


def test_erased_entity_is_the_reason_and_its_receipt_is_named(project: Project, tmp_path: Path) -> None:
    out = build(project, tmp_path / "out")
    plan = plan_of(VIEW)
    with open_store(project.store_url, writable=True) as store:
        done = forget(project, plan, store, {"city": "b"}, alone=True)
    assert done.log == {"rides": 60}
    (problem,) = verify(project, out).problems
    assert problem.startswith("version 1 of the log of 'rides' pins 1 files, and 1 of them (120 events) are gone: ")
    assert "events of an erased entity were in them, removed at 20" in problem
    assert problem.endswith(f"(receipt {Path(done.receipt).name})")
    assert problem.reason is Reason.ERASED
    now = build(project, tmp_path / "now")
    assert verify(project, now).ok


def test_erasure_cut_short_is_the_reason_too(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = build(project, tmp_path / "out")

    def fail(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr(LookupTable, "erase", fail)  # after the log
    with open_store(project.store_url, writable=True) as store, pytest.raises(OSError):  # noqa: PT011 ours, without a text
        forget(project, plan_of(VIEW), store, {"city": "b"}, alone=True)
    (problem,) = verify(project, out).problems
    assert (problem.reason, "was interrupted" in problem) == (Reason.ERASED, True)


def test_accepted_gap_is_no_reason(project: Project, tmp_path: Path) -> None:
    out = build(project, tmp_path / "out")
    history = TopicHistory.begun("cluster/topic", 1, {}, "2026-01-01T00:00:00Z")
    gap = Gap(0, 0, 200, 299, "2026-01-01T00:00:00Z")
    TopicNotes(project.log_notes).update(lambda _: {"rides": history.with_gaps([gap])})
    log_of(project).append(rides(0, range(300, 360)), {0: 359})
    found = verify(project, out)
    assert found.ok
    assert any("rides[0] has lost offsets 200 to 299 since" in note for note in found.notes)
    again = build(project, tmp_path / "again")
    told = json.loads((again / "manifest.json").read_text())["topics"]["rides"]
    assert (told["incarnations"], [gap["count"] for gap in told["gaps"]]) == (1, [100])
    assert verify(project, again).notes == ()


def test_difference_that_nothing_explains_is_named_so(project: Project, tmp_path: Path) -> None:
    out = build(project, tmp_path / "out")
    manifest: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    for entry in manifest["files"]:
        file = out / entry["path"]
        table = parquet.read_table(file)
        name = next(name for name in table.column_names if "__" in name)
        parquet.write_table(table.set_column(table.column_names.index(name), name, pa.nulls(table.num_rows)), file)
        entry["sha256"] = file_checksum(file)
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert verify(project, out).reasons == [Reason.DIFFERS]


def test_erasure_of_events_that_the_dataset_did_not_pin_is_no_reason(project: Project, tmp_path: Path) -> None:
    out = build(project, tmp_path / "out")
    other_day = rides(1, range(60 * 24, 60 * 25))
    city = pa.array(["c"] * 60)
    log_of(project).append(other_day.set_column(0, "city", city), {1: 60 * 25 - 1})
    with open_store(project.store_url, writable=True) as store:
        assert forget(project, plan_of(VIEW), store, {"city": "c"}, alone=True).log == {"rides": 60}
    assert verify(project, out).ok


def test_damaged_file_is_named_with_its_checksum(project: Project, tmp_path: Path) -> None:
    out = build(project, tmp_path / "out")
    file = out / "test" / "part-00000.parquet"
    whole = file.read_bytes()
    file.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    (entry,) = [one for one in json.loads((out / "manifest.json").read_text())["files"] if one["split"] == "test"]
    (problem,) = verify(project, out).problems
    assert problem.startswith(
        f"test/part-00000.parquet was changed since it was built: its SHA-256 was {entry['sha256']} and is now "
    )
    assert problem.reason is Reason.FILES_CHANGED


def test_other_library_with_the_same_bytes_is_a_remark(project: Project, tmp_path: Path) -> None:
    out = build(project, tmp_path / "out")
    manifest: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    manifest["made_with"]["duckdb"] = "1.4.0"
    (out / "manifest.json").write_text(json.dumps(manifest))
    report = verify(project, out)
    assert report.ok
    assert "duckdb 1.4.0" in report.notes[0]


def test_plan_in_the_manifest_that_was_edited_is_refused(project: Project, tmp_path: Path) -> None:
    out = build(project, tmp_path / "out")
    whole = json.loads((out / "manifest.json").read_text())
    edits: list[Any] = [
        {**whole["compiled"], "views": {}},
        {**whole["compiled"], "project": 7},
        json.loads(json.dumps(whole["compiled"]).replace('"mean"', '"max"')),
    ]
    for edited in edits:
        (out / "manifest.json").write_text(json.dumps({**whole, "compiled": edited}))
        with pytest.raises(DatasetError, match="was edited"):
            verify(project, out)
    (out / "manifest.json").write_text(json.dumps({**whole, "logs": {}}))
    with pytest.raises(DatasetError, match="was edited"):
        verify(project, out)


# --- transforms

UDF = """
def doubled(columns):
    return {"twice": [value * 2 for value in columns["seats"]]}
"""
TWICE = Column(name="twice", dtype=DType.INT64)


@pytest.fixture
def udf_project(project: Project) -> Project:
    """A view whose Python transform doubles the seats."""
    project.repo.mkdir(parents=True, exist_ok=True)
    (project.repo / "verify_udf.py").write_text(UDF)
    code = function_code(load_function("verify_udf:doubled", project.repo))
    made = Transform(kind="python", columns=(TWICE,), function="verify_udf:doubled", code=code)
    features = (feature("twice_10m", "sum", "twice", DType.INT64, 10),)
    view = View(name="doubles", source="rides", entities=VIEW.entities, features=features, transforms=(made,))
    write_plan(Plan(project="test", sources={"rides": SOURCE}, views={"doubles": view}), project.plan_file)
    return project


DOUBLES = replace(DATASET, features=["doubles:twice_10m"])


def test_transform_that_changed_is_the_reason(
    udf_project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = build(udf_project, tmp_path / "out", DOUBLES)
    assert verify(udf_project, out, DOUBLES).ok
    write_plan(plan_of(VIEW), udf_project.plan_file)  # the view itself may go, as long as its code is there
    assert verify(udf_project, out, DOUBLES).ok
    monkeypatch.setattr("headrace.transforms.transformer.function_code", lambda function: "0" * 16)
    (problem,) = verify(udf_project, out, DOUBLES).problems
    assert problem == (
        "it cannot be built again: The transform 'verify_udf:doubled' of the view 'doubles' has changed since it was "
        "applied."
    )
    assert problem.reason is Reason.CODE_CHANGED


# --- the command

DEFINITION = """
from headrace import Dataset

dataset = Dataset(name="rides", features="model", spine="spine.parquet", label="label")
"""


def test_command_ends_with_1_where_the_bytes_differ(project: Project) -> None:
    folder = project.root / "offline" / "datasets"
    folder.mkdir(parents=True)
    (folder / "rides.py").write_text(DEFINITION)
    parquet.write_table(SPINE, project.root / "spine.parquet")
    of = ["--project", str(project.root)]
    assert runner.invoke(app, ["dataset", "build", "rides", *of]).exit_code == 0
    built = project.state / "datasets" / "rides"
    same = runner.invoke(app, ["dataset", "verify", str(built), *of])
    assert (same.exit_code, same.stdout) == (0, "The same bytes: 1 files.\n")
    (built / "all" / "part-00000.parquet").write_bytes(b"damaged")
    text = runner.invoke(app, ["dataset", "verify", str(built), *of])
    assert text.exit_code == 1
    assert "differs: all/part-00000.parquet was changed since it was built" in text.stdout
    found = runner.invoke(app, ["dataset", "verify", str(built), "--json", *of])
    assert found.exit_code == 1
    report = json.loads(found.stdout)
    assert (report["ok"], report["files"], len(report["problems"]), report["notes"]) == (False, 1, 1, [])
    assert report["reasons"] == [
        {"reason": "files_changed", "problems": report["problems"], "do": Reason.FILES_CHANGED.hint}
    ]


def test_split_ends_survive_the_manifest(project: Project, tmp_path: Path) -> None:
    ends = {"early": datetime(2013, 1, 1, 0, 7, 0, 5, tzinfo=UTC), "rest": None}
    dataset = replace(DATASET, splits=ends, as_of="event")
    out = build(project, tmp_path / "out", dataset)
    assert verify(project, out, DATASET).ok
