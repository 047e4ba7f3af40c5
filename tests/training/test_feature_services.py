"""Feature services given as Feast's own objects."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from headrace import Dataset, TrainingClient
from headrace.config import Project
from headrace.errors import LookupRequestError
from tests.training.spines import SPINE, joined


def service(name: str, **views: list[str]) -> Any:
    """What headrace needs of Feast's `FeatureService`."""
    projections = [
        SimpleNamespace(name=view, features=[SimpleNamespace(name=one) for one in features])
        for view, features in views.items()
    ]
    return SimpleNamespace(name=name, feature_view_projections=projections)


ALL = ["n_10m", "mean_price_10m", "seats_10m", "last_at", "max_price"]


def test_feature_service_may_be_given_itself(project: Project, tmp_path: Path) -> None:
    model = service("model", city_rides=ALL)
    by_name = joined(project, SPINE)
    assert joined(project, SPINE, model).equals(by_name)
    assert joined(project, SPINE, [model, "city_rides:n_10m"]).equals(by_name)
    assert joined(project, SPINE, service("model", city_rides=[])).equals(by_name)
    dataset = Dataset(name="d", features=model, spine=lambda _: SPINE, label="label")
    assert TrainingClient(project).export(dataset, tmp_path / "out").manifest["features"] == [
        f"city_rides:{one}" for one in ALL
    ]


def test_feature_service_that_is_not_as_applied_is_refused(project: Project) -> None:
    with pytest.raises(LookupRequestError, match=r"(?s)other features of 'city_rides' than.*headrace apply"):
        joined(project, SPINE, service("model", city_rides=ALL[:2]))
    with pytest.raises(LookupRequestError, match="no feature service named 'other'"):
        joined(project, SPINE, service("other", city_rides=ALL))
