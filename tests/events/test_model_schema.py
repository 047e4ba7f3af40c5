"""Pydantic models to columns, and finding the models."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from datetime import date, datetime, time, timedelta
from enum import Enum, IntEnum, StrEnum
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, Optional
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    UUID4,
    AwareDatetime,
    BaseModel,
    Field,
    FutureDatetime,
    NaiveDatetime,
    PastDate,
    PastDatetime,
    PositiveInt,
    RootModel,
    StrictStr,
    create_model,
)

from headrace.errors import EventError
from headrace.events.model_schema import columns_of, load_model
from headrace.plan import Column, DType


class Colour(StrEnum):
    RED = "red"


class OldColour(str, Enum):  # noqa: UP042 (the older way to write it has to work too)
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Plain(Enum):
    RED = "red"


class Mixed(Enum):
    RED = "red"
    ONE = 1


class Inner(BaseModel):
    x: int


Cents = NewType("Cents", int)

TYPES: list[tuple[Any, DType, bool]] = [
    (int, DType.INT64, False),
    (float, DType.FLOAT64, False),
    (bool, DType.BOOL, False),
    (str, DType.STRING, False),
    (datetime, DType.TIMESTAMP, False),
    (AwareDatetime, DType.TIMESTAMP, False),
    (PastDatetime, DType.TIMESTAMP, False),
    (FutureDatetime, DType.TIMESTAMP, False),
    (int | None, DType.INT64, True),
    (Optional[float], DType.FLOAT64, True),  # noqa: UP045 (the older way to write it has to work too)
    (AwareDatetime | None, DType.TIMESTAMP, True),
    (Literal["a", "b"], DType.STRING, False),
    (Literal["a", None], DType.STRING, True),
    (Literal["a"] | None, DType.STRING, True),
    (Literal[1, 2], DType.INT64, False),
    (Literal["a"] | str, DType.STRING, False),
    (Colour, DType.STRING, False),
    (OldColour | None, DType.STRING, True),
    (Annotated[int, Field(gt=0)], DType.INT64, False),
    (Annotated[str, Field(pattern="^a")] | None, DType.STRING, True),
    (Annotated[Annotated[float, Field(ge=0)] | None, "note"], DType.FLOAT64, True),
    (PositiveInt, DType.INT64, False),
    (StrictStr, DType.STRING, False),
    (Cents, DType.INT64, False),
    (Level, DType.INT64, False),
    (Plain | None, DType.STRING, True),
    (UUID, DType.STRING, False),
    (date, DType.DATE, False),
    (PastDate | None, DType.DATE, True),
    (UUID4 | None, DType.STRING, True),
    (IPv4Address | IPv6Address, DType.STRING, False),
]


@pytest.mark.parametrize(("annotation", "dtype", "nullable"), TYPES)
def test_a_field_becomes_a_column(annotation: Any, dtype: DType, nullable: bool) -> None:
    model = create_model("Order", field=(annotation, ...))
    assert columns_of(model) == (Column(name="field", dtype=dtype, nullable=nullable),)


@given(st.lists(st.sampled_from(TYPES), min_size=1, max_size=12))
def test_columns_keep_the_order_of_the_fields(kinds: list[tuple[Any, DType, bool]]) -> None:
    fields: dict[str, Any] = {f"f{number}": (kind[0], ...) for number, kind in enumerate(kinds)}
    expected = [(f"f{number}", dtype, nullable) for number, (_, dtype, nullable) in enumerate(kinds)]
    found = columns_of(create_model("Order", **fields))
    assert [(column.name, column.dtype, column.nullable) for column in found] == expected


def test_a_default_does_not_make_a_column_nullable() -> None:
    model = create_model("Order", count=(int, 0), note=(str | None, None))
    assert [column.nullable for column in columns_of(model)] == [False, True]


def test_columns_of_a_base_class_come_first() -> None:
    class Base(BaseModel):
        id: int

    class Order(Base):
        price: float

    assert [column.name for column in columns_of(Order)] == ["id", "price"]


@pytest.mark.parametrize(
    "annotation",
    [
        NaiveDatetime,
        time,
        timedelta,
        bytes,
        complex,
        list[int],
        tuple[int, int],
        set[str],
        dict[str, int],
        Inner,
        Any,
        None,
        int | str,
        int | float,
        list[Inner] | Inner,
        Literal["a", 1],
        Mixed,
    ],
)
def test_a_type_that_no_feature_can_use_is_kept_as_json_text(annotation: Any) -> None:
    assert columns_of(create_model("Order", field=(annotation, ...)))[0].dtype is DType.JSON


def test_a_root_model_is_not_an_event() -> None:
    with pytest.raises(EventError, match=r"Numbers is a RootModel.*\n.*BaseModel"):
        columns_of(type("Numbers", (RootModel[int],), {}))


def test_a_model_without_fields_is_not_an_event() -> None:
    with pytest.raises(EventError, match=r"Nothing has no fields"):
        columns_of(create_model("Nothing"))


def test_fields_that_differ_only_in_case_are_refused() -> None:
    with pytest.raises(EventError, match=r"Order\.price and Order\.Price differ only in case"):
        columns_of(create_model("Order", price=(int, ...), Price=(int, ...)))


def test_a_type_that_is_never_defined_is_named() -> None:
    fields: dict[str, Any] = {"price": ("Missing", ...)}
    model = create_model("Order", **fields)
    with pytest.raises(EventError, match=r"(?s)Order is not fully defined.*Missing"):
        columns_of(model)


def repo_of(root: Path, **modules: str) -> Path:
    """A feature repo of these modules."""
    root.mkdir(parents=True, exist_ok=True)
    for name, text in modules.items():
        (root / f"{name}.py").write_text(textwrap.dedent(text), encoding="utf-8")
    return root


ORDER = """
from pydantic import BaseModel

