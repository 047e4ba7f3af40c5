"""What a stream view has and Feast has no field for: derived columns, filters and offsets.

They are kept in the view's tags.

Feast's registry keeps tags unchanged, so a view that is read back from it means the same.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from headrace.declare.durations import to_us
from headrace.errors import HeadraceError
from headrace.plan import Column, DType, Feature, Source, Transform
from headrace.transforms import function_code, sql_dtype

if TYPE_CHECKING:
    from feast import StreamFeatureView

    from headrace.declare.problems import Problems
    from headrace.declare.source_locations import Place

__all__ = ["Extras", "columns_with_extras", "extras_tags", "function_text", "read_extras"]

DERIVED_TAG = "headrace.derived"
UDF_COLUMNS_TAG = "headrace.udf_columns"
WHERE_TAG = "headrace.where"
OFFSET_TAG = "headrace.offset_us"
_TAGS = (DERIVED_TAG, UDF_COLUMNS_TAG, WHERE_TAG, OFFSET_TAG)

_TYPES: dict[type, DType] = {
    int: DType.INT64,
    float: DType.FLOAT64,
    bool: DType.BOOL,
    str: DType.STRING,
    datetime: DType.TIMESTAMP,
    date: DType.DATE,
}


@dataclass(frozen=True)
class Extras:
    """A view's derived columns, filters and offsets, compiled.

    Attributes:
        transforms: What makes the derived columns, those of filters included.
        where: By feature, the column of booleans that filters its events.
        offset_us: By feature, how far back its window ends.
    """

    transforms: tuple[Transform, ...]
    where: dict[str, str]
    offset_us: dict[str, int]

    def given_to(self, feature: Feature) -> Feature:
        """A feature with its filter and offset."""
        where, offset_us = self.where.get(feature.name), self.offset_us.get(feature.name, 0)
        return feature.model_copy(update={"where": where, "offset_us": offset_us})


def extras_tags(
    derived: Mapping[str, str],
    udf_columns: Mapping[str, type],
    where: Mapping[str, str],
    offset: Mapping[str, timedelta],
) -> dict[str, str]:
    """The tags that keep a view's extras; none where there are none."""
    types = {name: _TYPES[kind].value if kind in _TYPES else kind.__name__ for name, kind in udf_columns.items()}
    kept: dict[str, Mapping[str, Any]] = {
        DERIVED_TAG: derived,
        UDF_COLUMNS_TAG: types,
        WHERE_TAG: where,
        OFFSET_TAG: {name: to_us(length) for name, length in offset.items()},
    }
    return {tag: json.dumps(dict(value)) for tag, value in kept.items() if value}


def columns_with_extras(columns: Sequence[Column], tags: Mapping[str, str]) -> list[Column]:
    """Columns, and those that tags derive from them. What cannot work is left out; the compiler says why."""
    found = list(columns)
    for name, kind in json.loads(tags.get(UDF_COLUMNS_TAG, "{}")).items():
        if kind in {dtype.value for dtype in _TYPES.values()}:
            found.append(Column(name=name, dtype=DType(kind)))
    for name, expression in json.loads(tags.get(DERIVED_TAG, "{}")).items():
        try:
            found.append(Column(name=name, dtype=sql_dtype(expression, found)))
        except HeadraceError:
            continue
    return found


