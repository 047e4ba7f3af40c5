"""Features as they were, joined to a spine, at fixed versions of the log."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from headrace.aggregates import Problem
from headrace.config import Project
from headrace.errors import LookupRequestError, PlanMismatchError, SpineError
from headrace.extras import needing
from headrace.history import AsOf, as_of_named
from headrace.log import EventLog, LogSnapshot
from headrace.plan import AskedFeatures, FeatureRef, Plan, View, read_plan
from headrace.plan.view_versions import (
    AskedVersion,
    ViewVersion,
    ViewVersions,
    asked_versions,
    shown_versions,
    with_versions,
)
from headrace.stores.served_plan import unreadable
from headrace.training.joined_features import join_features
from headrace.training.known_time_warning import warn_of_nothing_known
from headrace.training.log_spine import LogRows, asked_rows, log_spine, time_us
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
        spine: Spine | None = None,
        features: AskedFeatures = (),
        as_of: str = "known",
        time_column: str = "event_timestamp",
        *,
        entity_df: Spine | None = None,
        at: datetime | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        known_until: datetime | None = None,
        log_version: int | Mapping[str, int | None] | None = None,
        source_versions: Mapping[str, int | None] | None = None,
        full_feature_names: bool = True,
    ) -> HistoricalFeatures:
        """Features as they were: at the rows of a spine, for all entities at one time, or over a range of time.

        Without a spine the rows are made from the log. With `at` there is one row for each entity that a lookup at that
        time would have known. With `start` and `end` there is a row for each entity at each time of its events in the
        range. Such rows are sorted by time, and then by key.

        Args:
            spine: An Arrow table, a data frame (pandas, polars), a DuckDB relation, a list of rows, or the path of a
                Parquet, CSV or JSON lines file: join keys, a time, the fields of the request that on-demand views
                read, and other columns to keep.
            features: A feature service or its name, or a list of `view:feature`, `view:*` and services.
                `view@v2:feature` and `view@HASH:feature` take another version of a view than the plan's.
            as_of: `known`, what a lookup at that time would have been served; `event`, what an ideal, instant pipeline
                would have known.
            time_column: The column of times, with a time zone.
            entity_df: The spine, by the name that Feast gives it.
            at: Instead of a spine: all entities at this time.
            start: Instead of a spine: from this event time on; the beginning of the log if only `end` is given.
            end: The time before which event times lie; the end of the log if only `start` is given.
            known_until: Only events that had become known by this time are seen, and only rows of batch views that were
                created by then. So a join can be repeated later, when late events have come.
            log_version: The version of the log to read: a number if the features are made from one topic; or by topic
                a number, or None where nothing had been logged. What is left out is read at its newest.
            source_versions: By batch view, the version of its Delta table to read; its newest where left out.
            full_feature_names: Whether columns are called `view__feature`; otherwise only `feature`, as in Feast.

        Returns:
            The rows with their features.

        Raises:
            LookupRequestError: A feature or a version is unknown, or two features have the same short name.
            PlanMismatchError: A version can no longer be computed from its source.
            SpineError: The spine lacks a column, or has one that cannot be joined; or the arguments do not say which
                rows are wanted.
            OnDemandError: The function of an on-demand view fails on a row.
            LogError: The log cannot be read.
            BatchSourceError: The source of a batch view is away, or lacks what the view declares.
        """
        if spine is not None and entity_df is not None:
            msg = "spine and entity_df are two names of one argument, and both are given."
            raise SpineError(msg, hint="Give one of them.")
        rows = asked_rows(entity_df if spine is None else spine, at=at, start=start, end=end)
        known_until_us = time_us("known_until", known_until)
        plan = self.plan_for(features)
        refs = plan.resolve(features)
        names = _short_names(refs) if not full_feature_names else {}
        logs = self.snapshots(refs, self._log_versions(plan, refs, log_version))
        if isinstance(rows, LogRows):
            streams = plan.stream_refs(refs)
            if not streams:
                msg = "Without a spine, rows are made from the log of stream views, and no stream feature is asked for."
                raise SpineError(msg, hint="Give a spine, or ask for stream features too.")
            rows = log_spine(plan, streams, logs, rows, as_of_named(as_of), time_column, known_until_us)
        table = spine_for(plan, refs, rows, time_column, names)
        found, problems = join_features(
            plan,
            logs,
            self.project.repo,
            table,
            refs,
            as_of=as_of,
            time_column=time_column,
            known_until_us=known_until_us,
            memory_limit=self._memory_limit,
            threads=self._threads,
            source_versions=source_versions,
        )
        if as_of == AsOf.KNOWN and logs:
            warn_of_nothing_known(table, time_column, logs.values(), self.project.clock)
        # The spine's own columns are not part of the join: the features are appended to them by row.
        for name in found.column_names:
            table = table.append_column(names.get(name, name), found.column(name))
        problems = [one._replace(feature=names.get(one.feature, one.feature)) for one in problems]
        return HistoricalFeatures(table, problems)

    def plan_for(self, features: AskedFeatures) -> Plan:
        """The plan, and in it the versions of views that a request names, as views of those names.

        Args:
            features: The request.

        Raises:
            LookupRequestError: There is no such version; the message lists what there is.
            PlanMismatchError: A version can no longer be computed from its source.
        """
        versions = ViewVersions(self.project.view_versions)
        return with_versions(
            self.plan, asked_versions(features), lambda name: versions.of(self.plan, name), self._computable
        )

    def _computable(self, asked: AskedVersion, version: ViewVersion, every: Sequence[ViewVersion]) -> View:
        """A version's definition, if the plan's source still has what it reads."""
        view, declared = version.view, self.plan.views.get(asked.view)
        if declared is not None and declared.hash == view.hash:
            return view
        source = self.plan.sources.get(view.source)
        why = f"the plan has no source {view.source!r}" if source is None else unreadable(view, source)
        if why is not None:
            msg = f"{str(asked)!r} is {version.name}, which can no longer be computed: {why}, and the plan differs now."
            raise PlanMismatchError(msg, hint=f"Change the source back and apply. Versions: {shown_versions(every)}.")
        return view

    def _log_versions(
        self, plan: Plan, refs: Sequence[FeatureRef], given: int | Mapping[str, int | None] | None
    ) -> dict[str, int | None]:
        """The versions of the log by topic; topics that are not read are refused."""
        topics = sorted({plan.source_of(plan.views[ref.view]).topic for ref in plan.stream_refs(refs)})
        wanted = given if isinstance(given, Mapping) else {} if given is None else dict.fromkeys(topics, given)
        unknown = sorted(set(wanted) - {source.topic for source in plan.sources.values()})
        if unknown:
            msg = f"log_version names the topic {unknown[0]!r}, which the plan does not have."
            raise LookupRequestError(msg, hint=f"The features are made from: {', '.join(topics)}.")
        if given is not None and not isinstance(given, Mapping) and len(topics) > 1:
            msg = f"log_version={given} is one number, and the features are made from {len(topics)} topics."
            example = ", ".join(f"{topic!r}: {given}" for topic in topics)
            raise LookupRequestError(msg, hint=f"Give one for each: log_version={{{example}}}.")
        return dict(wanted)

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
        plan = self.plan_for([f"{ref.view}:{ref.feature}" for ref in refs])
        sources = {plan.views[ref.view].source for ref in plan.stream_refs(refs)}
        wanted = versions or {}
        snapshots: dict[str, LogSnapshot] = {}
        for name in sorted(sources):
            source = plan.sources[name]
            log = EventLog(self.project.log_root, source)
            version = wanted.get(source.topic)
            if source.topic in wanted and version is None and log.version() is not None:
                version = 0  # the table was created since; its first version is empty
            snapshots[source.topic] = log.snapshot(version)
        return snapshots


def _short_names(refs: Sequence[FeatureRef]) -> dict[str, str]:
    """By `view__feature`, the feature's own name."""
    names = {ref.column: ref.feature for ref in refs}
    twice = sorted(name for name, count in Counter(names.values()).items() if count > 1)
    if twice:
        views = ", ".join(ref.view for ref in refs if ref.feature == twice[0])
        msg = f"Several of the features are called {twice[0]!r} (of the views {views})."
        raise LookupRequestError(msg, hint="Use full_feature_names=True: columns are then called view__feature.")
    return names
