"""The public surface: a name that comes or goes is a decision."""

from __future__ import annotations

import importlib
import re

import headrace

PUBLIC = {
    "AsyncFeatureClient": "headrace.client",
    "Dataset": "headrace.training",
    "EventProducer": "headrace.produce",
    "FeatureClient": "headrace.client",
    "HeadraceError": "headrace.errors",
    "HistoricalFeatures": "headrace.training",
    "HttpSettings": "headrace.client",
    "OnlineFeatures": "headrace.lookup",
    "Project": "headrace.config",
    "TrainingClient": "headrace.training",
    "aggregation": "headrace.declare",
    "event_source": "headrace.declare",
    "query_source": "headrace.declare",
    "stream_view": "headrace.declare",
}


def test_all_is_pinned() -> None:
    assert headrace.__all__ == sorted(PUBLIC)


def test_every_name_is_there_and_is_the_one_of_its_package() -> None:
    for name, home in PUBLIC.items():
        assert getattr(headrace, name) is getattr(importlib.import_module(home), name)
        assert name in importlib.import_module(home).__all__


def test_dir_lists_every_name() -> None:
    assert set(PUBLIC) <= set(dir(headrace))


def test_every_error_is_exported_and_in_the_tree_of_the_docstring() -> None:
    errors = importlib.import_module("headrace.errors")
    found = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}
    assert sorted(errors.__all__) == sorted(found)
    assert issubclass(found.pop("HeadraceWarning"), UserWarning)
    drawn = re.findall(r"^ *(?:[│ ]*[├└]── )?(\w+Error)\b", str(errors.__doc__), re.MULTILINE)
    assert sorted(drawn) == sorted(found)
    assert all(issubclass(kind, headrace.HeadraceError) for kind in found.values())


def test_version_is_that_of_the_installed_package() -> None:
    assert headrace.__version__ == importlib.import_module("importlib.metadata").version("headrace")
