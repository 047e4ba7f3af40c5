"""What a historical request asks for, and its join: stream views from the log, all others from their files."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
from feast.feature_view import DUMMY_ENTITY_ID
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.types import from_feast_to_pyarrow_type

from headrace.batch.column_casts import cast_sql
from headrace.batch.join import joined_sql, typed_column
from headrace.batch.source_relation import batch_connection, key_name
from headrace.errors import BatchSourceError, LookupRequestError, SpineError, TransformError
from headrace.events.event_batch import ARROW_TYPES
from headrace.feast.on_demand import compute_on_demand, on_demand_inputs, planned_view
from headrace.feast.online_request import ref_parts, ttl_us_of
from headrace.feast.repo_project import computed_by_headrace, label_of
from headrace.feast.source_rows import SourceRows, batch_source_of
from headrace.feast.stream_versions import stream_view_name
from headrace.history import AsOf
from headrace.ondemand import Computation, Inputs, field_of_spine
from headrace.plan import DType, read_plan
from headrace.training import FeatureJoins

if TYPE_CHECKING:
    from feast.infra.registry.base_registry import BaseRegistry

    from headrace.config import Project
    from headrace.feast.entity_frame import EntityFrame
    from headrace.plan import Column, OnDemandInput, OnDemandView

__all__ = ["HistoricalRequest", "HistoricalView", "historical_request", "join_features"]

_TIME = "event_timestamp"
_TEXTS = frozenset({"varchar", "enum", "uuid"})


@dataclass
class HistoricalView:
    """A view to join, and what is needed of it.

    Attributes:
        view: Feast's view.
        label: How the request names it: with its alias or version.
        keys: By join key of the view, the column of the entity frame that holds it.
        features: The features needed.
    """

    view: Any
    label: str
    keys: dict[str, str]
    features: dict[str, None] = field(default_factory=dict)


@dataclass(frozen=True)
class HistoricalRequest:
    """A request for historical features.

    Attributes:
        views: By label, the views to join.
        on_demand: By label, the on-demand views to compute.
        columns: The features of the answer, as label and feature, in the order asked for.
        full_names: Whether their names begin with the label.
    """

    views: dict[str, HistoricalView]
    on_demand: dict[str, OnDemandFeatureView]
    columns: list[tuple[str, str]]
    full_names: bool

    def name(self, label: str, feature: str) -> str:
        """The name of a feature's column."""
        return f"{label}__{feature}" if self.full_names else feature


def historical_request(
    feature_views: Sequence[Any],
    feature_refs: Sequence[str],
    registry: BaseRegistry,
    project: str,
    *,
    full_names: bool,
) -> HistoricalRequest:
    """Resolve what Feast asks an offline store for.

    Args:
        feature_views: Views with their projections.
        feature_refs: Features of these views and of on-demand views, `view:feature` each.
        registry: Feast's registry.
        project: Feast's project.
        full_names: Whether names in the answer begin with the view's.

    Raises:
        LookupRequestError: A reference names none of the views.
    """
    views = {}
    for view in feature_views:
        mapped = view.projection.join_key_map
        keys = {one.name: mapped.get(one.name, one.name) for one in view.entity_columns if one.name != DUMMY_ENTITY_ID}
        label = label_of(view)
        views[label] = HistoricalView(view, label, keys)
    asked = OnDemandFeatureView.get_requested_odfvs(list(feature_refs), project, registry)
    on_demand = {label_of(view): view for view in asked}
    columns: dict[tuple[str, str], None] = {}
    for ref in feature_refs:
        name, version, feature = ref_parts(ref)
        label = name if version is None else f"{name}@v{version}"
        if label in views:
            views[label].features[feature] = None
        elif label not in on_demand:
            msg = f"There is no view named {label!r} (in {ref!r})."
            raise LookupRequestError(msg, hint=f"Views of the request: {', '.join([*views, *on_demand])}.")
        columns[label, feature] = None
    return HistoricalRequest(views, on_demand, list(columns), full_names)


def join_features(
    request: HistoricalRequest,
    frame: EntityFrame,
    project: Project,
    folder: Path,
    *,
    as_of: str,
    by_created: bool,
) -> pa.Table:
    """The entity frame with its features: every row once, in the frame's order.

    Args:
        request: What is asked for.
        frame: The entity frame.
        project: The headrace project.
        folder: The repo's folder.
        as_of: For stream views: `known`, what a lookup at that time would have been served, or `event`.
        by_created: Whether a row of a file counts only from its created time on.

    Raises:
        SpineError: The frame lacks a column, or has one that cannot be joined.
        HeadraceError: A log or a source cannot be read.
    """
    _check_columns(request, frame)
    found: dict[tuple[str, str], Any] = {}
    times = frame.table.column(frame.time_column)
    for keys, views in _stream_groups(request).items():
        _join_streams(views, _keys(frame, dict(keys)), times, project, as_of, found)
    for asked in request.views.values():
        if not computed_by_headrace(asked.view):
            _join_rows(asked, _keys(frame, asked.keys), times, folder, by_created, found)
    _compute(request, frame, project, found)
    table = frame.table
    for label, feature in request.columns:
        table = table.append_column(request.name(label, feature), found[label, feature])
    return table


