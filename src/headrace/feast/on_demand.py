"""Computing Feast's on-demand views, the same way for an online answer and for a training set."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from headrace.errors import HeadraceError, TransformError
from headrace.feast.repo_project import label_of

if TYPE_CHECKING:
    from feast.on_demand_feature_view import OnDemandFeatureView

__all__ = ["compute_on_demand", "on_demand_inputs"]


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
    """The features of an on-demand view.

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
    if str(getattr(view.mode, "value", view.mode)) != "python":
        table = view.transform_arrow(pa.table({name: _column(values) for name, values in inputs.items()}), False)
        return {name: table[name].to_pylist() for name in table.column_names}
    if not view.singleton:
        return {name: list(values) for name, values in view.transform_dict(dict(inputs)).items()}
    made = [view.transform_dict({name: [values[row]] for name, values in inputs.items()}) for row in range(rows)]
    return {name: [one.get(name) for one in made] for name in made[0]}


def _column(values: list[Any]) -> pa.Array:
    """A column for a function in pandas mode. Arrow has no UUIDs and no sets."""
    return pa.array([_plain(value) for value in values])


def _plain(value: Any) -> Any:
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, list | set):
        return [_plain(one) for one in value]
    return value
