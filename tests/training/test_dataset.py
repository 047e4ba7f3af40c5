from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from headrace import Dataset
from headrace.config import Project
from headrace.errors import DatasetError
from headrace.training import load_dataset

JANUARY, FEBRUARY = datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 2, 1, tzinfo=UTC)

DEFINITION = """
from headrace import Dataset

dataset = Dataset(name="rides", features="model", spine="spine.parquet", label="label")
"""


def put(project: Project, name: str, text: str) -> None:
    folder = project.root / "offline" / "datasets"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(text)


def test_definition_is_found_by_its_files_name(bare_project: Project) -> None:
    put(bare_project, "rides", DEFINITION)
    dataset = load_dataset(bare_project, "rides")
    assert (dataset.name, dataset.features, dataset.label) == ("rides", "model", "label")
    assert dataset.splits == {"all": None}


@pytest.mark.parametrize("name", ["trips", "../rides", "rides.py", ""])
def test_missing_definition_is_refused_with_those_there_are(bare_project: Project, name: str) -> None:
    put(bare_project, "rides", DEFINITION)
    with pytest.raises(DatasetError, match=r"(?s)There is no dataset.*Datasets of this project: rides"):
        load_dataset(bare_project, name)


def test_definition_that_does_not_import_is_refused_with_where(bare_project: Project) -> None:
    put(bare_project, "rides", "import not_there_at_all\n")
    with pytest.raises(DatasetError, match=r"offline/datasets/rides\.py.*not_there_at_all"):
        load_dataset(bare_project, "rides")


def test_module_without_a_definition_is_refused(bare_project: Project) -> None:
    put(bare_project, "rides", "data_set = 1\n")
    with pytest.raises(DatasetError, match=r"rides\.py defines no `dataset`"):
        load_dataset(bare_project, "rides")


def test_definition_with_another_name_is_refused(bare_project: Project) -> None:
    put(bare_project, "trips", DEFINITION)
    with pytest.raises(DatasetError, match="defines the dataset 'rides', but its file is named 'trips'"):
        load_dataset(bare_project, "trips")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"splits": {}}, "only the last split"),
        ({"splits": {"train": None, "test": None}}, "only the last split"),
        ({"splits": {"train": datetime(2013, 1, 1)}}, "need a time zone"),  # noqa: DTZ001
        (
            {"splits": {"a": datetime(2013, 2, 1, tzinfo=UTC), "b": datetime(2013, 1, 1, tzinfo=UTC)}},
            "must be in order of time",
        ),
        ({"splits": {"../x": None}}, "the name of a folder"),
        ({"rows_per_file": 0}, "at least 1"),
        ({"as_of": "now"}, "'known' or 'event'"),
        ({"as_of": "evidence"}, "'known' or 'event'"),
    ],
)
def test_definition_that_makes_no_sense_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        Dataset(name="rides", features="model", spine="spine.parquet", label="label", **given)
