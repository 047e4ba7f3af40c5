from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pytest
from pyarrow import parquet

from headrace import Dataset, TrainingClient
from headrace.config import Project
from headrace.errors import DatasetError, LogError, SpineError
from headrace.log import EventLog
from headrace.plan import write_plan
from headrace.training import export_dataset, read_manifest, verify_dataset
from headrace.training.export import table_checksum
from tests.training.conftest import HALVES, PLAN, SOURCE, SPINE, START, VIEW, plan_of, rides, with_one_more

DATASET = replace(HALVES, rows_per_file=20)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_files_by_split_and_a_manifest_are_written(project: Project, tmp_path: Path) -> None:
    built = TrainingClient(project).export(DATASET, tmp_path / "out")
    assert sorted(bytes_of(built.folder)) == [
        "manifest.json",
        "test/part-00000.parquet",
        "test/part-00001.parquet",
        "train/part-00000.parquet",
        "train/part-00001.parquet",
    ]
    train = parquet.read_table(built.folder / "train")
    wanted = TrainingClient(project).get_historical_features(SPINE.slice(0, 30), "model").to_arrow()
    assert train.equals(wanted)
    assert json.loads((built.folder / "manifest.json").read_text()) == built.manifest
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".out")]


def test_manifest_pins_what_the_bytes_come_from(project: Project, tmp_path: Path) -> None:
    manifest = TrainingClient(project).export(DATASET, tmp_path / "out").manifest
    assert manifest["logs"] == {"rides": 1}
    assert manifest["plan"] == PLAN.hash
    assert manifest["definitions"]["view city_rides"] == VIEW.hash
    assert manifest["spine"] == {"rows": 60, "sha256": table_checksum(SPINE)}
    assert manifest["made_with"].keys() == {"headrace", "pyarrow", "duckdb"}
    assert [(file["path"], file["rows"]) for file in manifest["files"]] == [
        ("train/part-00000.parquet", 20),
        ("train/part-00001.parquet", 10),
        ("test/part-00000.parquet", 20),
        ("test/part-00001.parquet", 10),
    ]
    for file in manifest["files"]:
        assert hashlib.sha256((tmp_path / "out" / file["path"]).read_bytes()).hexdigest() == file["sha256"]


def test_manifest_has_statistics_of_every_column(project: Project, tmp_path: Path) -> None:
    statistics = TrainingClient(project).export(DATASET, tmp_path / "out").manifest["statistics"]
    assert statistics["city"] == {"type": "string", "nulls": 0, "distinct": 2}
    assert statistics["label"] == {"type": "bool", "nulls": 0, "true": 30}
    counts = statistics["city_rides__n_10m"]
    assert (counts["min"], counts["max"], counts["nulls"]) == (0, 9, 0)
    assert 8 < counts["mean"] < 9
    assert statistics["city_rides__mean_price_10m"]["nulls"] == 1
    assert statistics["event_timestamp"]["min"] == "2013-01-01T00:00:00+00:00"


def test_built_twice_it_is_the_same_to_the_byte(project: Project, tmp_path: Path) -> None:
    TrainingClient(project).export(DATASET, tmp_path / "one")
    in_chunks = replace(DATASET, spine=lambda _: pa.concat_tables([SPINE.slice(0, 7), SPINE.slice(7)]))
    TrainingClient(project).export(in_chunks, tmp_path / "two")
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")


