"""Feast's Kafka sources to sources of the plan."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from headrace.declare.durations import shown
from headrace.declare.features import near
from headrace.declare.source_models import noted_model
from headrace.errors import EventError
from headrace.events.formats import FORMATS
from headrace.events.model_schema import columns_of, resolve_model
from headrace.plan import Column, DType, Source

if TYPE_CHECKING:
    from feast import KafkaSource

    from headrace.declare.feature_repo import FeatureRepo
    from headrace.declare.problems import Problems
    from headrace.declare.source_locations import Place

__all__ = ["DEDUP_TAG", "EVENT_ID_TAG", "FORMAT_TAG", "KEY_TAG", "MAX_FUTURE_TAG", "MODEL_TAG", "compile_sources"]

MODEL_TAG = "headrace.model"
KEY_TAG = "headrace.key"
MAX_FUTURE_TAG = "headrace.max_future_us"
EVENT_ID_TAG = "headrace.event_id"
DEDUP_TAG = "headrace.dedup_us"
FORMAT_TAG = "headrace.format"
_TAGS = (MODEL_TAG, KEY_TAG, MAX_FUTURE_TAG, EVENT_ID_TAG, DEDUP_TAG, FORMAT_TAG)

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,245}")  # Kafka's rule, less the room that `.dlq` takes
_CALLEES = ("event_source", "KafkaSource")


def compile_sources(repo: FeatureRepo, problems: Problems) -> dict[str, Source | None]:
    """Compile the sources that stream views read, and those that are tagged with a model.

    Args:
        repo: The feature repo.
        problems: Where to note what cannot work.

    Returns:
        By name, with those that cannot work, so that their views are checked too; None where the columns are not known.
    """
    compiled: dict[str, Source | None] = {}
    first: dict[str, KafkaSource] = {}
    topics: dict[str, str] = {}
    for source in _kafka_sources(repo):
        place = repo.locator.of(source, source.name, *_CALLEES)
        twin = first.setdefault(source.name.lower(), source)
        if twin is not source:
            models = {id(noted) for one in (twin, source) if (noted := noted_model(one)) is not None}
            if twin != source or len(models) > 1:
                what = f"two sources are named {source.name!r} (names must differ in more than case)."
                problems.add(place, what, f"Rename one; the other is at {repo.locator.of(twin, twin.name, *_CALLEES)}.")
            continue
        compiled[source.name] = _compile_source(repo, source, place, problems)
        topic = source.kafka_options.topic
        other = topics.setdefault(topic, source.name)
        if topic and other != source.name:
            what = f"source {source.name!r} reads the topic {topic!r}, and so does the source {other!r}."
            problems.add(place.at(topic), what, "Keep one: a topic has one source, which any number of views can read.")
        dead_letters_of = topics.get(topic.removesuffix(".dlq"))
        if topic.endswith(".dlq") and dead_letters_of:
            what = f"source {source.name!r} reads {topic!r}, where dead letters of {dead_letters_of!r} go."
            problems.add(place.at(topic), what, "Read another topic; `headrace deadletters` shows this one.")
    return compiled


def _kafka_sources(repo: FeatureRepo) -> list[KafkaSource]:
    """The sources that headrace reads, each once. A repo can have others, for views of other systems."""
    from feast import KafkaSource

    found: dict[int, KafkaSource] = {}
    for view in repo.contents.stream_feature_views:
        if isinstance(view.stream_source, KafkaSource):
            found[id(view.stream_source)] = view.stream_source
    for source in repo.contents.data_sources:
        if isinstance(source, KafkaSource) and any(tag.startswith("headrace.") for tag in source.tags):
            found[id(source)] = source
    return sorted(found.values(), key=lambda source: source.name)


def _compile_source(repo: FeatureRepo, source: KafkaSource, place: Place, problems: Problems) -> Source | None:
    _check_feast_options(source, place, problems)
    format_name = _format(source, place, problems)
    columns = _columns(repo, source, place, problems)
    max_future_us = _microseconds(source, MAX_FUTURE_TAG, "max_future_us", place, problems)
    dedup_us = _microseconds(source, DEDUP_TAG, "dedup_us", place, problems)
    if columns is None:
        return None
    key = _field(source, KEY_TAG, "key", columns, place, problems)
    event_id = _field(source, EVENT_ID_TAG, "event_id", columns, place, problems)
    _check_timestamp(source, columns, place, problems)
    return Source(
        name=source.name,
        topic=source.kafka_options.topic,
        model=source.tags[MODEL_TAG],
        key=key,
        timestamp_field=source.timestamp_field,
        columns=columns,
        max_future_us=max_future_us,
        event_id=event_id,
        dedup_us=dedup_us,
        format=format_name,
    )


def _field(
    source: KafkaSource, tag: str, argument: str, columns: tuple[Column, ...], place: Place, problems: Problems
) -> str | None:
    """The field of the model that a tag names; None where there is no such tag."""
    name = source.tags.get(tag) or None
    names = [column.name for column in columns]
    if name is not None and name not in names:
        hint = f"{near(name, names)}Write {argument}=, one of: {', '.join(names)}."
        what = f"source {source.name!r}: the {argument} {name!r} is not a field of its model."
        problems.add(place.at(name), what, hint)
    return name


def _format(source: KafkaSource, place: Place, problems: Problems) -> str:
    """The format that a source names: by the tag, else by Feast's message_format."""
    from feast.data_format import JsonFormat

    declared = source.kafka_options.message_format
    of_feast = "json" if isinstance(declared, JsonFormat) else type(declared).__name__.removesuffix("Format").lower()
    name = source.tags.get(FORMAT_TAG) or of_feast
    if name not in FORMATS:
        what = f"source {source.name!r} has the format {name!r}, and headrace reads: {', '.join(FORMATS)}."
        instead = 'Write format="json" in event_source, or message_format=JsonFormat(schema_json="").'
        hint = f"{near(name, tuple(FORMATS))}{instead}"
        problems.add(place.at(name), what, hint)
    return name


