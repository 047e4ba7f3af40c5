"""Datasets and their proofs do not depend on which file a row lies in."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from headrace.config import Project
from headrace.log import EventLog, Upkeep, pinned_versions
from headrace.plan import write_plan
from headrace.training import TrainingClient, verify_dataset
from tests.examples import few_and_many
from tests.training.conftest import HALVES as DATASET
from tests.training.conftest import SOURCE, plan_of, rides
from tests.training.test_verify import build, every_aggregate, log_of, many_rides, verify


def vacuumed(project: Project, *folders: Path) -> int:
    """How many files a compaction and a vacuum without retention have freed."""
    log = log_of(project)
    log.compact()
    pins = pinned_versions(project.pins, [project.root, project.state, *folders], "rides", log.table_id())
    return log.vacuum(retention_s=0, pinned=pins).files


def test_dataset_is_verified_after_compaction_and_vacuum(project: Project, tmp_path: Path) -> None:
    out = build(project, tmp_path / "out")
    for first in range(60, 100, 10):
        log_of(project).append(rides(0, range(first, first + 10)), {0: first + 9})
    assert vacuumed(project) == 4  # not the file of the version that is pinned
    assert verify(project, out).ok


def test_dataset_outside_the_project_is_kept_in_mind(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    away = tmp_path_factory.mktemp("away")
    out = build(project, away / "out")
    log_of(project).append(rides(0, range(60, 70)), {0: 69})
    vacuumed(project)
    assert verify(project, out).ok
    shutil.rmtree(out)
    assert vacuumed(project) > 0  # nothing pins it any more
    build(project, out)
    assert verify(project, out).ok


def test_dataset_that_is_being_built_is_kept_in_mind(project: Project, tmp_path: Path) -> None:
    manifest, table_id = tmp_path / "out" / "manifest.json", log_of(project).table_id()
    seen: list[dict[int, list[str]]] = []

    def looked_for() -> dict[int, list[str]]:
        return pinned_versions(project.pins, [], "rides", table_id)

    class Watched(TrainingClient):
        def get_historical_features(self, *args: Any, **options: Any) -> Any:
            seen.append(looked_for())
            return super().get_historical_features(*args, **options)

    Watched(project).export(DATASET, manifest.parent)
    assert seen == [{1: [f"{manifest} (being built)"]}]
    assert looked_for() == {1: [str(manifest)]}
    assert pinned_versions(project.pins, [], "rides", "another table") == {}
    manifest.unlink()
    assert looked_for() == {}


def test_export_that_fails_pins_nothing(project: Project, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(Exception, match="cannot be written"):
        build(project, blocked / "out")
    assert pinned_versions(project.pins, [], "rides", log_of(project).table_id()) == {}


@few_and_many(240, 3000, "rides")
def test_every_aggregate_has_the_same_bytes_whichever_file_a_ride_lies_in(
    bare_project: Project, tmp_path: Path, rides: int
) -> None:
    """The same rides, appended in many pieces of mixed order, and compacted; ties in time are many."""
    view = every_aggregate()
    write_plan(plan_of(view), bare_project.plan_file)
    dataset = DATASET.__class__(
        name="rides",
        features=[f"all:{feature.name}" for feature in view.features],
        spine=DATASET.spine,
        label="label",
        splits={"all": None},
    )
    log = EventLog(bare_project.log_path, SOURCE, Upkeep(small_files=0))
    everything = [many_rides(rides, partition) for partition in (0, 1)]
    each = rides // 12
    for first in range(0, rides, each):
        for partition, rows in enumerate(everything):
            log.append(rows.slice(first, each), {partition: first + each - 1})
    out = TrainingClient(bare_project).export(dataset, tmp_path / "before").folder
    assert len(log.snapshot().files) == 24
    log.compact()
    assert len(log.snapshot().files) == 1
    now = TrainingClient(bare_project).export(dataset, tmp_path / "after").folder
    before, after = ((folder / "all" / "part-00000.parquet").read_bytes() for folder in (out, now))
    assert before == after
    assert verify_dataset(TrainingClient(bare_project), dataset, out).ok
