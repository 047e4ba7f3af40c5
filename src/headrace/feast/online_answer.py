"""Reading what an online request asks for, and Feast's answer to it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from feast.feature_view import DUMMY_ENTITY_ID
from feast.online_response import OnlineResponse
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from google.protobuf.timestamp_pb2 import Timestamp

from headrace.errors import LookupRequestError, PlanMismatchError
from headrace.feast.on_demand import compute_on_demand, on_demand_inputs, planned_view
from headrace.feast.row_formats import lookup_values
from headrace.feast.value_protos import NO_VALUE, cell_status, key_protos, protos_of, python_value
from headrace.ondemand import Inputs, field_of_rows
from headrace.ondemand.inputs import python_values
from headrace.plan import Column, DType
from headrace.times import us_of

if TYPE_CHECKING:
    from headrace.feast.online_request import AskedView, OnlineRequest
    from headrace.feast.online_rows import RequestRows
    from headrace.feast.open_repo import OpenRepo
    from headrace.feast.row_formats import RowFormat
    from headrace.lookup import OnlineFeatures
    from headrace.plan import OnDemandInput, OnDemandView
    from headrace.rows import StoredRow

__all__ = ["FeatureColumn", "read_features", "response"]

_NO_TIME = Timestamp()


@dataclass
class FeatureColumn:
    """One feature of the answer, per row.

    Attributes:
        values: Feast's messages.
        statuses: Feast's statuses.
        times: The event times of the values.
        plain: The values as a lookup gives them; None where only the messages are known.
        dtype: The type of these.
    """

    values: list[ValueProto]
    statuses: list[FieldStatus.ValueType]
    times: list[Timestamp] = field(default_factory=list)
    plain: list[Any] | None = None
    dtype: DType | None = None


Features = dict[tuple[str, str], FeatureColumn]
"""By view, as the request names it, and feature."""


class _Group(NamedTuple):
    """Stream views that are looked up together, because they take the same join keys from the request."""

    keys: tuple[tuple[str, str], ...]
    views: list[AskedView]


def read_features(repo: OpenRepo, request: OnlineRequest, rows: RequestRows) -> Features:
    """Read and compute the features that a request needs.

    Args:
        repo: The open repo.
        request: The request.
        rows: Its rows.

    Raises:
        HeadraceError: As `FeatureClient.get_online_features` and the row store.
    """
    found: Features = {}
    at: datetime | None = None
    for group in _groups(view for view in request.views.values() if view.is_stream):
        answer = _look_up(repo, group, rows, at)
        at = answer.at  # all views of a request are computed at one time
        _take(repo, found, group, answer)
    stored = [view for view in request.views.values() if not view.is_stream]
    if stored:
        now_us = repo.now_us() if at is None else us_of(at)
        _read_stored(repo, stored, rows, found, now_us, with_plain=bool(request.on_demand))
    _compute(repo, request, rows, found)
    return found


def response(
    request: OnlineRequest, rows: RequestRows, features: Features, *, with_versions: bool = False
) -> OnlineResponse:
    """Feast's answer: the join keys, then the features in the order asked for.

    Args:
        request: The request.
        rows: Its rows.
        features: What was read and computed.
        with_versions: Whether to name the version of each view.
    """
    answer = GetOnlineFeaturesResponse()
    present = [FieldStatus.PRESENT] * rows.count
    no_times = [_NO_TIME] * rows.count
    for name, values in rows.keys.items():
        if name != DUMMY_ENTITY_ID:
            answer.metadata.feature_names.val.append(name)
            answer.results.add(values=values, statuses=present, event_timestamps=no_times)
    for column in request.columns:
        cells = features[column.label, column.feature]
        answer.metadata.feature_names.val.append(column.name)
        answer.results.add(values=cells.values, statuses=cells.statuses, event_timestamps=cells.times or no_times)
    if with_versions:
        for asked in request.views.values():
            noted = answer.metadata.feature_view_metadata.add()
            noted.name = asked.label.partition("@v")[0]
            noted.version = asked.version or getattr(asked.view, "current_version_number", None) or 0
    return OnlineResponse(answer, feature_types={column.name: column.kind for column in request.columns})


def _groups(views: Iterable[AskedView]) -> list[_Group]:
    groups: dict[tuple[tuple[str, str], ...], _Group] = {}
    for view in views:
        renamed = tuple(pair for pair in sorted(view.keys.items()) if pair[0] != pair[1])
        groups.setdefault(renamed, _Group(renamed, [])).views.append(view)
    return list(groups.values())


def _look_up(repo: OpenRepo, group: _Group, rows: RequestRows, at: datetime | None) -> OnlineFeatures:
    client = repo.client()
    keys: dict[str, list[Any]] = {}
    for asked in group.views:
        types = {entity.name: entity.dtype for entity in client.plan.views[asked.view.name].entities}
        for join_key, column in asked.keys.items():
            if join_key not in keys:
                keys[join_key] = _lookup_keys(rows, column, types.get(join_key))
    names = [
        f"{repo.stream_name(asked.view, asked.version)}:{feature}"
        for asked in group.views
        for feature in asked.features
    ]
    return client.get_online_features(names, keys, at=at)


def _lookup_keys(rows: RequestRows, column: str, dtype: DType | None) -> list[Any]:
    """The values of a join key as a lookup takes them. Feast's times are whole seconds, and its dates are texts."""
    if dtype is DType.TIMESTAMP and all(isinstance(value, datetime) for value in rows.given[column]):
        return rows.given[column]
    values = [python_value(value) for value in rows.keys[column]]
    return [date.fromisoformat(value) for value in values] if dtype is DType.DATE else values