def _check_feast_options(source: KafkaSource, place: Place, problems: Problems) -> None:
    subject = f"source {source.name!r}"
    topic = source.kafka_options.topic
    if not topic:
        problems.add(place, f"{subject} has no topic.", f"Write topic={source.name!r}, or the topic's name.")
    elif not _TOPIC.fullmatch(topic) or topic in {".", ".."}:
        hint = "Kafka takes letters, digits, '.', '_' and '-', and headrace at most 245 of them."
        problems.add(place.at(topic), f"{subject}: {topic!r} is not a topic's name.", hint)
    if source.field_mapping:
        hint = "Give the model's fields the names you want (pydantic's Field(alias=...) reads another name)."
        problems.add(place, f"{subject} has a field_mapping, which headrace does not apply.", hint)
    if source.batch_source is None:
        hint = "Write it with headrace.event_source, or give it batch_source=FileSource(name=..., path=...)."
        problems.add(place, f"{subject} has no batch_source, and Feast requires one.", hint)
    for tag in source.tags:
        if tag.startswith("headrace.") and tag not in _TAGS:
            hint = f"{near(tag, _TAGS)}Tags are: {', '.join(_TAGS)}."
            problems.add(place.at(tag), f"{subject}: there is no tag {tag!r}.", hint)


def _columns(repo: FeatureRepo, source: KafkaSource, place: Place, problems: Problems) -> tuple[Column, ...] | None:
    ref = source.tags.get(MODEL_TAG)
    if not ref:
        hint = f'Write tags={{"{MODEL_TAG}": "events:Departure"}}, or make it with headrace.event_source.'
        problems.add(place, f"source {source.name!r} does not say which pydantic model its events have.", hint)
        return None
    try:
        model = resolve_model(ref, repo.path)
    except EventError as error:
        problems.add(place.at(ref), f"source {source.name!r}: {error.what}", error.hint or "")
        return None
    try:
        return columns_of(model)
    except EventError as error:
        where = repo.locator.of_class(model.__name__)
        problems.add(where, f"source {source.name!r}: {error.what}", error.hint or "")
        return None


def _check_timestamp(source: KafkaSource, columns: tuple[Column, ...], place: Place, problems: Problems) -> None:
    name = source.timestamp_field
    subject, where = f"source {source.name!r}", place.at(name)
    column = next((column for column in columns if column.name == name), None)
    times = [column.name for column in columns if column.dtype is DType.TIMESTAMP and not column.nullable]
    choice = f"one of: {', '.join(times)}" if times else "an AwareDatetime field, which the model lacks"
    if column is None:
        hint = f"{near(name, times)}Write timestamp_field=, {choice}."
        problems.add(where, f"{subject}: the timestamp_field {name!r} is not a field of its model.", hint)
    elif column.dtype is not DType.TIMESTAMP:
        hint = f"Make it an AwareDatetime, or write timestamp_field=, {choice}."
        problems.add(where, f"{subject}: the timestamp_field {name!r} is of type {column.dtype.value}.", hint)
    elif column.nullable:
        hint = "Take `| None` off the model's field: every event has a time."
        problems.add(where, f"{subject}: the timestamp_field {name!r} can be missing.", hint)


def _microseconds(source: KafkaSource, tag: str, field: str, place: Place, problems: Problems) -> int:
    default = int(Source.model_fields[field].default)
    text = source.tags.get(tag, str(default))
    least = 1 if tag == DEDUP_TAG else 0
    if text.isdecimal() and least <= int(text) < 2**62:
        return int(text)
    what = f"source {source.name!r}: the tag {tag} is {text!r}."
    problems.add(place.at(tag), what, f'Write microseconds, such as "{default}" for {shown(default)}.')
    return default
