"""Feast, set up as its documentation teaches: one entity, a feature view per size, finished numbers in its store."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.lookup_store import PLAN, names_of
from benchmarks.side_by_side import Skipped

__all__ = ["Lookup", "feast_lookup", "feast_repo"]

Lookup = Callable[[str, list[dict[str, Any]]], Mapping[str, Sequence[Any]]]
"""Looks all features of a view up for some rows, to Python values by column."""


def feast_lookup(
    folder: Path, online_store: Mapping[str, str], finished: Mapping[str, Any], *, write: bool = True
) -> Lookup:
    """A Feast store that holds finished features.

    Args:
        folder: Where its registry and files go.
        online_store: The online store's settings, as in `feature_store.yaml`.
        finished: By view, the users' features as a data frame of `user_id` and the features.
        write: Whether to write them to the online store; without, it only is asked.

    Returns:
        What looks them up.

    Raises:
        Skipped: Feast is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _set_up(folder, online_store, finished, write=write)
    except ImportError as error:
        why = f"Feast is not installed ({error}): pip install 'headrace[feast]'"
        raise Skipped(why) from error


def feast_repo(
    folder: Path, online_store: Mapping[str, str], finished: Mapping[str, Any], *, write: bool = True
) -> Any:
    """A Feast repository whose online store holds finished features.

    Args:
        folder: Its folder, which is made; `feature_store.yaml` is in it.
        online_store: The online store's settings, as in `feature_store.yaml`.
        finished: By view, the users' features as a data frame of `user_id` and the features.
        write: Whether to write them to the online store; without, it only is asked.

    Returns:
        The `FeatureStore`.
    """
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, PushSource, ValueType
    from feast.types import Float64, Int64

    folder.mkdir()
    settings = {
        "project": "payments",
        "provider": "local",
        "registry": str(folder / "registry.db"),
        "online_store": dict(online_store),
        "entity_key_serialization_version": 3,
    }
    (folder / "feature_store.yaml").write_text(json.dumps(settings))  # JSON is YAML
    store = FeatureStore(repo_path=str(folder))
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    views = []
    for name in PLAN.views:
        frame = finished[name].assign(at=datetime.now(UTC))
        frame.to_parquet(folder / f"{name}.parquet")
        batch = FileSource(name=f"{name}_batch", path=str(folder / f"{name}.parquet"), timestamp_field="at")
        views.append(
            FeatureView(
                name=name,
                entities=[user],
                ttl=timedelta(days=1),
                schema=[Field(name=one, dtype=Int64 if one.startswith("count") else Float64) for one in names_of(name)],
                source=PushSource(name=f"{name}_push", batch_source=batch),
            )
        )
    store.apply([user, *views])
    for name in PLAN.views if write else ():
        store.write_to_online_store(name, finished[name].assign(at=datetime.now(UTC)))
    return store


def _set_up(folder: Path, online_store: Mapping[str, str], finished: Mapping[str, Any], *, write: bool) -> Lookup:
    store = feast_repo(folder, online_store, finished, write=write)
    asked = {name: [f"{name}:{one}" for one in names_of(name)] for name in PLAN.views}

    def look_up(view: str, rows: list[dict[str, Any]]) -> Mapping[str, Sequence[Any]]:
        found = store.get_online_features(features=asked[view], entity_rows=rows, full_feature_names=True)
        answer: Mapping[str, Sequence[Any]] = found.to_dict()
        return answer

    return look_up
