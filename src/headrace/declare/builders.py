"""Short builders of Feast objects."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from headrace.declare.durations import to_us
from headrace.declare.feast_import import quiet_feast
from headrace.declare.feast_types import FEAST_NAMES, feast_type
from headrace.declare.features import feature_name, result_dtype
from headrace.declare.source_models import model_reference, note_model, noted_model
from headrace.declare.sources import DEDUP_TAG, EVENT_ID_TAG, FORMAT_TAG, KEY_TAG, MAX_FUTURE_TAG, MODEL_TAG
from headrace.declare.view_tags import columns_with_extras, extras_tags, function_text
from headrace.errors import EventError
from headrace.events.model_schema import columns_of
from headrace.plan import Column, DType

if TYPE_CHECKING:
    from types import FunctionType

    from feast import Aggregation, Entity, Field, KafkaSource, StreamFeatureView
    from feast.data_source import DataSource
    from pydantic import BaseModel

__all__ = ["aggregation", "event_source", "query_source", "stream_view"]

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_NO_TTL = timedelta(0)
_JSON = "json"
_WHERE, _OFFSET = "headrace_where", "headrace_offset"


def event_source(
    *,
    name: str,
    model: type[BaseModel],
    topic: str,
    timestamp_field: str,
    key: str | None = None,
    max_future: timedelta = _HOUR,
    event_id: str | None = None,
    dedup: timedelta = _DAY,
    format: str = _JSON,  # noqa: A002 the field's word
    log_path: str | None = None,
    description: str = "",
    tags: Mapping[str, str] | None = None,
    owner: str = "",
) -> KafkaSource:
    """A Kafka topic of events that a pydantic model describes.

    Args:
        name: The source's name.
        model: The pydantic model, in a module of the feature repo or of an installed package.
        topic: The Kafka topic.
        timestamp_field: The model's field that holds the event time.
        key: The model's field that producers take as the Kafka message key; None for no key.
        max_future: How far past its broker timestamp an event may be dated; an event dated later is a dead letter.
        event_id: The model's field that identifies an event: within a source partition, a second event with the same
            value does not count.
        dedup: For how long after the first event that holds, by the records' timestamps.
        format: How the events are written: ``"json"``, one JSON object per record.
        log_path: Where the log of the topic is, for Feast's batch source; None is headrace's default.
        description: What the events are.
        tags: More tags.
        owner: The contact.

    Returns:
        A Feast source. What Feast has no field for is in its tags: ``headrace.model``, ``headrace.key``,
        ``headrace.max_future_us``, ``headrace.event_id``, ``headrace.dedup_us`` and ``headrace.format``. Tags written
        by hand mean the same.
    """
    with quiet_feast():
        from feast import FileSource, KafkaSource
        from feast.data_format import DeltaFormat, JsonFormat

        known = {MODEL_TAG: model_reference(model), MAX_FUTURE_TAG: str(to_us(max_future))}
        if key is not None:
            known[KEY_TAG] = key
        if format != _JSON:
            known[FORMAT_TAG] = format
        if event_id is not None:
            known |= {EVENT_ID_TAG: event_id, DEDUP_TAG: str(to_us(dedup))}
        log = FileSource(
            name=f"{name}_log",
            path=log_path or f"../.headrace/log/{topic}",
            file_format=DeltaFormat(),
            timestamp_field=timestamp_field,
            description=f"The log of {topic}, which headrace writes.",
        )
        source = KafkaSource(
            name=name,
            topic=topic,
            timestamp_field=timestamp_field,
            message_format=JsonFormat(schema_json=_ddl(_columns_if_any(model))),
            batch_source=log,
            description=description,
            tags={**(tags or {}), **known},
            owner=owner,
        )
        note_model(source, model)
        return source


def query_source(
    name: str,
    sql: str,
    *,
    timestamp_field: str,
    created_field: str | None = None,
    field_mapping: Mapping[str, str] | None = None,
    description: str = "",
    tags: Mapping[str, str] | None = None,
    owner: str = "",
) -> DataSource:
    """The rows of a query, as the source of an ordinary `FeatureView`. DuckDB runs it.

    Args:
        name: The source's name.
        sql: One SELECT in DuckDB's SQL. Paths in it are relative to the feature repo.
        timestamp_field: The column with the time from which a row's values hold.
        created_field: The column with the time at which a row was written; None where there is none.
        field_mapping: By a column's name in the query, the name that views give it.
        description: What the rows are.
        tags: Tags.
        owner: The contact.

    Returns:
        A Feast source.
    """
    with quiet_feast():
        from headrace.declare.duckdb_source import QuerySource

        return QuerySource(
            name=name,
            sql=sql,
            timestamp_field=timestamp_field,
            created_timestamp_column=created_field or "",
            field_mapping=field_mapping,
            description=description,
            tags=tags,
            owner=owner,
        )


def aggregation(
    function: str,
    column: str = "*",
    *,
    window: timedelta | None = None,
    slide: timedelta | None = None,
    name: str = "",
    where: str | None = None,
    offset: timedelta | None = None,
) -> Aggregation:
    """A feature for `stream_view`: Feast's aggregation, with a filter and an offset, for which Feast has no field.

    Args:
        function: An aggregate: ``"mean"``, ``"percentile(0.9)"``.
        column: The column to aggregate; ``"*"`` is every event.
        window: The window's length; None is a lifetime.
        slide: The slide, which divides the window; None is a tumbling window.
        name: The feature's name; empty is ``function_column_window``.
        where: Which events count: SQL over the model's fields and the view's derived columns, or the name of a boolean
            column.
        offset: How far back the window ends, a multiple of the slide: ``[t − window − offset, t − offset)``.

    Returns:
        A Feast aggregation that remembers the filter and the offset until `stream_view` stores them in the view.
    """
    with quiet_feast():
        from feast import Aggregation

        made = Aggregation(column=column, function=function, time_window=window, slide_interval=slide, name=name)
    vars(made).update({_WHERE: where, _OFFSET: offset})
    return made


def stream_view(
    *,
    name: str,
    source: KafkaSource,
    entities: Sequence[Entity],
    aggregations: Sequence[Aggregation],
    derived: Mapping[str, str] | None = None,
    udf: FunctionType | None = None,
    udf_columns: Mapping[str, type] | None = None,
    mode: str = "python",
    enable_tiling: bool = False,
    tiling_hop_size: timedelta | None = None,
    ttl: timedelta = _NO_TTL,
    description: str = "",
    tags: Mapping[str, str] | None = None,
    owner: str = "",
) -> StreamFeatureView:
    """A stream feature view whose schema follows from its aggregations and the source's model.

    An aggregation without a name is named ``function_column_window``: ``mean_dep_delay_1h``, ``count_7d``,
    ``last_temp``. A window without a ``slide_interval`` tumbles, or slides by `tiling_hop_size` with `enable_tiling`.
    Without a ``time_window`` it is a lifetime.

    Args:
        name: The view's name.
        source: A source made by `event_source`, or any KafkaSource with the tag ``headrace.model``.
        entities: The entities that the features describe; their join keys are fields of the model.
        aggregations: Feast's aggregations, one feature each; `headrace.aggregation` makes them with a filter or an
            offset.
        derived: Columns made row by row before aggregation: name to SQL. DuckDB runs it, in the stream and in history.
        udf: A function that adds columns to the events of a fetch. It takes a dict of lists with ``mode="python"``, a
            data frame with ``mode="pandas"``, and returns the same with columns added.
        udf_columns: The columns that it adds, and their types: int, float, bool, str or datetime.
        mode: The kind of `udf`.
        enable_tiling: Whether windows without a slide slide by `tiling_hop_size`.
        tiling_hop_size: That slide; None is Feast's 5 minutes.
        ttl: Feast's time to live. It is registered and has no effect: windows say how long events count.
        description: What the features say.
        tags: Tags.
        owner: The contact.

    Returns:
        A Feast view. What Feast has no field for is in its tags, as JSON objects: ``headrace.derived``,
        ``headrace.udf_columns``, ``headrace.where`` and ``headrace.offset_us``. Tags written by hand mean the same.
        `headrace apply` lists everything that cannot work.
    """
    with quiet_feast():
        from feast import StreamFeatureView

        named = [_named(aggregation) for aggregation in aggregations]
        kept = extras_tags(
            derived or {},
            udf_columns or {},
            {feature_name(one): vars(one)[_WHERE] for one in aggregations if vars(one).get(_WHERE)},
            {feature_name(one): vars(one)[_OFFSET] for one in aggregations if vars(one).get(_OFFSET)},
        )
        columns = columns_with_extras(_columns_of_source(source), kept)
        return StreamFeatureView(
            name=name,
            source=source,
            entities=list(entities),
            aggregations=named,
            schema=_schema(columns, entities, named),
            timestamp_field=source.timestamp_field,
            udf=udf,
            udf_string="" if udf is None else function_text(udf),
            mode=mode,
            enable_tiling=enable_tiling,
            tiling_hop_size=tiling_hop_size,
            ttl=ttl,
            description=description,
            tags={**(tags or {}), **kept},
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
            # Without a type the compiler says what is wrong; here any type will do.
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
    """The columns of a source's model; none where it has no usable model, which the compiler reports."""
    noted = noted_model(source)
    if noted is not None:
        return _columns_if_any(noted)
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