def function_text(function: Callable[..., Any]) -> str:
    """A function's source, for Feast's registry; empty where it cannot be read, which the compiler reports."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return ""


def read_extras(view: StreamFeatureView, source: Source, place: Place, problems: Problems) -> Extras:
    """Compile a view's extras.

    Args:
        view: The view.
        source: Its source.
        place: Where the view is written.
        problems: Where to note what cannot work.

    Returns:
        The extras; those that cannot work are left out.
    """
    return _Reader(view, source, place, problems).read()


class _Reader:
    def __init__(self, view: StreamFeatureView, source: Source, place: Place, problems: Problems) -> None:
        self._view = view
        self._place = place
        self._problems = problems
        self._columns = list(source.columns)

    def read(self) -> Extras:
        for tag in self._view.tags:
            if tag.startswith("headrace.") and tag not in _TAGS:
                self._wrong(f"there is no tag {tag!r}.", f"Tags are: {', '.join(_TAGS)}.", at=tag)
        transforms = [found for found in (self._udf(), self._sql(self._tag(DERIVED_TAG))) if found is not None]
        where, filters = self._where()
        if filters is not None:
            transforms.append(filters)
        return Extras(tuple(transforms), where, self._offsets())

    def _udf(self) -> Transform | None:
        view, kinds = self._view, self._tag(UDF_COLUMNS_TAG)
        function = view.udf or getattr(view.feature_transformation, "udf", None)
        if function is None:
            if kinds:
                self._wrong(f"the tag {UDF_COLUMNS_TAG} without a udf.", "Write udf=, a function.", at=UDF_COLUMNS_TAG)
            return None
        mode = str(getattr(view.mode, "value", view.mode))
        if mode not in {"python", "pandas"}:
            self._wrong(f"its udf is in {mode} mode.", 'Write mode="python" or mode="pandas".')
            return None
        if "<" in function.__qualname__:
            self._wrong(
                "its udf is not at the top level of a module.", "Write it as a def at the top level of a module."
            )
            return None
        if not kinds:
            hint = 'Write udf_columns={"name": float} with headrace.stream_view: the columns it adds, and their types.'
            self._wrong("it does not say which columns its udf adds.", hint)
            return None
        columns = [column for name, kind in kinds.items() if (column := self._made(name, kind)) is not None]
        return Transform(
            kind="pandas" if mode == "pandas" else "python",
            columns=tuple(columns),
            function=f"{function.__module__}:{function.__qualname__}",
            code=function_code(function),
        )

    def _made(self, name: str, kind: str) -> Column | None:
        known = [dtype.value for dtype in _TYPES.values()]
        if kind not in known:
            hint = "Types are int, float, bool, str, datetime and date."
            self._wrong(f"its column {name!r} is of type {kind!r}, which no column has.", hint, at=name)
            return None
        return self._added(Column(name=name, dtype=DType(kind)))

    def _sql(self, expressions: Mapping[str, Any]) -> Transform | None:
        made = {name: column for name, text in expressions.items() if (column := self._expression(name, text))}
        if not made:
            return None
        texts = {name: str(expressions[name]) for name in made}
        return Transform(kind="sql", columns=tuple(made.values()), expressions=texts)

    def _expression(self, name: str, text: Any) -> Column | None:
        try:
            column = Column(name=name, dtype=sql_dtype(str(text), self._columns))
        except HeadraceError as error:
            fields = ", ".join(column.name for column in self._columns)
            self._wrong(f"the expression {text!r}: {error.what}", f"{error.hint} Fields are: {fields}.", at=name)
            return None
        return self._added(column)

    def _added(self, column: Column) -> Column | None:
        if '"' in column.name or column.name.lower() in {known.name.lower() for known in self._columns}:
            hint = "Give it another name: letters, digits and underscores."
            self._wrong(f"it makes a column {column.name!r}, and there is one with that name.", hint, at=column.name)
            return None
        self._columns.append(column)
        return column

    def _where(self) -> tuple[dict[str, str], Transform | None]:
        """Each filtered feature's column of booleans, and what makes those that are expressions."""
        filters = self._tag(WHERE_TAG)
        names = {column.name for column in self._columns}
        expressions: dict[str, str] = {}
        where: dict[str, str] = {}
        for feature, text in filters.items():
            where[feature] = text
            if text not in names:
                # Named by its text: features with the same filter share it, and another filter does not change its
                # name.
                where[feature] = f"where_{hashlib.sha256(text.encode()).hexdigest()[:8]}"
                expressions[where[feature]] = text
        self._known_features(filters, "filter")
        transform = self._sql(expressions)
        booleans = {column.name for column in self._columns if column.dtype is DType.BOOL}
        for feature, name in where.items():
            if name not in booleans and name in {column.name for column in self._columns}:
                hint = 'Write a comparison, such as where="amount > 100".'
                self._wrong(f"the filter of {feature!r} is no condition: {filters[feature]!r}.", hint, at=feature)
        return where, transform

    def _offsets(self) -> dict[str, int]:
        found = self._tag(OFFSET_TAG)
        self._known_features(found, "offset")
        return {name: value for name, value in found.items() if isinstance(value, int)}

    def _known_features(self, named: Mapping[str, Any], what: str) -> None:
        from headrace.declare.features import feature_name

        names = [feature_name(aggregation) for aggregation in self._view.aggregations]
        for name in named:
            if name not in names:
                self._wrong(f"a {what} for {name!r}, which is none of its features.", f"Features: {', '.join(names)}.")

    def _tag(self, tag: str) -> dict[str, Any]:
        text = self._view.tags.get(tag, "{}")
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if isinstance(found, dict):
            return found
        self._wrong(f"the tag {tag} is {text!r}.", "Write a JSON object, or use headrace.stream_view.", at=tag)
        return {}

    def _wrong(self, what: str, hint: str, at: str | None = None) -> None:
        place = self._place if at is None else self._place.at(at)
        self._problems.add(place, f"view {self._view.name!r}: {what}", hint)