def test_earlier_export_is_replaced_and_nothing_else_is(project: Project, tmp_path: Path) -> None:
    client = TrainingClient(project)
    client.export(DATASET, tmp_path / "out")
    client.export(replace(DATASET, splits={"all": None}), tmp_path / "out")
    assert sorted({Path(name).parts[0] for name in bytes_of(tmp_path / "out")}) == ["all", "manifest.json"]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("do not lose")
    with pytest.raises(DatasetError, match="exists and is not a dataset"):
        client.export(DATASET, tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "do not lose"


def test_export_that_fails_leaves_nothing_behind(project: Project, tmp_path: Path) -> None:
    client = TrainingClient(project)
    client.export(DATASET, tmp_path / "out" / "rides")
    before = bytes_of(tmp_path / "out")
    with (
        patch("headrace.training.export.column_statistics", side_effect=OSError("disk full")),
        pytest.raises(DatasetError, match="disk full"),
    ):
        client.export(replace(DATASET, rows_per_file=5), tmp_path / "out" / "rides")
    assert bytes_of(tmp_path / "out") == before


def test_path_that_cannot_be_written_is_refused(project: Project, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match=r"(?s)cannot be written.*--out"):
        TrainingClient(project).export(DATASET, tmp_path / "file" / "out")


def test_split_without_rows_is_an_empty_file(project: Project, tmp_path: Path) -> None:
    nobody = replace(DATASET, splits={"before": START, "after": None})
    built = TrainingClient(project).export(nobody, tmp_path / "out")
    assert built.manifest["files"][0]["rows"] == 0
    empty = parquet.read_table(tmp_path / "out" / "before")
    assert empty.schema == parquet.read_table(tmp_path / "out" / "after").schema


def test_spine_may_be_a_path_in_the_project(project: Project, tmp_path: Path) -> None:
    parquet.write_table(SPINE, project.root / "spine.parquet")
    built = TrainingClient(project).export(replace(DATASET, spine="spine.parquet"), tmp_path / "out")
    assert built.manifest["spine"]["rows"] == 60


def test_spine_without_label_or_time_is_refused(project: Project, tmp_path: Path) -> None:
    client = TrainingClient(project)
    with pytest.raises(DatasetError, match="has no column 'late'; it has city"):
        client.export(replace(DATASET, label="late"), tmp_path / "out")
    naive = SPINE.set_column(1, "event_timestamp", SPINE.column(1).cast(pa.timestamp("us")))
    with pytest.raises(SpineError, match="no time zone"):
        client.export(replace(DATASET, spine=lambda _: naive), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def verified(project: Project, dataset: Dataset, folder: Path) -> tuple[str, ...]:
    return verify_dataset(TrainingClient(project), dataset, folder).problems


def test_verify_builds_the_same_bytes_though_the_log_grew(project: Project, tmp_path: Path) -> None:
    TrainingClient(project).export(DATASET, tmp_path / "out")
    EventLog(project.log_path, SOURCE).append(rides(0, range(60, 70)), {0: 69})
    report = verify_dataset(TrainingClient(project), DATASET, tmp_path / "out" / "manifest.json")
    assert report.ok
    assert report.files == 4


def test_verify_of_a_set_built_before_anything_was_logged(bare_project: Project, tmp_path: Path) -> None:
    TrainingClient(bare_project).export(DATASET, tmp_path / "out")
    EventLog(bare_project.log_path, SOURCE).append(rides(0, range(60)), {0: 59})
    assert verified(bare_project, DATASET, tmp_path / "out") == ()


def test_verify_does_not_mind_a_view_that_the_set_does_not_use(project: Project, tmp_path: Path) -> None:
    TrainingClient(project).export(DATASET, tmp_path / "out")
    write_plan(plan_of(VIEW, with_one_more("other", VIEW)), project.plan_file)
    assert verified(project, DATASET, tmp_path / "out") == ()


def change_file(project: Project, folder: Path) -> Dataset:
    (folder / "test" / "part-00001.parquet").write_bytes(b"changed")
    (folder / "train" / "part-00001.parquet").unlink()
    return DATASET


def change_plan(project: Project, folder: Path) -> Dataset:
    write_plan(plan_of(with_one_more("city_rides", VIEW)), project.plan_file)
    return DATASET


def rename_view(project: Project, folder: Path) -> Dataset:
    write_plan(plan_of(with_one_more("towns", VIEW)), project.plan_file)
    return replace(DATASET, features=["city_rides:n_10m"])


def change_spine(project: Project, folder: Path) -> Dataset:
    return replace(DATASET, spine=lambda _: SPINE.slice(1))


def change_definition(project: Project, folder: Path) -> Dataset:
    return replace(DATASET, rows_per_file=21, as_of="event")


def change_service(project: Project, folder: Path) -> Dataset:
    return replace(DATASET, features=["city_rides:n_10m"])


def lose_version(project: Project, folder: Path) -> Dataset:
    shutil.rmtree(project.log_path / "rides" / "_delta_log")
    return DATASET


def lose_files(project: Project, folder: Path) -> Dataset:
    shutil.rmtree(project.log_path / "rides" / "_date=2013-01-01")
    return DATASET


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        (
            change_file,
            ["train/part-00001.parquet is missing", "test/part-00001.parquet was changed since it was built"],
        ),
        (change_spine, ["the spine is different: it had 60 rows and has 59"]),
        (lose_version, ["the log of 'rides' is gone: there is none at"]),
        (lose_files, ["version 1 of the log of 'rides' pins 1 files, and 1 of them (120 events) are gone"]),
    ],
)
def test_verify_says_what_differs(
    project: Project, tmp_path: Path, change: Callable[[Project, Path], Dataset], problems: list[str]
) -> None:
    TrainingClient(project).export(DATASET, tmp_path / "out")
    found = verified(project, change(project, tmp_path / "out"), tmp_path / "out")
    assert len(found) == len(problems)
    for said, wanted in zip(found, problems, strict=True):
        assert wanted in said


