"""Lookups through Feast's own `FeatureStore`, for `headrace demo`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from feast import FeatureStore

from headrace.declare.feast_import import quiet_feast
from headrace.feast.online_store import HeadraceOnlineStoreConfig

__all__ = ["feast_lookups"]


def feast_lookups(repo: Path) -> Callable[[str, Sequence[Mapping[str, Any]]], dict[str, list[Any]]] | None:
    """Feast's own call, for the services of a feature repo.

    Args:
        repo: The folder of feature_store.yaml.

    Returns:
        A function of a service's name and rows of join keys, which gives columns by `view__feature`. None where
        feature_store.yaml names another online store than headrace's.
    """
    with contextlib.chdir(repo), quiet_feast():  # Feast reads relative paths from the current folder
        store = FeatureStore(repo_path=".")
        services = {service.name: service for service in store.list_feature_services()}
    if not isinstance(store.config.online_store, HeadraceOnlineStoreConfig):
        return None

    def look_up(service: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
        with contextlib.chdir(repo), quiet_feast():
            answer = store.get_online_features(
                features=services[service], entity_rows=[dict(row) for row in rows], full_feature_names=True
            ).to_dict()
        return {name: values for name, values in answer.items() if "__" in name}

    return look_up
