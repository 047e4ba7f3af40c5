"""Features as they were, joined to a spine, at fixed versions of the log."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from headrace.aggregates import Problem
from headrace.config import Project
from headrace.extras import needing
from headrace.history import AsOf, PointInTimeJoin
from headrace.log import EventLog, LogSnapshot
from headrace.plan import AskedFeatures, FeatureRef, Plan, read_plan
from headrace.training.known_time_warning import warn_of_nothing_known
from headrace.training.spine_input import Spine, spine_for

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FeatureJoins", "HistoricalFeatures"]


@dataclass(frozen=True)
class HistoricalFeatures:
    """A spine with its features.

    Attributes:
        table: The spine's columns, then one column `view__feature` per feature; rows in the spine's order.
        problems: The cells that are null because their value cannot be given (for example a sum of integers past 64
            bits), each with its row, its feature and the reason. Other nulls mean that no event counts.
    """

    table: pa.Table
    problems: Sequence[Problem] = ()

    def to_arrow(self) -> pa.Table:
        """An Arrow table."""
        return self.table

    def to_df(self) -> pd.DataFrame:
        """A pandas data frame."""
        with needing("offline"):
            frame: pd.DataFrame = self.table.to_pandas()
        return frame

    @cached_property
    def relation(self) -> duckdb.DuckDBPyRelation:
        """A DuckDB relation, to query further."""
        return duckdb.from_arrow(self.table)

    def to_duckdb(self) -> duckdb.DuckDBPyRelation:
        """A DuckDB relation, to query further."""
        return self.relation


class FeatureJoins:
    """Point-in-time-correct features of a project, from its log.

    Args:
        project: The project, or a path in it; None is the current folder's.
        plan: The plan, if it is not the project's.
        memory_limit: About how much memory a join may use, such as ``"4GB"``; None is half of the machine's. What does
            not fit is computed in parts, from a temporary folder (`$TMPDIR`).
        threads: How many threads it may use; None is all cores.

    Raises:
        PlanError: There is no plan.
    """

    def __init__(
        self,
        project: Project | str | os.PathLike[str] | None = None,
        *,
        plan: Plan | None = None,
        memory_limit: str | None = None,
        threads: int | None = None,
    ) -> None:
        self._memory_limit, self._threads = memory_limit, threads
        self.project = project if isinstance(project, Project) else Project.load(project)
        self.plan: Plan = plan or read_plan(self.project.plan_file)

    def get_historical_features(
        self,
        spine: Spine,
        features: AskedFeatures,
        as_of: str = "known",
        time_column: str = "event_timestamp",
        *,
        versions: Mapping[str, int | None] | None = None,
    ) -> HistoricalFeatures:
        """Join features to a spine as they were at each of its rows.

        Args:
            spine: An Arrow table, a data frame (pandas, polars), a DuckDB relation, a list of rows, or the path of a
                Parquet, CSV or JSON lines file: join keys, a time, and other columns to keep.
            features: A feature service or its name, or a list of `view:feature`, `view:*` and services.
            as_of: `known`, what a lookup at that time would have been served; `event`, what an ideal, instant pipeline
                would have known.
            time_column: The spine's column of times, with a time zone.
            versions: By topic, the version of its log to read, None where nothing had been logged; what is left out is
                read at its newest.

        Returns:
            The spine with its features.

        Raises:
            LookupRequestError: A feature is unknown.
            SpineError: The spine lacks a column, or has one that cannot be joined.
            LogError: The log cannot be read.
        """
        refs = self.plan.resolve(features)
        table = spine_for(self.plan, refs, spine, time_column)
        logs = self.snapshots(refs, versions or {})
        join = PointInTimeJoin(
            self.plan, logs, memory_limit=self._memory_limit, threads=self._threads, repo=self.project.repo
        )
        found, problems = join.join(table, refs, as_of=as_of, time_column=time_column)
        if as_of == AsOf.KNOWN:
            warn_of_nothing_known(table, time_column, logs.values(), self.project.clock)
        # The spine's own columns are not part of the join: the features are appended to them by row.
        for name in found.column_names:
            table = table.append_column(name, found.column(name))
        return HistoricalFeatures(table, problems)

    def snapshots(
        self, refs: Sequence[FeatureRef], versions: Mapping[str, int | None] | None = None
    ) -> dict[str, LogSnapshot]:
        """The logs that features are made from, each at one version.

        Args:
            refs: The features.
            versions: By topic, the version wanted, None where nothing had been logged; what is left out is the newest.

        Returns:
            Snapshots by topic.
        """
        sources = {self.plan.views[ref.view].source for ref in refs}
        wanted = versions or {}
        snapshots: dict[str, LogSnapshot] = {}
        for name in sorted(sources):
            source = self.plan.sources[name]
            log = EventLog(self.project.log_root, source)
            version = wanted.get(source.topic)
            if source.topic in wanted and version is None and log.version() is not None:
                version = 0  # the table was created since; its first version is empty
            snapshots[source.topic] = log.snapshot(version)
        return snapshots
