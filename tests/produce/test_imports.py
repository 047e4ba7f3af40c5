from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

from headrace import produce

LOADED = "import sys; print(*[name for name in {names!r} if name in sys.modules])"


def loaded_by(statement: str, *names: str) -> list[str]:
    script = f"{statement}; {LOADED.format(names=names)}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_producing_loads_none_of_the_engines() -> None:
    statement = "from headrace.produce import EventProducer, replay, read_dead_letters; import headrace.produce.command"
    assert loaded_by(statement, "kafka", "faust", "feast", "duckdb", "pandas", "deltalake") == ["kafka"]


def test_naming_the_command_needs_no_kafka() -> None:
    assert loaded_by("import headrace.produce.command", "kafka", "pyarrow", "numpy", "rich.progress") == []


def test_missing_kafka_python_names_the_extra() -> None:
    script = "import sys; sys.modules['kafka'] = None\nfrom headrace.produce import EventProducer"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "MissingExtraError: This needs the package kafka" in done.stderr
    assert "headrace[stream]" in done.stderr


def test_every_public_name_is_there_in_any_order() -> None:
    for name in produce.__all__:
        found = getattr(produce, name)
        assert getattr(produce, name) is found
        assert not isinstance(found, ModuleType), f"{name} must not be hidden by a module"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = produce.nothing