def _check_columns(request: HistoricalRequest, frame: EntityFrame) -> None:
    there = frame.table.column_names
    fields = {name: view.name for view in request.on_demand.values() for name in view.get_request_data_schema()}
    keys = {column: one.label for one in request.views.values() for column in one.keys.values()}
    for name, label in (keys | fields).items():
        if name not in there:
            what = "a join key" if name in keys else "request data"
            msg = f"The entity frame has no column {name!r}, {what} of the view {label!r}."
            raise SpineError(msg, hint=f"It has: {', '.join(there)}.")
    clash = [name for name in (request.name(*column) for column in request.columns) if name in there]
    if clash:
        msg = f"The entity frame already has columns named like features: {', '.join(clash)}."
        raise SpineError(msg, hint="Rename them, or ask with full_feature_names=True.")


def _stream_groups(request: HistoricalRequest) -> dict[tuple[tuple[str, str], ...], list[HistoricalView]]:
    """Stream views by how they take their join keys from the frame: each group is one join."""
    groups: dict[tuple[tuple[str, str], ...], list[HistoricalView]] = {}
    renamed: dict[str, dict[str, str]] = {}
    for asked in request.views.values():
        if computed_by_headrace(asked.view):
            mark = str(sorted(pair for pair in asked.keys.items() if pair[0] != pair[1]))
            renamed.setdefault(mark, {}).update(asked.keys)
    for asked in request.views.values():
        if computed_by_headrace(asked.view):
            mark = str(sorted(pair for pair in asked.keys.items() if pair[0] != pair[1]))
            groups.setdefault(tuple(renamed[mark].items()), []).append(asked)
    return groups


def _keys(frame: EntityFrame, keys: Mapping[str, str]) -> dict[str, pa.ChunkedArray]:
    """The columns of join keys. pandas makes floats of integers with nulls: they become integers again."""
    found = {}
    for join_key, name in keys.items():
        column = frame.table.column(name)
        if pa.types.is_floating(column.type):
            try:
                column = column.cast(pa.int64())
            except pa.ArrowInvalid as error:
                msg = f"The entity frame's {name!r} has a value that is no whole number: {error}"
                raise SpineError(msg, hint="Give join keys as integers or texts.") from error
        elif pa.types.is_null(column.type):
            column = column.cast(pa.string())
        found[join_key] = column
    return found


def _join_streams(
    views: Sequence[HistoricalView],
    keys: Mapping[str, pa.ChunkedArray],
    times: pa.ChunkedArray,
    project: Project,
    as_of: str,
    found: dict[tuple[str, str], Any],
) -> None:
    """Join stream views. A row without a key has no entity: its features are null."""
    spine = pa.table({**keys, _TIME: times})
    there = np.ones(spine.num_rows, np.bool_)
    for column in keys.values():
        there &= column.is_valid().to_numpy()
    if not there.all():
        spine = spine.filter(pa.array(there))
        for name, column in keys.items():
            if not spine.num_rows and pa.types.is_null(column.type):
                spine = spine.drop_columns(name).append_column(name, pa.array([], pa.string()))
    joins = FeatureJoins(project)
    named = [
        (asked, stream_view_name(project, joins.plan, asked.view, asked.view.projection.version_tag)) for asked in views
    ]
    refs = [f"{name}:{feature}" for asked, name in named for feature in asked.features]
    joined = joins.get_historical_features(spine, refs, as_of=as_of, time_column=_TIME).table
    places = pa.array(np.cumsum(there) - 1, mask=~there)
    for asked, name in named:
        for feature in asked.features:
            column = joined.column(f"{name}__{feature}")
            found[asked.label, feature] = column if there.all() else column.take(places)


def _join_rows(
    asked: HistoricalView,
    keys: Mapping[str, pa.ChunkedArray],
    times: pa.ChunkedArray,
    folder: Path,
    by_created: bool,
    found: dict[tuple[str, str], Any],
) -> None:
    """Join a view of files: of the rows that count, the newest, unless it is older than the view's TTL."""
    if asked.view.batch_source is None:
        msg = f"The view {asked.label!r} has no batch source, so it has no history."
        raise LookupRequestError(msg, hint="Give it a batch source, such as PushSource(batch_source=FileSource(...)).")
    features = list(asked.features)
    with SourceRows(batch_source_of(asked.view.batch_source), folder) as rows:
        rows.joinable("source", list(keys), features)
        spine = {"n": pa.array(np.arange(len(times))), "t": _us(times)}
        for place, (join_key, column) in enumerate(keys.items()):
            _check_kind(asked, join_key, column, rows.key_kind(join_key))
            spine[key_name(place)] = column
        if not keys:
            spine["k0"] = pa.array(np.zeros(len(times), np.int32))
        rows.connection.register("spine", pa.table(spine))
        as_of = AsOf.KNOWN if by_created else AsOf.EVENT
        sql = joined_sql(max(len(keys), 1), range(len(features)), ttl_us_of(asked.view), as_of, "source")
        joined = rows.run(sql)
    for place, feature in enumerate(features):
        found[asked.label, feature] = joined.column(f"f{place}")


