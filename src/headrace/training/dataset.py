"""Datasets: a spine, its features and how it is split, declared once in `offline/datasets/<name>.py`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import ModuleType

from headrace.config import Project
from headrace.errors import DatasetError
from headrace.events.repo_modules import describe_import_failure, own_modules
from headrace.history import AsOf
from headrace.plan import AskedFeatures
from headrace.training.spine_input import Spine

__all__ = ["Dataset", "load_dataset"]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A training set.

    Attributes:
        name: Its name.
        features: A feature service or its name, or a list of these and of `view:feature`.
        spine: A function of the project that gives the spine, or the path of one (relative to the project).
        label: The spine's column to predict.
        splits: By split, the time at which its rows end (exclusive), in order; None for the last split is the rest.
        time_column: The spine's column of times.
        as_of: `known` or `event`.
        rows_per_file: The most rows of one Parquet file.

    Raises:
        DatasetError: A value is not allowed.
    """

    name: str
    features: AskedFeatures
    spine: Callable[[Project], Spine] | str | Path
    label: str
    splits: Mapping[str, datetime | None] = field(default_factory=lambda: {"all": None})
    time_column: str = "event_timestamp"
    as_of: str = "known"
    rows_per_file: int = 250_000

    def __post_init__(self) -> None:
        ends = list(self.splits.values())
        if not ends or any(end is None for end in ends[:-1]):
            self._refuse("only the last split may have no end (None)")
        times = [end for end in ends if end is not None]
        if any(end.tzinfo is None for end in times):
            self._refuse("the ends of its splits need a time zone: datetime(2013, 10, 1, tzinfo=UTC)")
        if times != sorted(set(times)):
            self._refuse("its splits must be in order of time")
        if any(not name or "/" in name or name.startswith(".") for name in self.splits):
            self._refuse("a split's name becomes the name of a folder: use letters, digits and underscores")
        if self.rows_per_file < 1:
            self._refuse("rows_per_file must be at least 1")
        if self.as_of not in (AsOf.KNOWN, AsOf.EVENT):
            self._refuse(f"as_of must be 'known' or 'event', not {self.as_of!r}")

    def _refuse(self, why: str) -> None:
        msg = f"The dataset {self.name!r}: {why}."
        raise DatasetError(msg)


def load_dataset(project: Project, name: str) -> Dataset:
    """Read a project's dataset definition.

    Args:
        project: The project.
        name: The dataset: `offline/datasets/<name>.py` defines `dataset`.

    Returns:
        The definition.

    Raises:
        DatasetError: There is none, it does not import, or it defines something else.
    """
    folder = project.root / "offline" / "datasets"
    path = folder / f"{name}.py"
    if not name.isidentifier() or not path.is_file():
        there = ", ".join(sorted(found.stem for found in folder.glob("[!_]*.py"))) or "none"
        msg = f"There is no dataset {name!r}: {path} does not exist."
        raise DatasetError(msg, hint=f"Datasets of this project: {there}.")
    with own_modules(project.root):
        try:
            module = _run(path)
        except Exception as error:
            where, what = describe_import_failure(error, project.root)
            msg = f"{where}: the dataset {name!r} cannot be imported: {what}"
            raise DatasetError(msg, hint="Fix the module.") from error
    dataset = getattr(module, "dataset", None)
    if not isinstance(dataset, Dataset):
        msg = f"{path} defines no `dataset`."
        raise DatasetError(msg, hint="Write `dataset = headrace.Dataset(name=…, features=…, spine=…, label=…)`.")
    if dataset.name != name:
        msg = f"{path} defines the dataset {dataset.name!r}, but its file is named {name!r}."
        raise DatasetError(msg, hint="Give it the name of its file.")
    return dataset


def _run(path: Path) -> ModuleType:
    """Run a definition's file by its path: its folders need not be packages."""
    spec = importlib.util.spec_from_file_location(f"headrace_dataset_{path.stem}", path)
    if spec is None or spec.loader is None:
        msg = f"{path} is not a Python file."
        raise ImportError(msg)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
