"""Feast's on-demand views: which of them the plan has, and computing the others.

A view that the plan has is computed by `headrace.ondemand`, as lookups and training sets compute it. Only a view that
it lacks is computed by Feast's own function.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from feast.types import from_feast_to_pyarrow_type

from headrace.errors import HeadraceError, TransformError
from headrace.feast.repo_project import label_of

if TYPE_CHECKING:
    from feast.on_demand_feature_view import OnDemandFeatureView

    from headrace.plan import OnDemandView, Plan

__all__ = ["compute_on_demand", "on_demand_inputs", "planned_view"]


def planned_view(plan: Plan | None, view: OnDemandFeatureView, label: str) -> OnDemandView | None:
    """The plan's definition of an on-demand view; None where the plan has none, or defines it otherwise.

    The plan has no versions of on-demand views: one that is asked for by its version is not in it.

    Args:
        plan: The plan; None where there is none.
        view: Feast's view.
        label: How the request names it: with its alias or version.
    """
    found = None if plan is None else plan.on_demand_views.get(view.name)
    if found is None or "@" in label:
        return None
    read = {(source, feature) for source, feature, _ in on_demand_inputs(view)}
    made = {field.name for field in view.features}
    is_same = (
        read == {(one.ref.view, one.ref.feature) for one in found.inputs}
        and set(view.get_request_data_schema()) == {field.name for field in found.request}
        and made == {feature.name for feature in found.features}
    )
    return found if is_same else None


def on_demand_inputs(view: OnDemandFeatureView) -> list[tuple[str, str, str]]:
    """What the function of a view reads of other views.

    Args:
        view: The view.

    Returns:
        Per value: how its view is named in a request, the feature, and the name that the function's caller gives it.
    """
    return [
        (label_of(projection), feature.name, f"{projection.name}__{feature.name}")
        for projection in view.source_feature_view_projections.values()
        for feature in projection.features
    ]


def compute_on_demand(view: OnDemandFeatureView, inputs: Mapping[str, list[Any]], rows: int) -> dict[str, list[Any]]:
    """The features of an on-demand view that the plan lacks, by Feast's own function.

    A function of one row (singleton) is called once per row.

    Args:
        view: The view.
        inputs: Join keys, request data, and the features of `on_demand_inputs`: by name, one value per row.
        rows: How many rows there are.

    Returns:
        By feature, one value per row.

    Raises:
        TransformError: The function fails, lacks a feature, or gives another number of values.
    """
    if not rows:
        return {field.name: [] for field in view.features}
    try:
        made = _made(view, inputs, rows)
    except HeadraceError:
        raise
    except Exception as error:
        msg = f"The on-demand view {view.name!r} failed: {type(error).__name__}: {error}"
        raise TransformError(msg, hint="Correct its function, and apply.") from error
    found: dict[str, list[Any]] = {}
    for field in view.features:
        long_name = f"{label_of(view)}__{field.name}"
        values = made.get(field.name, made.get(long_name))
        if values is None:
            msg = f"The function of the on-demand view {view.name!r} gave no {field.name!r}."
            raise TransformError(msg, hint=f"It gave: {', '.join(sorted(set(made) - set(inputs))) or 'nothing'}.")
        if len(values) != rows:
            msg = f"The function of {view.name!r} gave {len(values)} values of {field.name!r} for {rows} rows."
            raise TransformError(msg, hint="Give one value per row; in pandas, keep the index of the input.")
        found[field.name] = values
    return found


def _made(view: OnDemandFeatureView, inputs: Mapping[str, list[Any]], rows: int) -> dict[str, list[Any]]:
    """What the function gives, by name."""
    mode = str(getattr(view.mode, "value", view.mode))
    if mode == "python":
        if not view.singleton:
            return {name: list(values) for name, values in view.transform_dict(dict(inputs)).items()}
        made = [view.transform_dict({name: [values[row]] for name, values in inputs.items()}) for row in range(rows)]
        names = dict.fromkeys(name for one in made for name in one)
        for name in names:
            lacking = next((row for row, one in enumerate(made) if name not in one), None)
            if lacking is not None:
                msg = f"The function of the on-demand view {view.name!r} gave no {name!r} for row {lacking}."
                raise TransformError(msg, hint="Give every feature for every row; None is null.")
        return {name: [one[name] for one in made] for name in names}
    kinds = _kinds(view)
    table = pa.table({name: _column(values, kinds.get(name)) for name, values in inputs.items()})
    table = _by_frame(view, table) if mode == "pandas" else view.transform_arrow(table, False)
    return {name: table[name].to_pylist() for name in table.column_names}


def _by_frame(view: OnDemandFeatureView, table: pa.Table) -> pa.Table:
    """What a function of a data frame gives. Feast's own frames have floats for integers beside a null."""
    import pandas as pd

    columns = {name: table[name] for name in table.column_names}
    for projection in view.source_feature_view_projections.values():
        for feature in projection.features:
            columns[feature.name] = columns[f"{projection.name}__{feature.name}"]
    function: Any = view.feature_transformation
    return pa.Table.from_pandas(function.transform(pa.table(columns).to_pandas(types_mapper=pd.ArrowDtype)))


def _kinds(view: OnDemandFeatureView) -> dict[str, Any]:
    """The declared types of what a function reads, by name."""
    projections = view.source_feature_view_projections.values()
    found = {f"{one.name}__{feature.name}": feature.dtype for one in projections for feature in one.features}
    sources = view.source_request_sources.values()
    return found | {field.name: field.dtype for source in sources for field in source.schema}


def _column(values: list[Any], kind: Any) -> pa.Array:
    """A column for a function in pandas mode. Arrow has no UUIDs and no sets; a column of nulls has its own type."""
    if kind is not None and all(value is None for value in values):
        return pa.nulls(len(values), from_feast_to_pyarrow_type(kind))
    return pa.array([_plain(value) for value in values])


def _plain(value: Any) -> Any:
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, list | set):
        return [_plain(one) for one in value]
    return value
