"""The types of columns, entity keys and features."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from headrace.plan.content_hash import Hashed

__all__ = ["Column", "DType"]


class DType(StrEnum):
    """The types a column of events, an entity key or a feature can have."""

    INT64 = "int64"
    FLOAT64 = "float64"
    BOOL = "bool"
    STRING = "string"
    TIMESTAMP = "timestamp"  # microseconds, UTC
    DATE = "date"  # days since 1970-01-01
    # Decimals in 64 bits, by the number of digits after the point.
    DECIMAL_0 = "decimal_0"
    DECIMAL_1 = "decimal_1"
    DECIMAL_2 = "decimal_2"
    DECIMAL_3 = "decimal_3"
    DECIMAL_4 = "decimal_4"
    DECIMAL_5 = "decimal_5"
    DECIMAL_6 = "decimal_6"
    DECIMAL_7 = "decimal_7"
    DECIMAL_8 = "decimal_8"
    DECIMAL_9 = "decimal_9"
    JSON = "json"  # text: a field of a type that no feature can use
    # Features can be lists; columns of events cannot.
    INT64_LIST = "int64_list"
    FLOAT64_LIST = "float64_list"
    BOOL_LIST = "bool_list"
    STRING_LIST = "string_list"
    TIMESTAMP_LIST = "timestamp_list"
    DATE_LIST = "date_list"

    @property
    def element(self) -> DType | None:
        """The type of a list's elements; None for the others."""
        plain, is_list, _ = self.value.partition("_list")
        return DType(plain) if is_list else None

    @property
    def scale(self) -> int | None:
        """How many digits a decimal has after the point; None for the others."""
        return int(self.value.removeprefix("decimal_")) if self.value.startswith("decimal_") else None

    @property
    def list_of(self) -> DType:
        """The list of values of this type."""
        return DType(f"{self.value}_list")


class Column(Hashed):
    """A named and typed column of events, or an entity's join key.

    Attributes:
        name: Its name.
        dtype: The type of its values.
        nullable: Whether it can be null.
        fill: The model's default as JSON: the column's value in events that were logged before the field existed. None
            is null.
    """

    name: str
    dtype: DType
    nullable: bool = True
    fill: str | None = None

    added_later: ClassVar[frozenset[str]] = frozenset({"fill"})
