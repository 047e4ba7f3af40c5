"""The bodies that Feast's clients send; fields that are not listed are ignored, as in Feast."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = [
    "GetOnlineFeatures",
    "Materialize",
    "MaterializeIncremental",
    "Push",
    "WriteToOnlineStore",
]


class GetOnlineFeatures(msgspec.Struct, frozen=True):
    """Asks for features.

    Attributes:
        entities: The join keys and the fields of the request, by name: a value per row.
        feature_service: A service's name. If it is given, `features` is not read, as in Feast.
        features: Features as `view:feature`.
        full_feature_names: Whether names in the answer begin with their view's.
        include_feature_view_version_metadata: Whether the answer names the version of each view.
    """

    entities: dict[str, list[Any]]
    feature_service: str | None = None
    features: tuple[str, ...] = ()
    full_feature_names: bool = False
    include_feature_view_version_metadata: bool = False


class Push(msgspec.Struct, frozen=True):
    """Writes rows to the views that have a push source.

    Attributes:
        push_source_name: The push source's name.
        df: Columns, by name: a value per row.
        to: Where to: `online`, `offline` or `online_and_offline`.
        allow_registry_cache: Not used; the plan is always the one that is served.
        transform_on_write: Not used; only on-demand views that are stored need it, and headrace stores none.
    """

    push_source_name: str
    df: dict[str, list[Any]]
    to: str = "online"
    allow_registry_cache: bool = True
    transform_on_write: bool = True


class WriteToOnlineStore(msgspec.Struct, frozen=True):
    """Writes rows of one view.

    Attributes:
        feature_view_name: The view's name.
        df: Columns, by name: a value per row.
        allow_registry_cache: Not used; see `Push`.
        transform_on_write: Not used; see `Push`.
    """

    feature_view_name: str
    df: dict[str, list[Any]]
    allow_registry_cache: bool = True
    transform_on_write: bool = True


class Materialize(msgspec.Struct, frozen=True):
    """Loads rows of batch sources between two times.

    Attributes:
        start_ts: The first time, ISO 8601; without a zone it is UTC.
        end_ts: The last time.
        feature_views: The views; None for all batch views.
        disable_event_timestamp: Whether to load all rows; then no times are needed.
        full_feature_names: Not used; features have no other names in the store.
        version: A version of the one view named, such as `v2`.
    """

    start_ts: str | None = None
    end_ts: str | None = None
    feature_views: tuple[str, ...] | None = None
    disable_event_timestamp: bool = False
    full_feature_names: bool = False
    version: str | None = None


class MaterializeIncremental(msgspec.Struct, frozen=True):
    """Loads the rows of batch sources since the last time that they were loaded.

    Attributes:
        end_ts: The last time.
        feature_views: The views; None for all batch views.
        full_feature_names: Not used; see `Materialize`.
        version: A version of the one view named.
    """

    end_ts: str
    feature_views: tuple[str, ...] | None = None
    full_feature_names: bool = False
    version: str | None = None
