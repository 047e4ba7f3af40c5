"""Stream feature views."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

from headrace.plan.content_hash import Hashed
from headrace.plan.feature import Feature, Transform
from headrace.plan.source import Source, ViewInput
from headrace.plan.types import Column

__all__ = ["View"]


class View(Hashed):
    """A stream feature view: aggregates of one source per entity.

    Attributes:
        name: The view's name.
        source: The name of its source in the plan.
        entities: The join keys, in the view's order.
        features: The aggregates.
        transforms: The transforms that add columns to events, in order.
        input: What it reads of its source; the compiler sets it (`Source.input_of`).
    """

    name: str
    source: str
    entities: tuple[Column, ...]
    features: tuple[Feature, ...]
    transforms: tuple[Transform, ...] = ()
    input: ViewInput | None = None

    added_later: ClassVar[frozenset[str]] = frozenset({"transforms"})

    @cached_property
    def hash(self) -> str:
        """The content hash. A view with a changed definition is another view to the store."""
        return self.content_hash()

    @property
    def versioned_name(self) -> str:
        """``name@hash``, as the store and the status table name it."""
        return f"{self.name}@{self.hash}"

    @property
    def join_keys(self) -> tuple[str, ...]:
        """The names of the join keys."""
        return tuple(entity.name for entity in self.entities)

    def sees(self, source: Source) -> Source:
        """The view's source as the view reads it, with the columns that its transforms add."""
        made = tuple(column for transform in self.transforms for column in transform.columns)
        read = self.as_read(source)
        return read.model_copy(update={"columns": (*read.columns, *made)}) if made else read

    def as_read(self, source: Source) -> Source:
        """The view's source with the columns that the view reads, as they were when the view was declared.

        An older version of a view can be served while its source has changed: it reads an integer that became a float
        as an integer, and a field that was removed as null.
        """
        columns = tuple(map(self._as_read, source.columns))
        removed = tuple(
            self._as_read(Column(name=name, dtype=dtype))
            for name, dtype in (self.input.columns if self.input is not None else {}).items()
            if all(column.name != name for column in source.columns)
        )
        same = not removed and columns == source.columns
        return source if same else source.model_copy(update={"columns": (*columns, *removed)})

    def adapted(self, source: Source) -> tuple[Column, ...]:
        """The columns that the view reads differently from how its source declares them now."""
        return tuple(column for column in self.as_read(source).columns if column not in source.columns)

    def _as_read(self, column: Column) -> Column:
        read = self.input
        if read is None or column.name not in read.columns:
            return column
        known, fill = read.columns[column.name], read.fills.get(column.name)
        nullable = column.nullable if fill is None else column.name not in read.never_null
        return column.model_copy(update={"dtype": known, "nullable": nullable, "fill": fill})

    def feature(self, name: str) -> Feature:
        """The feature called ``name``; KeyError where there is none."""
        for feature in self.features:
            if feature.name == name:
                return feature
        raise KeyError(name)