class Order(BaseModel):
    price: float
"""


def test_a_model_is_loaded_by_module_and_class(tmp_path: Path) -> None:
    model = load_model(repo_of(tmp_path, events=ORDER), "events:Order")
    assert list(model.model_fields) == ["price"]


def test_a_model_is_the_same_class_each_time(tmp_path: Path) -> None:
    repo = repo_of(tmp_path, events=ORDER)
    assert load_model(repo, "events:Order") is load_model(repo, "events:Order")


def test_models_of_two_repos_are_not_taken_for_one_another(tmp_path: Path) -> None:
    one = repo_of(tmp_path / "one", events=ORDER)
    other = repo_of(tmp_path / "other", events=ORDER.replace("price", "weight"))
    assert list(load_model(one, "events:Order").model_fields) == ["price"]
    assert list(load_model(other, "events:Order").model_fields) == ["weight"]
    assert list(load_model(one, "events:Order").model_fields) == ["price"]


def test_a_model_may_use_other_modules_of_its_repo(tmp_path: Path) -> None:
    base = "from pydantic import BaseModel\nclass Base(BaseModel):\n    id: int\n"
    order = "from common import Base\nclass Order(Base):\n    price: float\n"
    for name, field in (("one", "id"), ("other", "number")):
        repo = repo_of(tmp_path / name, common=base.replace("id", field), events=order)
        assert list(load_model(repo, "events:Order").model_fields) == [field, "price"]


def test_a_model_may_lie_in_a_folder_of_its_repo(tmp_path: Path) -> None:
    repo_of(tmp_path / "shop", events=ORDER)
    assert load_model(tmp_path, "shop.events:Order").__module__ == "shop.events"


def test_a_model_may_lie_in_an_installed_package(tmp_path: Path) -> None:
    assert load_model(tmp_path, "headrace.plan:Column") is Column


def test_types_defined_after_the_model_are_known_after_loading(tmp_path: Path) -> None:
    text = """
    from __future__ import annotations
    from pydantic import BaseModel

    class Order(BaseModel):
        price: Price

    Price = float
    """
    for name, replacement in (("one", "float"), ("other", "int")):
        repo = repo_of(tmp_path / name, events=text.replace("Price = float", f"Price = {replacement}"))
        expected = DType.FLOAT64 if replacement == "float" else DType.INT64
        assert columns_of(load_model(repo, "events:Order"))[0].dtype is expected


@pytest.mark.parametrize(
    ("ref", "what", "hint"),
    [
        ("events", "'events' is not written as module:Class", "events:Departure"),
        ("events.Order", "not written as module:Class", "'events:Order'"),
        ("events.py:Order", "not written as module:Class", "'events:Order'"),
        ("shop/events.py:Order", "not written as module:Class", "'shop.events:Order'"),
        ("events:", "not written as module:Class", "relative to the feature repo"),
        ("event:Order", "there is no event.py", "Did you mean 'events'?"),
        ("nowhere:Order", "there is no nowhere.py", "Put the model there"),
        ("events:Oder", "has no class 'Oder'", "Did you mean 'Order'? It has: Order."),
        ("events:LIMIT", "has no class 'LIMIT'", "It has: Order."),
        ("events:Plain", "events:Plain is not a pydantic model", "class Plain(BaseModel)"),
    ],
)
def test_a_reference_that_leads_nowhere_says_where_it_should(tmp_path: Path, ref: str, what: str, hint: str) -> None:
    repo = repo_of(tmp_path, events=f"{ORDER}\nLIMIT = 3\n\nclass Plain:\n    pass\n")
    with pytest.raises(EventError) as caught:
        load_model(repo, ref)
    assert what in caught.value.what
    assert hint in (caught.value.hint or "")


def test_a_module_without_models_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(EventError, match=r"Write the model there"):
        load_model(repo_of(tmp_path, events="x = 1\n"), "events:Order")


def test_a_repo_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EventError, match=r"(?s)no feature repo at .*absent.*headrace\.toml"):
        load_model(tmp_path / "absent", "events:Order")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("x = 1\ny = 1 / 0\n", "broken.py:2: .*ZeroDivisionError: division by zero"),
        ("import no_such_package\n", "broken.py:1: .*No module named 'no_such_package'"),
        ("x = 1\nclass (:\n", "broken.py:2: .*SyntaxError"),
        ("raise SystemExit(3)\n", "broken.py:1: .*SystemExit: 3"),
    ],
)
def test_a_module_that_cannot_be_imported_names_file_line_and_exception(tmp_path: Path, text: str, where: str) -> None:
    repo = repo_of(tmp_path / "shop", broken=text, events="import broken\n")
    with pytest.raises(EventError, match=f"shop/{where}"):
        load_model(repo, "events:Order")


def test_loading_models_needs_neither_feast_nor_pyarrow() -> None:
    code = (
        "import sys, headrace.events.model_schema; sys.exit(any(name in sys.modules for name in ('feast', 'pyarrow')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
