"""From Feast's stream feature views to views of the plan."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from headrace.declare.durations import shown
from headrace.declare.feast_types import FEAST_NAMES, dtype_of_entity, dtype_of_field, said_as
from headrace.declare.features import NAMING, FeatureCompiler, feature_name, is_usable_name, near
from headrace.declare.view_tags import read_extras
from headrace.plan import Column, DType, Feature, Source, View

if TYPE_CHECKING:
    from feast import Entity, StreamFeatureView

    from headrace.declare.feature_repo import FeatureRepo
    from headrace.declare.problems import Problems
    from headrace.declare.source_locations import Place

__all__ = ["VIEW_CALLEES", "compile_views"]

VIEW_CALLEES = ("stream_view", "StreamFeatureView", "stream_feature_view")
_FEAST_HOP = timedelta(minutes=5)  # Feast's default of tiling_hop_size


def compile_views(repo: FeatureRepo, sources: dict[str, Source | None], problems: Problems) -> dict[str, View]:
    """Compile the stream feature views.

    Args:
        repo: The feature repo.
        sources: The compiled sources; None for a source whose columns are not known.
        problems: Where to note what cannot work.

    Returns:
        By name; those that cannot work are left out.
    """
    compiled: dict[str, View] = {}
    seen: dict[str, StreamFeatureView] = {}
    for view in sorted(repo.contents.stream_feature_views, key=lambda view: view.name):
        place = repo.locator.of(view, view.name, *VIEW_CALLEES)
        twin = seen.setdefault(view.name.lower(), view)
        if twin is not view:
            hint = f"Rename one; the other is at {repo.locator.of(twin, twin.name, *VIEW_CALLEES)}."
            problems.add(place, f"two views are named {view.name!r} (names must differ in more than case).", hint)
            continue
        found = _ViewCompiler(repo, view, place, problems).compile(sources)
        if found is not None:
            compiled[view.name] = found
    return compiled


class _ViewCompiler:
    def __init__(self, repo: FeatureRepo, view: StreamFeatureView, place: Place, problems: Problems) -> None:
        self._repo = repo
        self._view = view
        self._place = place
        self._problems = problems

    def compile(self, sources: dict[str, Source | None]) -> View | None:
        before = len(self._problems)
        self._check_itself()
        source_name = self._source_name()
        source = sources.get(source_name) if source_name is not None else None
        if source is None:  # the reason is noted already
            return None
        if self._view.timestamp_field != source.timestamp_field:
            what = (
                f"its timestamp_field is {self._view.timestamp_field!r}, and its source's {source.timestamp_field!r}."
            )
            self._wrong(what, f"Write timestamp_field={source.timestamp_field!r}.", at=self._view.timestamp_field)
        entities = self._entities(source)
        extras = read_extras(self._view, source, self._place, self._problems)
        made = tuple(column for transform in extras.transforms for column in transform.columns)
        features = [
            extras.given_to(feature) for feature in self._features((*source.columns, *made), entities, extras.offset_us)
        ]
        if len(self._problems) == before:
            self._check_schema(entities, features)
        if len(self._problems) > before:
            return None
        return View(
            name=self._view.name,
            source=source.name,
            entities=tuple(entities),
            features=tuple(features),
            transforms=extras.transforms,
            input=source.input_of(features, extras.transforms),
        )

    def _check_itself(self) -> None:
        view = self._view
        if not is_usable_name(view.name):
            self._wrong("that name cannot be used.", f"{NAMING} Write another name=.")
        if not view.aggregations:
            hint = 'Write aggregations=[Aggregation(function="count", column="*", time_window=timedelta(hours=1))].'
            self._wrong("it has no aggregations.", hint)

    def _source_name(self) -> str | None:
        from feast import KafkaSource

        source = self._view.stream_source
        if isinstance(source, KafkaSource):
            return source.name
        kind = "another view" if self._view.source_views else type(source or self._view.batch_source).__name__
        self._wrong(f"its source is {kind}.", "Write source=, a KafkaSource (headrace.event_source).")
        return None

    def _entities(self, source: Source) -> list[Column]:
        from feast.feature_view import DUMMY_ENTITY_NAME

        names = [name for name in self._view.entities if name != DUMMY_ENTITY_NAME]
        if not names:
            self._wrong(
                "it has no entities.", "Write entities=[...]; for features of everything, give events a constant field."
            )
        declared = {entity.name: entity for entity in self._repo.contents.entities}
        found: list[Column] = []
        for name in names:
            entity = declared.get(name)
            if entity is None:
                hint = (
                    f'Write `{name} = Entity(name="{name}", ...)` at the top level of a module, as Feast looks there.'
                )
                self._wrong(f"its entity {name!r} is not bound to a name in any file.", hint, at=name)
                continue
            column = self._entity_column(entity, source)
            if column is not None:
                found.append(column)
        return found

    def _entity_column(self, entity: Entity, source: Source) -> Column | None:
        key = entity.join_key
        subject = f"its entity {entity.name!r} has the join key {key!r}"
        names = [column.name for column in source.columns]
        if key not in names:
            hint = f"{near(key, names)}Write join_keys=[...], one of: {', '.join(names)}."
            self._wrong(f"{subject}, which is not a field of {source.model}.", hint)
            return None
        column = source.column(key)
        if column.dtype is DType.JSON:
            self._wrong(
                f"{subject}, which is kept as JSON text.", "Make it an int, a str, a UUID or an enum in the model."
            )
            return None
        if column.dtype.scale is not None:
            self._wrong(f"{subject}, a decimal.", "Make it an int or a str in the model.")
            return None
        if column.dtype is DType.FLOAT64:
            hint = "Make it an int or a str in the model."
            self._wrong(f"{subject}, a float: keys that look equal may differ in their last bit.", hint)
            return None
        declared, field = dtype_of_entity(entity), self._schema().get(key)
        for dtype in (declared, field):
            if dtype is not None and dtype != said_as(column.dtype):
                names_of = FEAST_NAMES[column.dtype]
                hint = f"Write value_type=ValueType.{names_of.value_type} and, in a schema, dtype={names_of.field}."
                self._wrong(f"{subject}, declared {dtype}, and {source.model} has {column.dtype.value}.", hint)
                return None
        if declared is None and field is None:
            hint = f"Write Entity(..., value_type=ValueType.{FEAST_NAMES[column.dtype].value_type})."
            self._wrong(f"its entity {entity.name!r} has no value_type.", hint)
            return None
        return column

    def _features(
        self, columns: tuple[Column, ...], entities: list[Column], offset_us: dict[str, int]
    ) -> list[Feature]:
        view = self._view
        hop = (view.tiling_hop_size or _FEAST_HOP) if view.enable_tiling else None
        compiler = FeatureCompiler(view.name, columns, hop, self._place, self._problems)
        found: list[Feature] = []
        taken = {entity.name.lower(): "a join key" for entity in entities}
        for aggregation in view.aggregations:
            name = feature_name(aggregation)
            if name.lower() in taken:
                what = f"{name!r} is the name of {taken[name.lower()]} too (names must differ in more than case)."
                self._wrong(what, "Write another name=.", at=name)
            taken[name.lower()] = "a feature"
            feature = compiler.compile(aggregation)
            if feature is not None:
                self._check_offset(feature, offset_us.get(name, 0))
                found.append(feature)
        return found

    def _check_offset(self, feature: Feature, offset_us: int) -> None:
        if not offset_us:
            return
        if feature.slide_us is None:
            self._wrong(
                f"{feature.name!r} has an offset and no window.", "Write a window=, or no offset=.", at=feature.name
            )
        elif offset_us < 0 or offset_us % feature.slide_us:
            slide = shown(feature.slide_us)
            what = f"the offset {shown(offset_us)} of {feature.name!r} is no multiple of its slide {slide}."
            self._wrong(what, f"Write a multiple of {slide}, or a slide= that divides it.", at=feature.name)

    def _schema(self) -> dict[str, str]:
        """The view's schema in Feast: by name, the type as the plan calls it, or as Feast does."""
        return {field.name: dtype_of_field(field) for field in (*self._view.entity_columns, *self._view.features)}

    def _check_schema(self, entities: list[Column], features: list[Feature]) -> None:
        """Check that the schema, which Feast registers, has what the aggregations make."""
        schema = self._schema()
        features_only = {feature.name: feature.dtype for feature in features}
        wanted = {**{entity.name: entity.dtype for entity in entities}, **features_only}
        line = ", ".join(f'Field(name="{name}", dtype={FEAST_NAMES[dtype].field})' for name, dtype in wanted.items())
        hint = f"Write schema=[{line}], or make the view with headrace.stream_view, which infers it."
        missing = [name for name in features_only if name not in schema]
        unknown = [name for name in schema if name not in wanted]
        differing = [name for name in features_only if name in schema and schema[name] != said_as(features_only[name])]
        if missing:
            self._wrong(f"its schema lacks {', '.join(missing)}.", hint)
        if unknown:
            self._wrong(f"its schema has {', '.join(unknown)}, which no aggregation makes.", hint)
        for name in differing:
            what = f"its schema says {name} is {schema[name]}, and the aggregation makes {features_only[name].value}."
            self._wrong(what, hint, at=name)

    def _wrong(self, what: str, hint: str, at: str | None = None) -> None:
        place = self._place if at is None else self._place.at(at)
        self._problems.add(place, f"view {self._view.name!r}: {what}", hint)
