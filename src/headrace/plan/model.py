"""The compiled plan: what the worker, the lookup SDK and the training SDK know of the features.

A plan is plain JSON, content-hashed, and needs neither Feast nor the user's code to be read. All durations are int64 microseconds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from headrace.errors import LookupRequestError
from headrace.plan.feature_references import AskedFeatures, FeatureServiceLike, asked_names

__all__ = ["Column", "DType", "Feature", "FeatureRef", "Plan", "Source", "Transform", "View"]

FORMAT: Literal[1] = 1
"""The version of the plan's JSON. A reader refuses another."""


class DType(StrEnum):
    """The types a column of events, an entity key or a feature can have."""

    INT64 = "int64"
    FLOAT64 = "float64"
    BOOL = "bool"
    STRING = "string"
    TIMESTAMP = "timestamp"  # microseconds, UTC
    DATE = "date"  # days since 1970-01-01
    # Decimals by the digits behind the point, in 64 bits.
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
    JSON = "json"  # text: what is kept of a field whose type no feature can use
    # Only features are lists, never a column of events.
    INT64_LIST = "int64_list"
    FLOAT64_LIST = "float64_list"
    BOOL_LIST = "bool_list"
    STRING_LIST = "string_list"
    TIMESTAMP_LIST = "timestamp_list"
    DATE_LIST = "date_list"

    @property
    def element(self) -> DType | None:
        """What a list holds; None for the others."""
        plain, is_list, _ = self.value.partition("_list")
        return DType(plain) if is_list else None

    @property
    def scale(self) -> int | None:
        """How many digits a decimal has behind the point; None for the others."""
        return int(self.value.removeprefix("decimal_")) if self.value.startswith("decimal_") else None

    @property
    def list_of(self) -> DType:
        """The list of values of this type."""
        return DType(f"{self.value}_list")


_UNSAID: dict[str, Any] = {
    "params": [],
    "where": None,
    "offset_us": 0,
    "transforms": [],
    "event_id": None,
    "dedup_us": 86_400_000_000,
    "fill": None,
    "fills": {},
    "never_null": [],
}
"""Fields that came later, at the values that mean what was meant before: they leave a hash as it was, and stores in the field readable."""


