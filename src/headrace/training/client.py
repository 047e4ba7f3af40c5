"""The training SDK: what a data scientist asks a project's log."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace.log import EventLog
from headrace.plan.view_versions import without_versions
from headrace.training.dataset import Dataset, load_dataset
from headrace.training.export import Built, export_dataset
from headrace.training.historical_features import FeatureJoins
from headrace.training.lookup_proof import LookupReport, compare_lookups, verify_lookups

__all__ = ["TrainingClient"]


class TrainingClient(FeatureJoins):
    """Point-in-time-correct features, training sets, and proof of what was served.

    Args:
        project: The project, or a path in it; None is the current folder's.
        plan: The plan, where it is not the project's.
        memory_limit: About how much memory a join may use, such as ``"4GB"``; None is half of the machine's.
        threads: How many threads it may use; None is all cores.

    Raises:
        PlanError: There is no plan.
    """

    def export(self, dataset: Dataset | str, out: str | os.PathLike[str]) -> Built:
        """Build a dataset and write it as Parquet files by split, with a manifest; see `export_dataset`.

        Args:
            dataset: The dataset, or the name of one of the project's.
            out: The folder to write.

        Returns:
            Where it is, and its manifest.
        """
        chosen = load_dataset(self.project, dataset) if isinstance(dataset, str) else dataset
        return export_dataset(self, chosen, Path(out))

    def verify_lookups(self, records: Sequence[Mapping[str, Any]]) -> LookupReport:
        """Recompute recorded lookups from the log, each by its evidence, and compare.

        Args:
            records: Lookups as `OnlineFeatures.records()` gives them.

        Returns:
            How many match, and what differs in the others.

        Raises:
            LookupRequestError: A record is incomplete, or names what the plan does not have.
            LogError: The log cannot be read.
        """
        return verify_lookups(self.plan, self.snapshots, self._logged, _unversioned(records), self.project.repo)

    def compare_lookups(self, records: Sequence[Mapping[str, Any]]) -> LookupReport:
        """The same for lookups of which the log has all events; some of their features may be left out.

        Args:
            records: The lookups.

        Returns:
            How many match, and what differs in the others.

        Raises:
            LogError: The log cannot be read.
        """
        return compare_lookups(self.plan, self.snapshots, _unversioned(records), self.project.repo)

    def _logged(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        return EventLog(self.project.log_root, self.plan.source_for_topic(topic)).last_offsets(partitions)


def _unversioned(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Lookups without the versions that they named. The plan that they were served under has these versions."""
    named = ("features", "views", "evidence", "problems")
    return [
        {name: without_versions(fact) if name in named and fact else fact for name, fact in record.items()}
        for record in records
    ]