def _take(repo: OpenRepo, found: Features, group: _Group, answer: OnlineFeatures) -> None:
    """Take the features of a lookup's answer over."""
    values = answer.to_dict()
    for asked in group.views:
        name = repo.stream_name(asked.view, asked.version)
        known = answer.views[name]
        times = [_NO_TIME if us is None else _timestamp(us) for us in known.newest_event_us]
        for feature in asked.features:
            column = f"{name}__{feature}"
            cells = protos_of(values[column], answer.dtypes[column])
            statuses = [
                cell_status(status, is_null=cell is NO_VALUE) for status, cell in zip(known.status, cells, strict=True)
            ]
            found[asked.label, feature] = FeatureColumn(cells, statuses, times, values[column], answer.dtypes[column])


def _read_stored(
    repo: OpenRepo,
    views: Sequence[AskedView],
    rows: RequestRows,
    found: Features,
    now_us: int,
    *,
    with_plain: bool,
) -> None:
    """Read the rows of all views at one moment."""
    formats = [repo.formats(asked.view, asked.version)[0] for asked in views]
    keys = [_row_keys(asked, rows, one) for asked, one in zip(views, formats, strict=True)]
    wanted: dict[str, list[bytes]] = {}
    for one, entities in zip(formats, keys, strict=True):
        wanted.setdefault(one.rows_id, []).extend(entities)  # a view may be asked for under two names
    stored = {rows_id: iter(those) for rows_id, those in repo.rows().read_views(wanted).items()}
    for asked, one, entities in zip(views, formats, keys, strict=True):
        columns = {feature: FeatureColumn([], []) for feature in asked.features}
        times: list[Timestamp] = []
        plain: list[Mapping[str, Any] | None] = []
        for row in itertools.islice(stored[one.rows_id], len(entities)):
            times.append(_NO_TIME if row is None else _timestamp(row.event_us))
            missing = _why_null(row, asked, one, now_us)
            values = {} if missing is not None or row is None else one.decode(row.values)
            if with_plain:
                plain.append(one.plain(row.values) if values and row is not None else {})
            for feature, column in columns.items():
                value = values.get(feature)
                if value is None:
                    column.values.append(NO_VALUE)
                    column.statuses.append(FieldStatus.NOT_FOUND if missing is None else missing)
                else:
                    column.values.append(value)
                    column.statuses.append(_status(value))
        for feature, column in columns.items():
            column.times = times
            if with_plain and None not in plain:
                column.plain = [None if held is None else held.get(feature) for held in plain]
            found[asked.label, feature] = column