@pytest.mark.parametrize(
    ("change", "notes"),
    [
        (change_plan, ["the view city_rides was"]),
        (
            change_definition,
            ["the definition's as_of was 'known' and is now 'event'", "rows_per_file was 20 and is now 21"],
        ),
        (change_service, ["the definition's features was ['city_rides:n_10m', 'city_rides:mean_price_10m'"]),
        (rename_view, ["the plan has changed: There is no view named 'city_rides'"]),
    ],
)
def test_verify_builds_by_what_the_manifest_holds(
    project: Project, tmp_path: Path, change: Callable[[Project, Path], Dataset], notes: list[str]
) -> None:
    TrainingClient(project).export(DATASET, tmp_path / "out")
    changed = change(project, tmp_path / "out")
    report = verify_dataset(TrainingClient(project), changed, tmp_path / "out")
    assert report.problems == ()
    assert len(report.notes) == len(notes)
    for said, wanted in zip(report.notes, notes, strict=True):
        assert wanted in said


def test_verify_says_where_other_bytes_came_out_and_of_which_library(project: Project, tmp_path: Path) -> None:
    out = tmp_path / "out"
    manifest: dict[str, Any] = TrainingClient(project).export(DATASET, out).manifest
    # As another version of a library would have written it.
    part = out / "test" / "part-00000.parquet"
    parquet.write_table(parquet.read_table(part), part, compression="none")
    manifest["files"][2]["sha256"] = hashlib.sha256(part.read_bytes()).hexdigest()
    manifest["made_with"]["pyarrow"] = "25.0.0"
    manifest["statistics"]["label"]["true"] = 29
    (out / "manifest.json").write_text(json.dumps(manifest))
    problems = verified(project, DATASET, out)
    assert problems[0].startswith("test/part-00000.parquet comes out with different bytes (20 rows before, 20 now)")
    assert problems[0].endswith(f"wrote it, and {parquet.read_metadata(part).created_by} writes it now")
    assert "but the same values: parquet-cpp-arrow version" in problems[0]
    assert problems[1].startswith("the statistics of label were")
    assert "made with headrace" in problems[2]
    assert "pyarrow 25.0.0" in problems[2]


def test_manifest_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no manifest to read"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(DatasetError, match="not a manifest of this version"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": 2}')
    with pytest.raises(DatasetError, match="was edited: it has no 'as_of'"):
        read_manifest(tmp_path)


def test_log_that_cannot_be_read_stops_the_export(project: Project, tmp_path: Path) -> None:
    lose_files(project, tmp_path)
    with pytest.raises(LogError, match="cannot be read"):
        export_dataset(TrainingClient(project), DATASET, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_checksum_depends_on_values_alone() -> None:
    apart = pa.concat_tables([SPINE.slice(3, 30), SPINE.slice(33)])
    assert table_checksum(apart) == table_checksum(SPINE.slice(3))
    assert table_checksum(apart) != table_checksum(SPINE.slice(4))
    under_null = pa.Array.from_buffers(pa.int8(), 2, [pa.py_buffer(b"\x01"), pa.py_buffer(b"\x07\x63")])
    assert table_checksum(pa.table({"x": under_null})) == table_checksum(
        pa.table({"x": pa.array([7, None], pa.int8())})
    )
    assert table_checksum(SPINE) != table_checksum(SPINE.rename_columns(["city", "event_timestamp", "late"]))


def test_folder_of_anything_else_is_never_replaced(project: Project, tmp_path: Path) -> None:
    client = TrainingClient(project)
    for name, text in (("manifest.json", '{"name": "a web app"}'), ("notes.txt", "mine"), ("manifest.json", "{")):
        out = tmp_path / f"foreign-{len(text)}"
        out.mkdir()
        (out / name).write_text(text)
        with pytest.raises(DatasetError, match="exists and is not a dataset"):
            client.export(DATASET, out)
        assert (out / name).read_text() == text


def test_folder_of_another_dataset_is_not_replaced(project: Project, tmp_path: Path) -> None:
    client = TrainingClient(project)
    client.export(DATASET, tmp_path / "out")
    with pytest.raises(DatasetError, match=r"contains the dataset .*, not 'other'"):
        client.export(replace(DATASET, name="other"), tmp_path / "out")


def test_file_that_somebody_put_into_a_datasets_folder_is_not_removed_with_it(project: Project, tmp_path: Path) -> None:
    client = TrainingClient(project)
    out = client.export(DATASET, tmp_path / "out").folder
    client.export(DATASET, out)
    (out / "analysis.ipynb").write_text("{}")
    with pytest.raises(DatasetError, match=r"not part of the dataset, such as analysis\.ipynb"):
        client.export(DATASET, out)
    assert (out / "analysis.ipynb").exists()
