"""Sources of events, and what a view reads of one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar

from pydantic import Field

from headrace.plan.content_hash import Hashed
from headrace.plan.feature import Feature, Transform
from headrace.plan.types import Column, DType

__all__ = ["Source", "ViewInput"]


class Source(Hashed):
    """A Kafka topic of events that one pydantic model describes.

    Attributes:
        name: The Feast source's name.
        topic: The Kafka topic.
        model: ``module:Class`` of the pydantic model, the module relative to the feature repo.
        key: The field whose value is the Kafka message key, or None.
        timestamp_field: The field that holds the event time.
        columns: The model's fields, in order.
        max_future_us: How far past its broker timestamp an event may be dated, in microseconds.
        event_id: The field that identifies an event, or None: events of one source partition with the same value count
            once.
        dedup_us: For how long after the first event that holds, by the records' timestamps, in microseconds.
        format: How the events are written: a name in `headrace.events.formats`.
    """

    name: str
    topic: str
    model: str
    key: str | None
    timestamp_field: str
    columns: tuple[Column, ...]
    max_future_us: Annotated[int, Field(ge=0)] = 3_600_000_000
    event_id: str | None = None
    dedup_us: Annotated[int, Field(gt=0)] = 86_400_000_000
    format: str = "json"

    added_later: ClassVar[frozenset[str]] = frozenset({"event_id", "dedup_us", "format"})

    def column(self, name: str) -> Column:
        """The column called ``name``; KeyError where there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def input_of(self, features: Iterable[Feature], transforms: Iterable[Transform] = ()) -> ViewInput:
        """What a view with these features reads of the source; with transforms, it may read any column."""
        names = {name for feature in features for name in feature.columns}
        if tuple(transforms):
            names |= {column.name for column in self.columns}
        read = [column for column in self.columns if column.name in names]
        filled = {column.name: column.fill for column in read if column.fill is not None}
        return ViewInput(
            topic=self.topic,
            timestamp_field=self.timestamp_field,
            columns={column.name: column.dtype for column in read},
            fills=filled,
            never_null=tuple(column.name for column in read if column.name in filled and not column.nullable),
        )


class ViewInput(Hashed):
    """What a view's records depend on, besides the view's own definition.

    It is part of the view's hash: the same features of another topic, another timestamp field or a column of another
    type are another view to the store. (`mean` of an int and `mean` of a float both give a float, but their states
    differ.)

    Attributes:
        topic: The topic whose events are applied.
        timestamp_field: The field that puts events into tiles.
        columns: By name, the types of the columns that are read.
        fills: By name, the defaults of columns that have one: their values in events that were logged before the field
            existed.
        never_null: The columns among these whose default replaces null too, because the field is not optional.
    """

    topic: str
    timestamp_field: str
    columns: dict[str, DType]
    fills: dict[str, str] = {}
    never_null: tuple[str, ...] = ()

    added_later: ClassVar[frozenset[str]] = frozenset({"fills", "never_null"})
