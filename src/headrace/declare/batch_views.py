"""From ordinary feature views of Feast (over files, Delta tables, queries, pushed rows) to batch views of the plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.declare.batch_columns import batch_source_of, check_source, dtype_of_value_type, source_dtypes
from headrace.declare.durations import to_us
from headrace.declare.features import NAMING, is_usable_name
from headrace.errors import BatchSourceAwayError, BatchSourceError
from headrace.plan import BatchSource, BatchView, Column, DType

if TYPE_CHECKING:
    from feast import FeatureView, Field

    from headrace.declare.feature_repo import FeatureRepo
    from headrace.declare.problems import Problems
    from headrace.declare.source_locations import Place

__all__ = ["BATCH_CALLEES", "compile_batch_views"]

BATCH_CALLEES = ("FeatureView", "BatchFeatureView")
_KEY_TYPES = (DType.INT64, DType.STRING, DType.BOOL, DType.TIMESTAMP)


def compile_batch_views(repo: FeatureRepo, problems: Problems) -> dict[str, BatchView]:
    """Compile the feature views whose rows headrace can read. Views over other systems are left to Feast.

    Args:
        repo: The feature repo.
        problems: Where to note what cannot work.

    Returns:
        By name; those that cannot work are left out.
    """
    taken = {view.name.lower(): view.name for view in repo.contents.stream_feature_views}
    compiled: dict[str, BatchView] = {}
    for view in sorted(repo.contents.feature_views, key=lambda view: view.name):
        source = None if view.batch_source is None else batch_source_of(view.batch_source)
        if source is None or not _is_rows(view):
            continue
        place = repo.locator.of(view, view.name, *BATCH_CALLEES)
        if view.name.lower() in taken:
            what = f"two views are named {view.name!r} (names must differ in more than case)."
            problems.add(place, what, "Rename one.")
            continue
        taken[view.name.lower()] = view.name
        found = _BatchViewCompiler(repo, view, place, problems).compile(source)
        if found is not None:
            compiled[view.name] = found
    return compiled


def _is_rows(view: FeatureView) -> bool:
    """Whether a view's features are columns of rows, and not computed by Feast's own engines."""
    from feast import PushSource

    is_pushed = view.stream_source is None or isinstance(view.stream_source, PushSource)
    return is_pushed and not view.source_views and getattr(view, "feature_transformation", None) is None


class _BatchViewCompiler:
    def __init__(self, repo: FeatureRepo, view: FeatureView, place: Place, problems: Problems) -> None:
        self._repo = repo
        self._view = view
        self._place = place
        self._problems = problems
        self._types: dict[str, DType | None] | None = None

    def compile(self, source: BatchSource) -> BatchView | None:
        before = len(self._problems)
        view = self._view
        if not is_usable_name(view.name):
            self._wrong("that name cannot be used.", f"{NAMING} Write another name=.")
        if not source.timestamp_field:
            self._wrong(f"its source {source.name!r} has no timestamp_field.", "Write timestamp_field=, its time.")
            return None
        entities = self._entities(source)
        columns = self._columns(source, entities)
        if len(self._problems) > before:
            return None
        compiled = BatchView(
            name=view.name,
            entities=tuple(entities),
            columns=tuple(columns),
            source=source,
            ttl_us=to_us(view.ttl) or None if view.ttl else None,
            push=None if view.stream_source is None else view.stream_source.name,
            online=view.online,
        )
        try:
            check_source(compiled, self._repo.path)
        except BatchSourceAwayError:
            pass  # it may be made later, and elsewhere: materializing and joining say so
        except BatchSourceError as error:
            self._wrong(error.what, error.hint or "Correct the source, or the view.")
        return compiled if len(self._problems) == before else None

    def _entities(self, source: BatchSource) -> list[Column]:
        from feast.feature_view import DUMMY_ENTITY_NAME

        declared = {entity.name: entity for entity in self._repo.contents.entities}
        fields = {field.name: field for field in self._view.entity_columns}
        names = [name for name in self._view.entities if name != DUMMY_ENTITY_NAME]
        if not names:
            self._wrong("it has no entities.", "Write entities=[...]; for features of everything, a constant column.")
        found: list[Column] = []
        for name in names:
            entity = declared.get(name)
            if entity is None:
                hint = f'Write `{name} = Entity(name="{name}", ...)` at the top level of a module.'
                self._wrong(f"its entity {name!r} is not bound to a name in any file.", hint, at=name)
                continue
            key = entity.join_key
            dtype = self._declared_type(fields.get(key), entity.value_type.name)
            if dtype is None:
                dtype = self._source_type(source, key)
            if dtype is None:
                hint = f"Write Entity(..., value_type=ValueType.INT64) or a Field for {key!r} in the schema."
                self._wrong(f"the type of its join key {key!r} is not known.", hint, at=name)
            elif dtype not in _KEY_TYPES:
                self._wrong(f"its join key {key!r} is {dtype.value}.", "Make it an integer or a text.", at=name)
            else:
                found.append(Column(name=key, dtype=dtype, nullable=False))
        return found

    def _columns(self, source: BatchSource, entities: list[Column]) -> list[Column]:
        keys = {entity.name for entity in entities}
        taken = {entity.name.lower(): "a join key" for entity in entities}
        found: list[Column] = []
        for name, dtype, said in self._fields(source, keys):
            if not is_usable_name(name):
                self._wrong(f"the name {name!r} cannot be used.", f"{NAMING} Map it with field_mapping.", at=name)
            elif name.lower() in taken:
                what = f"{name!r} is the name of {taken[name.lower()]} too (names must differ in more than case)."
                self._wrong(what, "Write another name, and map it with field_mapping.", at=name)
            elif dtype is None:
                hint = "Leave the field out of the schema, or make it a number, a text, a time or a list of them."
                self._wrong(f"the field {name!r} is {said}, which rows cannot hold.", hint, at=name)
            else:
                found.append(Column(name=name, dtype=dtype))
            taken[name.lower()] = "a feature"
        if not found:
            self._wrong("it has no features.", "Write schema=[Field(...)], or make the source first.")
        return found

    def _fields(self, source: BatchSource, keys: set[str]) -> list[tuple[str, DType | None, str]]:
        """The features' names, types, and types as they were declared."""
        if self._view.features:
            return [
                (field.name, dtype_of_value_type(said), said)
                for field in self._view.features
                for said in (field.dtype.to_value_type().name,)
            ]
        others = {source.timestamp_field, source.created_field, *keys}
        return [
            (name, dtype, "of a type")
            for name, dtype in self._all_types(source).items()
            if name not in others and not name.startswith("__") and not name.endswith("__")
        ]

    def _declared_type(self, field: Field | None, value_type: str) -> DType | None:
        if field is not None:
            return dtype_of_value_type(field.dtype.to_value_type().name)
        return dtype_of_value_type(value_type)

    def _source_type(self, source: BatchSource, name: str) -> DType | None:
        return self._all_types(source).get(name)

    def _all_types(self, source: BatchSource) -> dict[str, DType | None]:
        if self._types is None:
            try:
                self._types = source_dtypes(source, self._repo.path)
            except BatchSourceError as error:
                self._types = {}
                hint = error.hint or "Make the source, or declare the types."
                self._wrong(f"it does not declare all types, and {error.what}", hint)
        return self._types

    def _wrong(self, what: str, hint: str, at: str | None = None) -> None:
        place = self._place if at is None else self._place.at(at)
        self._problems.add(place, f"view {self._view.name!r}: {what}", hint)
