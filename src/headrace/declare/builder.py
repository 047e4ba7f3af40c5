"""Builders of real Feast objects, short where Feast is long."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from headrace.declare.durations import to_us
from headrace.declare.feast_import import quiet_feast
from headrace.declare.features import feature_name, result_dtype
from headrace.declare.sources import KEY_TAG, MAX_FUTURE_TAG, MODEL_TAG
from headrace.declare.types import FEAST_NAMES, feast_type
from headrace.errors import EventError
from headrace.events.schema import columns_of
from headrace.plan import Column, DType

if TYPE_CHECKING:
    from feast import Aggregation, Entity, Field, KafkaSource, StreamFeatureView
    from pydantic import BaseModel

__all__ = ["event_source", "stream_view"]

_HOUR = timedelta(hours=1)
_NO_TTL = timedelta(0)


def event_source(
    *,
    name: str,
    model: type[BaseModel],
    topic: str,
    timestamp_field: str,
    key: str | None = None,
    max_future: timedelta = _HOUR,
    log_path: str | None = None,
    description: str = "",
    tags: Mapping[str, str] | None = None,
    owner: str = "",
) -> KafkaSource:
    """A Kafka topic of JSON events that a pydantic model describes.

    Args:
        name: The source's name.
        model: The pydantic model, in a module of the feature repo or of an installed package.
        topic: The Kafka topic.
        timestamp_field: The model's field that holds the event time.
        key: The model's field that producers take as the Kafka message key; None for no key.
        max_future: How far past its broker timestamp an event may be dated; further is a dead letter.
        log_path: Where the log of the topic lies, for Feast's batch source; None is where headrace puts it by default.
        description: What the events are.
        tags: Further tags.
        owner: Whom to ask.

    Returns:
        A real Feast source. What Feast has no place for stands in its tags: ``headrace.model``, ``headrace.key`` and
        ``headrace.max_future_us``; written by hand they mean the same.
    """
    with quiet_feast():
        from feast import FileSource, KafkaSource
        from feast.data_format import DeltaFormat, JsonFormat

        known = {MODEL_TAG: f"{model.__module__}:{model.__qualname__}", MAX_FUTURE_TAG: str(to_us(max_future))}
        if key is not None:
            known[KEY_TAG] = key
        log = FileSource(
            name=f"{name}_log",
            path=log_path or f"../.headrace/log/{topic}",
            file_format=DeltaFormat(),
            timestamp_field=timestamp_field,
            description=f"The log of {topic}, which headrace writes.",
        )
        return KafkaSource(
            name=name,
            topic=topic,
            timestamp_field=timestamp_field,
            message_format=JsonFormat(schema_json=_ddl(_columns_if_any(model))),
            batch_source=log,
            description=description,
            tags={**(tags or {}), **known},
            owner=owner,
        )


def stream_view(
    *,
    name: str,
    source: KafkaSource,
    entities: Sequence[Entity],
    aggregations: Sequence[Aggregation],
    enable_tiling: bool = False,
    tiling_hop_size: timedelta | None = None,
    ttl: timedelta = _NO_TTL,
    description: str = "",
    tags: Mapping[str, str] | None = None,
    owner: str = "",
) -> StreamFeatureView:
    """A stream feature view whose schema follows from its aggregations and the source's model.

    An aggregation without a name is named ``function_column_window``: ``mean_dep_delay_1h``, ``count_7d``,
    ``last_temp``. Without a ``slide_interval`` a window tumbles, or slides by `tiling_hop_size` with `enable_tiling`;
    without a ``time_window`` it is a lifetime.

    Args:
        name: The view's name.
        source: What `event_source` made, or any KafkaSource with the tag ``headrace.model``.
        entities: What the features are about; their join keys are fields of the model.
        aggregations: Feast's aggregations, one feature each.
        enable_tiling: Whether windows without a slide slide by `tiling_hop_size`.
        tiling_hop_size: That slide; None is Feast's 5 minutes.
        ttl: Feast's time to live. It is registered and has no effect: windows say how long events count.
        description: What the features tell.
        tags: Tags.
        owner: Whom to ask.

    Returns:
        A real Feast view. What cannot work is told by `headrace apply`, all at once.
    """
    with quiet_feast():
        from feast import StreamFeatureView

        named = [_named(aggregation) for aggregation in aggregations]
        return StreamFeatureView(
            name=name,
            source=source,
            entities=list(entities),
            aggregations=named,
            schema=_schema(_columns_of_source(source), entities, named),
            timestamp_field=source.timestamp_field,
            enable_tiling=enable_tiling,
            tiling_hop_size=tiling_hop_size,
            ttl=ttl,
            description=description,
            tags=dict(tags or {}),
            owner=owner,
        )


def _schema(columns: Sequence[Column], entities: Sequence[Entity], named: Sequence[Aggregation]) -> list[Field]:
    from feast import Field, ValueType
    from feast.types import Float64, from_value_type

    by_name = {column.name: column for column in columns}
    fields: list[Field] = []
    for entity in entities:
        column = by_name.get(entity.join_key)
        if entity.value_type is not ValueType.UNKNOWN:
            fields.append(Field(name=entity.join_key, dtype=from_value_type(entity.value_type)))
        elif column is not None:
            fields.append(Field(name=entity.join_key, dtype=feast_type(column.dtype)))
    taken = {entity.join_key for entity in entities}
    for aggregation in named:
        dtype: DType | None = result_dtype(aggregation.function, by_name.get(aggregation.column))
        if aggregation.name not in taken:
            # Where there is no such type, the compiler says why, with all else that is wrong: here any will do.
            fields.append(Field(name=aggregation.name, dtype=Float64 if dtype is None else feast_type(dtype)))
    return fields


def _named(aggregation: Aggregation) -> Aggregation:
    from feast import Aggregation

    return Aggregation(
        column=aggregation.column,
        function=aggregation.function,
        time_window=aggregation.time_window,
        slide_interval=aggregation.slide_interval,
        name=feature_name(aggregation),
    )


def _columns_of_source(source: KafkaSource) -> Sequence[Column]:
    """The columns of a source's model; none where it has no usable one, which the compiler says."""
    module_name, _, class_name = source.tags.get(MODEL_TAG, "").partition(":")
    found: object = None
    with contextlib.suppress(ImportError, ValueError):
        found = importlib.import_module(module_name)
    for part in class_name.split("."):
        found = getattr(found, part, None)
    return _columns_if_any(found) if isinstance(found, type) else ()


def _columns_if_any(model: type) -> Sequence[Column]:
    from pydantic import BaseModel

    with contextlib.suppress(EventError):
        return columns_of(model) if issubclass(model, BaseModel) else ()
    return ()


def _ddl(columns: Sequence[Column]) -> str:
    """Columns in the notation that Feast's JsonFormat takes."""
    return ", ".join(f"{column.name} {FEAST_NAMES[column.dtype].ddl}" for column in columns)