def _why_null(row: StoredRow | None, asked: AskedView, of: RowFormat, now_us: int) -> FieldStatus.ValueType | None:
    """The status of a row whose values are not given; None of a row that counts now."""
    if row is None:
        return FieldStatus.NOT_FOUND
    if asked.ttl_us is not None and now_us - row.event_us > asked.ttl_us:
        return FieldStatus.OUTSIDE_MAX_AGE
    return FieldStatus.NULL_VALUE if row.event_us > now_us and not of.serves_future else None


def _row_keys(asked: AskedView, rows: RequestRows, of: RowFormat) -> list[bytes]:
    columns = [rows.keys[column] for column in asked.keys.values()]
    join_keys = list(asked.keys)
    return [of.entity(join_keys, values) for values in zip(*columns, strict=True)]


def _compute(repo: OpenRepo, request: OnlineRequest, rows: RequestRows, found: Features) -> None:
    """Compute the on-demand views."""
    for label, view in request.on_demand.items():
        planned = planned_view(repo.plan(), view, label)
        if planned is None:
            inputs = rows.python()
            for source, feature, name in on_demand_inputs(view):
                inputs[name] = [python_value(value) for value in found[source, feature].values]
            made = compute_on_demand(view, inputs, rows.count)
            messages = {one.name: key_protos(made[one.name], one.dtype.to_value_type()) for one in view.features}
        else:
            messages = _by_plan(repo, planned, rows, found)
        for name, cells in messages.items():
            found[label, name] = FeatureColumn(cells, [_status(cell) for cell in cells])


def _by_plan(repo: OpenRepo, view: OnDemandView, rows: RequestRows, found: Features) -> dict[str, list[ValueProto]]:
    """The features of an on-demand view that the plan has, from the values that a lookup gives its function."""
    computation = repo.computations.of(view)
    read = {one.ref.column: _input(view, one, found[one.ref.view, one.ref.feature]) for one in view.inputs}
    if rows.count:
        read |= {one.name: _field(view, one, rows) for one in view.request}
    arrays = computation.run(Inputs(computation.dtypes, rows.count, lists=read)).arrays
    return {one.name: protos_of(python_values(arrays[one.name], one.dtype), one.dtype) for one in view.features}


def _input(view: OnDemandView, one: OnDemandInput, cells: FeatureColumn) -> list[Any]:
    """A feature that the function reads."""
    if cells.dtype is not None and cells.dtype is not one.dtype:
        what = f"The on-demand view {view.name!r} reads {one.ref.view}:{one.ref.feature} as {one.dtype}"
        msg = f"{what}, and the online store serves a version of the view that has it as {cells.dtype}."
        raise PlanMismatchError(msg, hint=f"`headrace backfill {one.ref.view}` makes the declared version live.")
    if cells.plain is not None:
        return cells.plain
    return lookup_values(cells.values, Column(name=one.ref.feature, dtype=one.dtype))


def _field(view: OnDemandView, one: Column, rows: RequestRows) -> list[Any]:
    """A field of the request, as it was given. What only Feast takes is as Feast converts it: texts of times."""
    given = [value.item() if isinstance(value, np.generic) else value for value in rows.given[one.name]]
    try:
        return field_of_rows(view, one, given, None)
    except LookupRequestError:
        pairs = zip(given, rows.data[one.name], strict=True)
        taken = [value if _fits(view, one, value) else python_value(message) for value, message in pairs]
        return field_of_rows(view, one, taken, None)


def _fits(view: OnDemandView, one: Column, value: Any) -> bool:
    try:
        field_of_rows(view, one, [value], None)
    except LookupRequestError:
        return False
    return True


def _status(value: ValueProto) -> FieldStatus.ValueType:
    return FieldStatus.NULL_VALUE if value.WhichOneof("val") is None else FieldStatus.PRESENT


def _timestamp(us: int) -> Timestamp:
    seconds, rest = divmod(us, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1_000)
