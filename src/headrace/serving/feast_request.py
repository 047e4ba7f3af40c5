"""The bodies that Feast's clients send; fields that are not listed are ignored, as in Feast."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["GetOnlineFeatures"]


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
