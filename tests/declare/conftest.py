"""Small feature repos, written to a temporary folder and compiled."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.declare import compile_repo
from headrace.errors import DefinitionError
from headrace.plan import Plan

YAML = """
project: shop
provider: local
registry: ../.headrace/registry.db
offline_store:
  type: dask
online_store: null
entity_key_serialization_version: 3
"""

EVENTS = """
from typing import Literal
from pydantic import AwareDatetime, BaseModel

class Order(BaseModel):
    customer: str
    shop: int
    placed_at: AwareDatetime
    shipped_at: AwareDatetime | None
    price: float
    items: int
    paid: bool
    channel: Literal["web", "app"] | None
"""

HEADER = """
from datetime import timedelta
from feast import Aggregation, Entity, FeatureService, Field, FileSource, KafkaSource, StreamFeatureView, ValueType
from feast.data_format import JsonFormat
from feast.types import Bool, Float32, Float64, Int64, String, UnixTimestamp
from headrace.declare import event_source, stream_view
from events import Order

customer = Entity(name="customer", value_type=ValueType.STRING)
shop = Entity(name="shop", value_type=ValueType.INT64)
"""

SOURCE = (
    'orders = event_source(name="orders", model=Order, topic="orders", key="customer", timestamp_field="placed_at")\n'
)


def write_repo(root: Path, files: dict[str, str]) -> Path:
    """Write a project with these files in its feature repo; the settings and `events.py` are there unless given."""
    repo = root / "feature_repo"
    for name, text in {"feature_store.yaml": YAML, "events.py": EVENTS, **files}.items():
        file = repo / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text).lstrip(), encoding="utf-8")
    (root / "headrace.toml").write_text("[headrace]\n", encoding="utf-8")
    return repo


@pytest.fixture
def write() -> Callable[[Path, str], Path]:
    """Writes a project whose views.py holds definitions behind `HEADER` and `SOURCE`."""

    def write_it(root: Path, definitions: str, **files: str) -> Path:
        named = {name.replace("__", "."): text for name, text in files.items()}
        return write_repo(root, {"views.py": HEADER + SOURCE + textwrap.dedent(definitions), **named})

    return write_it


@pytest.fixture
def compiled(tmp_path: Path) -> Callable[..., Plan]:
    """Compiles definitions that stand behind `HEADER` and `SOURCE` in views.py."""

    def compile_it(definitions: str, source: str = SOURCE, **files: str) -> Plan:
        named = {name.replace("__", "."): text for name, text in files.items()}
        body = HEADER + source + textwrap.dedent(definitions)
        return compile_repo(write_repo(tmp_path, {"views.py": body, **named}))

    return compile_it


@pytest.fixture
def line_of(tmp_path: Path) -> Callable[..., str]:
    """Tells, as an error does, the first line of views.py that begins with a text, or else holds it."""

    def find(text: str, file: str = "views.py") -> str:
        lines = (tmp_path / "feature_repo" / file).read_text(encoding="utf-8").splitlines()
        found = [number for number, line in enumerate(lines, 1) if line.strip().startswith(text)]
        found += [number for number, line in enumerate(lines, 1) if text in line]
        return f"feature_repo/{file}:{found[0]}"

    return find


@pytest.fixture
def refused(compiled: Callable[..., Plan]) -> Callable[..., str]:
    """Compiles likewise, and returns the message of the DefinitionError."""

    def refuse(definitions: str, source: str = SOURCE, **files: str) -> str:
        with pytest.raises(DefinitionError) as caught:
            compiled(definitions, source, **files)
        return str(caught.value)

    return refuse


@pytest.fixture
def feature_refused(refused: Callable[..., str]) -> Callable[[str], str]:
    """Compiles a view of one aggregation with these arguments, which cannot work."""

    def refuse(arguments: str, more: str = "") -> str:
        return refused(
            f"""
            v = stream_view(
                name="spending",
                source=orders,
                entities=[customer],
                aggregations=[
                    Aggregation({arguments}),
                ],
                {more}
            )
            """
        )

    return refuse