def _without_unsaid(body: Any) -> Any:
    if isinstance(body, list):
        return [_without_unsaid(one) for one in body]
    if not isinstance(body, dict):
        return body
    said = {name: value for name, value in body.items() if name not in _UNSAID or value != _UNSAID[name]}
    return {name: _without_unsaid(value) for name, value in said.items()}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some fields changed; what was computed from the old ones is computed anew."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("hash", None)
        return copied

    def content_hash(self) -> str:
        """The first 16 hex digits of the SHA-256 of the canonical JSON."""
        body = _without_unsaid(self.model_dump(mode="json"))
        text = json.dumps(body, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Column(_Frozen):
    """A named and typed column of events, or an entity's join key.

    Attributes:
        name: Its name.
        dtype: The type of its values.
        nullable: Whether it can be null.
        fill: The model's default as JSON: what the column has for events that were logged before there was such a field. None is null.
    """

    name: str
    dtype: DType
    nullable: bool = True
    fill: str | None = None


class Feature(_Frozen):
    """One windowed aggregate of one column.

    Attributes:
        name: The feature's name inside its view.
        function: An aggregate's canonical name, as in ``headrace.aggregates``.
        column: The column aggregated, or ``"*"`` for ``count("*")``.
        window_us: The window's length in microseconds; None is a lifetime.
        slide_us: The slide in microseconds, a divisor of ``window_us``; None exactly where ``window_us`` is None.
        dtype: The type of the feature's values.
        params: What the function was given: ``(0.9,)`` for ``percentile(0.9)``.
        where: A column of booleans (derived, as a rule): only events for which it is true count; None counts all.
        offset_us: How far back the window ends, in microseconds, a multiple of ``slide_us``: ``[t − W − offset, t − offset)``.
    """

    name: str
    function: str
    column: str
    window_us: Annotated[int, Field(gt=0)] | None
    slide_us: Annotated[int, Field(gt=0)] | None
    dtype: DType
    params: tuple[int | float, ...] = ()
    where: str | None = None
    offset_us: Annotated[int, Field(ge=0)] = 0

    @property
    def columns(self) -> tuple[str, ...]:
        """The event columns that it reads."""
        read = () if self.column == "*" else (self.column,)
        return read if self.where is None else (*read, self.where)


class Transform(_Frozen):
    """Columns computed row by row from an event's other columns, before anything is aggregated.

    Attributes:
        kind: `sql`: expressions that DuckDB runs; `python`: a function of a dict of lists; `pandas`: of a data frame.
        columns: The columns it makes.
        expressions: For `sql`, an expression per column.
        function: For the others, ``module:name`` of the function, the module relative to the feature repo.
        code: For the others, a hash of the function's source: a function that changed makes another view.
    """

    kind: Literal["sql", "python", "pandas"]
    columns: tuple[Column, ...]
    expressions: dict[str, str] = {}
    function: str | None = None
    code: str | None = None


class Source(_Frozen):
    """A Kafka topic of events that one pydantic model describes.

    Attributes:
        name: The Feast source's name.
        topic: The Kafka topic.
        model: ``module:Class`` of the pydantic model, the module relative to the feature repo.
        key: The field whose value is the Kafka message key, or None.
        timestamp_field: The field that holds the event time.
        columns: The model's fields, in order.
        max_future_us: How far past its broker timestamp an event may be dated, in microseconds.
        event_id: The field that identifies an event, or None: events of one source partition with the same one count once.
        dedup_us: For how long after the first one, by the records' timestamps, in microseconds.
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

    def column(self, name: str) -> Column:
        """The column called ``name``; KeyError where there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def input_of(self, features: Iterable[Feature], transforms: Iterable[Transform] = ()) -> ViewInput:
        """What a view with these features reads of the source: where there are transforms, perhaps any column."""
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


class ViewInput(_Frozen):
    """What of its source a view's records depend on, beside its own definition.

    It is part of the view's hash: the same features of another topic, by another time or of a column of another type
    are another view to the store. (`mean` of an int and of a float is a float in both, and its state is not the same.)

    Attributes:
        topic: The topic whose offsets the records have applied.
        timestamp_field: The field that puts events into tiles.
        columns: The types of the columns aggregated, by name.
        fills: What stands in them for events that were logged before there were such fields; those that have a default.
        never_null: Those of them where it stands for null too, as the field is not optional.
    """

    topic: str
    timestamp_field: str
    columns: dict[str, DType]
    fills: dict[str, str] = {}
    never_null: tuple[str, ...] = ()


class View(_Frozen):
    """A stream feature view: aggregates of one source per entity.

    Attributes:
        name: The view's name.
        source: The name of its source in the plan.
        entities: The join keys, in the view's order.
        features: The aggregates.
        transforms: What computes further columns from an event's own, in order.
        input: What it reads of its source; the compiler fills it in (`Source.input_of`).
    """

    name: str
    source: str
    entities: tuple[Column, ...]
    features: tuple[Feature, ...]
    transforms: tuple[Transform, ...] = ()
    input: ViewInput | None = None

    @cached_property
    def hash(self) -> str:
        """The content hash: a view whose definition changed is another view to the store."""
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
        """The view's source as its features see it: as the view reads it, with the columns that its transforms make."""
        made = tuple(column for transform in self.transforms for column in transform.columns)
        read = self.as_read(source)
        return read.model_copy(update={"columns": (*read.columns, *made)}) if made else read

    def as_read(self, source: Source) -> Source:
        """The view's source with the columns that the view reads as they were when it was declared.

        A view of before goes on being served while its source has changed: an integer that became a float is an integer to it, and a field
        that was removed is one that no event has.
        """
        columns = tuple(map(self._as_read, source.columns))
        gone = tuple(
            self._as_read(Column(name=name, dtype=dtype))
            for name, dtype in (self.input.columns if self.input is not None else {}).items()
            if all(column.name != name for column in source.columns)
        )
        same = not gone and columns == source.columns
        return source if same else source.model_copy(update={"columns": (*columns, *gone)})

    def adapted(self, source: Source) -> tuple[Column, ...]:
        """The columns that the view reads in another way than its source declares them now."""
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


class FeatureRef(_Frozen):
    """A feature of a view, written ``view:feature`` in requests and ``view__feature`` in results."""

    view: str
    feature: str

    @property
    def column(self) -> str:
        """The name of the feature's column in results."""
        return f"{self.view}__{self.feature}"


class Plan(_Frozen):
    """Everything that was declared, compiled.

    Attributes:
        format: The version of this JSON.
        project: The Feast project.
        sources: By name.
        views: By name.
        services: Feature services: name to feature references.
    """

    format: Literal[1] = FORMAT
    project: str
    sources: dict[str, Source]
    views: dict[str, View]
    services: dict[str, tuple[FeatureRef, ...]] = {}

    @cached_property
    def hash(self) -> str:
        """The content hash of the whole plan."""
        return self.content_hash()

    def source_of(self, view: View) -> Source:
        """The source that feeds ``view``."""
        return self.sources[view.source]

    def views_of(self, source: str) -> list[View]:
        """The views that ``source`` feeds."""
        return [view for view in self.views.values() if view.source == source]

    def source_for_topic(self, topic: str) -> Source:
        """The source that reads ``topic``; KeyError where there is none."""
        for source in self.sources.values():
            if source.topic == topic:
                return source
        raise KeyError(topic)

    def resolve(self, features: AskedFeatures) -> list[FeatureRef]:
        """What a request's ``features`` means.

        Args:
            features: A feature service or its name, or a list of ``view:feature``, ``view:*`` and services.

        Returns:
            The references in the order asked for, each once.

        Raises:
            LookupRequestError: A name is unknown; the message lists what there is.
        """
        names, services = asked_names(features)
        self.check_applied(services)
        if not names:
            msg = "No features were asked for."
            raise LookupRequestError(msg, hint=self._what_there_is())
        found: dict[FeatureRef, None] = {}
        for name in names:
            for ref in self._resolve_one(name):
                found[ref] = None
        return list(found)

    def _resolve_one(self, name: str) -> list[FeatureRef]:
        view_name, colon, feature_name = name.partition(":")
        if not colon:
            if name not in self.services:
                msg = f"There is no feature service named {name!r}."
                raise LookupRequestError(msg, hint=self._what_there_is())
            return list(self.services[name])
        view = self.views.get(view_name)
        if view is None:
            msg = f"There is no view named {view_name!r} (asked for as {name!r})."
            raise LookupRequestError(msg, hint=self._what_there_is())
        if feature_name == "*":
            return [FeatureRef(view=view.name, feature=feature.name) for feature in view.features]
        known = [feature.name for feature in view.features]
        if feature_name not in known:
            msg = f"The view {view_name!r} has no feature named {feature_name!r}."
            raise LookupRequestError(msg, hint=f"It has: {', '.join(known)}.")
        return [FeatureRef(view=view.name, feature=feature_name)]

    def check_applied(self, services: Iterable[FeatureServiceLike]) -> None:
        """Refuse service objects that are not those that the plan was made from.

        Args:
            services: Feast's `FeatureService` objects.

        Raises:
            LookupRequestError: One takes other features than when it was applied.
        """
        for service in services:
            applied = {(ref.view, ref.feature) for ref in self.services.get(service.name, ())}
            for projection in service.feature_view_projections if service.name in self.services else ():
                held = {feature for view, feature in applied if view == projection.name}
                given = {feature.name for feature in projection.features} or held
                if not held or given != held:
                    msg = f"The feature service {service.name!r} takes other features of {projection.name!r} than when it was applied."
                    raise LookupRequestError(msg, hint="Run `headrace apply`.")

    def _what_there_is(self) -> str:
        services = ", ".join(self.services) or "none"
        views = ", ".join(self.views) or "none"
        return f"Feature services: {services}. Views: {views} (ask for view:feature, or view:*)."

    def model_dump_pretty(self) -> str:
        """The plan as indented JSON, its hash included for people to compare."""
        body: dict[str, Any] = {"hash": self.hash, **self.model_dump(mode="json")}
        return json.dumps(body, indent=2) + "\n"