def _us(times: pa.ChunkedArray) -> pa.Array:
    """Times in µs, rounded down."""
    ticks = times.combine_chunks().cast(pa.int64()).to_numpy()
    unit = times.type.unit
    return pa.array(ticks // 1_000 if unit == "ns" else ticks * {"us": 1, "ms": 1_000, "s": 1_000_000}[unit])


def _check_kind(asked: HistoricalView, join_key: str, column: pa.ChunkedArray, stored: str) -> None:
    """Refuse to compare texts with numbers: DuckDB would convert one of them."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if len(column) > column.null_count and is_text != (stored in _TEXTS):
        msg = f"The entity frame's {asked.keys[join_key]!r} is {kind}, and the source of {asked.label!r} has {stored}."
        raise SpineError(msg, hint="Give both the same type.")


def _compute(
    request: HistoricalRequest, frame: EntityFrame, project: Project, found: dict[tuple[str, str], Any]
) -> None:
    """Compute the on-demand views."""
    if not request.on_demand:
        return
    plan = read_plan(project.plan_file) if project.plan_file.exists() else None
    keys = {column for asked in request.views.values() for column in asked.keys.values()}
    for label, view in request.on_demand.items():
        planned = planned_view(plan, view, label)
        if planned is not None:
            arrays = _by_plan(planned, frame.table, project, found)
            for one in view.features:
                found[label, one.name] = arrays[one.name].cast(from_feast_to_pyarrow_type(one.dtype))
            continue
        names = keys | set(view.get_request_data_schema())
        inputs = {name: frame.table.column(name).to_pylist() for name in frame.table.column_names if name in names}
        for source, feature, name in on_demand_inputs(view):
            inputs[name] = found[source, feature].to_pylist()
        made = compute_on_demand(view, inputs, frame.table.num_rows)
        for one in view.features:
            found[label, one.name] = _typed(view, one, made[one.name])


def _by_plan(
    view: OnDemandView, frame: pa.Table, project: Project, found: Mapping[tuple[str, str], Any]
) -> Mapping[str, pa.ChunkedArray]:
    """The features of an on-demand view that the plan has, from the values that a training set gives its function."""
    computation = Computation.of(view, project.repo)
    read = {one.ref.column: _input(one, found[one.ref.view, one.ref.feature], project.repo) for one in view.inputs}
    read |= {one.name: field_of_spine(view, one, _with_field(frame, one)) for one in view.request}
    return computation.run(Inputs(computation.dtypes, frame.num_rows, arrays=read)).arrays


def _input(one: OnDemandInput, column: pa.ChunkedArray, folder: Path) -> pa.ChunkedArray:
    """A feature that the function reads, as the plan's type: a source of files may have another."""
    wanted = ARROW_TYPES[one.dtype]
    if column.type == wanted:
        return column
    if pa.types.is_null(column.type):
        return pa.chunked_array([pa.nulls(len(column), wanted)])
    with contextlib.closing(batch_connection(folder)) as con:
        rows = con.from_arrow(pa.table({"f": column}))
        sql = cast_sql("f", rows.types[0], one.dtype)
        if sql is None:
            msg = f"The source of {one.ref.view!r} has {one.ref.feature!r} as {rows.types[0]}, and not as {one.dtype}."
            raise BatchSourceError(msg, hint="Correct the source, or the type that the view declares.")
        try:
            return typed_column(rows.project(f"{sql} AS f").to_arrow_table().column("f"), one.dtype)
        except (duckdb.Error, pa.ArrowException) as error:
            msg = f"The source of {one.ref.view!r} has a value of {one.ref.feature!r} that {one.dtype} cannot hold: "
            said = str(error).strip().splitlines()[0]
            raise BatchSourceError(
                msg + said, hint="Correct the source, or the type that the view declares."
            ) from error


def _with_field(frame: pa.Table, one: Column) -> pa.Table:
    """A frame whose field is as a spine has it: integers that pandas made floats are integers, naive times are UTC."""
    column, place = frame.column(one.name), frame.column_names.index(one.name)
    if one.dtype is DType.INT64 and pa.types.is_floating(column.type):
        with contextlib.suppress(pa.ArrowInvalid):  # a field that is no whole number is refused with its type
            return frame.set_column(place, one.name, column.cast(pa.int64()))
    if one.dtype is DType.TIMESTAMP and pa.types.is_timestamp(column.type) and column.type.tz is None:
        return frame.set_column(place, one.name, column.cast(pa.timestamp(column.type.unit, "UTC")))
    return frame


def _typed(view: OnDemandFeatureView, feature: Any, values: list[Any]) -> pa.Array:
    wanted = from_feast_to_pyarrow_type(feature.dtype)
    try:
        return pa.array(values, wanted, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError) as error:
        msg = f"The on-demand view {view.name!r} gave values of {feature.name!r} that are no {feature.dtype}: {error}"
        raise TransformError(msg, hint="Correct its function, or the type that it declares.") from error
