"""Importing headrace costs next to nothing, and a model server that looks features up loads no engine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import headrace

ROOT = Path(__file__).parents[1]
HEAVY = ("aiokafka", "deltalake", "duckdb", "faust", "feast", "kafka", "pandas")


def loaded_by(program: str, names: Sequence[str]) -> list[str]:
    """Which of the packages a fresh interpreter has loaded after running the program."""
    tell = f"import sys; print(*[name for name in {list(names)!r} if name in sys.modules])"
    command = [sys.executable, "-c", f"{program}; {tell}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_import_loads_no_other_module_of_headrace() -> None:
    program = "import sys, headrace; print(*[name for name in sys.modules if name.startswith('headrace.')])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "\n"


def test_import_loads_nothing_heavy() -> None:
    assert loaded_by("import headrace", [*HEAVY, "lmdb", "numpy", "pyarrow", "pydantic", "redis", "rich"]) == []


def test_lookups_load_no_engine() -> None:
    assert loaded_by("from headrace import FeatureClient", [*HEAVY, "redis"]) == []
    assert loaded_by("from headrace.lookup import FeatureClient", [*HEAVY, "redis"]) == []


def test_lookups_load_no_engine_when_they_are_made_either() -> None:
    program = (
        "from headrace import FeatureClient; from headrace.plan import Plan; "
        "from headrace.stores.memory import MemoryStore; "
        "from headrace.stores import CatalogueChange; from tests.plan.examples import PLAN; "
        "store = MemoryStore(); store.change(CatalogueChange().serve(PLAN.views.values())); "
        "client = FeatureClient(plan=PLAN, store=store); "
        "client.get_online_features('desk', [{'shop': 'a', 'region': 1}]).to_dict()"
    )
    assert loaded_by(program, [*HEAVY, "redis"]) == []


@pytest.mark.parametrize("name", ["Project", "HeadraceError"])
def test_settings_and_errors_load_no_engine(name: str) -> None:
    assert loaded_by(f"from headrace import {name}", [*HEAVY, "lmdb", "numpy", "pyarrow", "redis"]) == []


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'headrace' has no attribute 'FeatureServer'"):
        _ = headrace.FeatureServer
