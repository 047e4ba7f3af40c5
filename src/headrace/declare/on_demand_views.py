"""From Feast's on-demand feature views to on-demand views of the plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from headrace.declare.feast_types import dtype_of_field
from headrace.declare.features import NAMING, is_usable_name, near
from headrace.errors import HeadraceError
from headrace.ondemand import read_function
from headrace.plan import BatchView, Column, DType, FeatureRef, OnDemandInput, OnDemandView, View

if TYPE_CHECKING:
    from feast import Field as FeastField
    from feast import OnDemandFeatureView
    from feast.feature_view_projection import FeatureViewProjection

    from headrace.declare.feature_repo import FeatureRepo
    from headrace.declare.problems import Problems
    from headrace.declare.source_locations import Place

__all__ = ["ON_DEMAND_CALLEES", "ON_ERROR_TAG", "compile_on_demand_views", "udf_of"]

ON_DEMAND_CALLEES = ("on_demand_feature_view", "OnDemandFeatureView")
ON_ERROR_TAG = "headrace.on_error"
_ON_ERROR = ("error", "null")
_TYPES = "Int64, Float64, Bool, String, UnixTimestamp and arrays of these"
_NO_FIELD_OR_FEATURE = frozenset({DType.JSON})


def compile_on_demand_views(
    repo: FeatureRepo, views: Mapping[str, View | BatchView], problems: Problems
) -> dict[str, OnDemandView]:
    """Compile the on-demand feature views.

    Args:
        repo: The feature repo.
        views: The compiled views that they may read.
        problems: Where to note what cannot work.

    Returns:
        By name; those that cannot work are left out.
    """
    compiled: dict[str, OnDemandView] = {}
    others = [*repo.contents.stream_feature_views, *repo.contents.feature_views]
    taken = {view.name.lower(): str(repo.locator.of(view, view.name)) for view in others}
    for view in sorted(repo.contents.on_demand_feature_views, key=lambda view: view.name):
        place = repo.locator.of(view, view.name, *ON_DEMAND_CALLEES)
        if view.name.lower() in taken:
            hint = f"Rename one; the other is at {taken[view.name.lower()]}."
            problems.add(place, f"two views are named {view.name!r} (names must differ in more than case).", hint)
            continue
        taken[view.name.lower()] = str(place)
        found = _OnDemandCompiler(repo, view, views, place, problems).compile()
        if found is not None:
            compiled[view.name] = found
    return compiled


def udf_of(view: OnDemandFeatureView) -> Any:
    """The function of a view, as it was written; None where it has none."""
    return view.udf or getattr(view.feature_transformation, "udf", None)


class _OnDemandCompiler:
    def __init__(
        self,
        repo: FeatureRepo,
        view: OnDemandFeatureView,
        views: Mapping[str, View | BatchView],
        place: Place,
        problems: Problems,
    ) -> None:
        self._repo = repo
        self._view = view
        self._views = views
        self._place = place
        self._problems = problems

    def compile(self) -> OnDemandView | None:
        before = len(self._problems)
        self._check_itself()
        inputs = [
            one for projection in self._view.source_feature_view_projections.values() for one in self._of(projection)
        ]
        request = self._request()
        features = [
            column for field in self._view.features if (column := self._column(field, "it computes")) is not None
        ]
        self._check_names(inputs, request, features)
        function = self._function() if len(self._problems) == before else None
        if function is None:
            return None
        ref, code = function
        return OnDemandView(
            name=self._view.name,
            inputs=tuple(inputs),
            request=tuple(request),
            features=tuple(features),
            mode="pandas" if self._view.mode == "pandas" else "python",
            singleton=bool(self._view.singleton),
            function=ref,
            code=code,
            on_error="null" if self._view.tags.get(ON_ERROR_TAG) == "null" else "error",
        )

    def _check_itself(self) -> None:
        view = self._view
        if not is_usable_name(view.name):
            self._wrong("that name cannot be used.", f"{NAMING} Write another name=.")
        if view.write_to_online_store:
            hint = "Leave it out: a lookup computes the view from what is stored, so its features are always current."
            self._wrong("it has write_to_online_store=True.", hint, at="write_to_online_store")
        if view.aggregations:
            self._wrong("it has aggregations.", "Aggregate in a stream view (headrace.stream_view), and read that.")
        if view.mode not in ("python", "pandas"):
            self._wrong(f"it is in {view.mode} mode.", 'Write mode="python" or mode="pandas".', at=view.mode)
        if not view.features:
            self._wrong("its schema has no features.", 'Write schema=[Field(name="ratio", dtype=Float64)].')
        for tag, value in view.tags.items():
            if tag.startswith("headrace.") and tag != ON_ERROR_TAG:
                self._wrong(f"there is no tag {tag!r} of on-demand views.", f"The tag is {ON_ERROR_TAG}.", at=tag)
            elif tag == ON_ERROR_TAG and value not in _ON_ERROR:
                hint = '"error" fails the request; "null" makes the row null, with the reason.'
                self._wrong(
                    f"its tag {ON_ERROR_TAG} is {value!r}.", f"Write one of: {', '.join(_ON_ERROR)}. {hint}", at=tag
                )

    def _of(self, projection: FeatureViewProjection) -> Iterator[OnDemandInput]:
        """The features that it reads of one view."""
        name = projection.name
        if projection.name_alias or projection.join_key_map:
            what = f"it renames the view {name!r} or its join keys, which is not supported yet."
            self._wrong(what, "Take the view as it is, without with_name and with_join_key_map.", at=name)
            return
        view = self._views.get(name)
        if view is None:
            self._no_source(name)
            return
        known = {feature.name: feature.dtype for feature in view.features}
        for feature in [field.name for field in projection.features] or list(known):
            if feature in known:
                yield OnDemandInput(ref=FeatureRef(view=name, feature=feature), dtype=known[feature])
            else:
                hint = f"{near(feature, list(known))}It has: {', '.join(known)}."
                self._wrong(f"the view {name!r} has no feature {feature!r}.", hint, at=feature)

    def _no_source(self, name: str) -> None:
        contents = self._repo.contents
        if any(one.name == name for one in contents.on_demand_feature_views):
            hint = "Feast computes no on-demand view from another. Call that view's function from this one's."
            self._wrong(f"its source {name!r} is an on-demand view.", hint, at=name)
        elif all(
            one.name != name for one in (*contents.stream_feature_views, *contents.feature_views)
        ):  # else its own problems are noted
            hint = f"{near(name, list(self._views))}Views are: {', '.join(self._views) or 'none'}."
            self._wrong(f"its source {name!r} is no view that headrace computes or stores.", hint, at=name)

    def _request(self) -> list[Column]:
        found: dict[str, Column] = {}
        for source in self._view.source_request_sources.values():
            for field in source.schema:
                column = self._column(field, "its request has")
                if column is None:
                    continue
                twin = found.setdefault(column.name, column)
                if twin != column:
                    what = f"its request has {column.name!r} as {twin.dtype} and as {column.dtype}."
                    self._wrong(what, "Give it the same dtype in both, or rename one.", at=column.name)
        return list(found.values())

    def _column(self, field: FeastField, what: str) -> Column | None:
        found = dtype_of_field(field)
        if found not in {dtype.value for dtype in DType} - _NO_FIELD_OR_FEATURE:
            self._wrong(
                f"{what} {field.name!r} as {found}, which the plan has no type for.",
                f"Types are {_TYPES}.",
                at=field.name,
            )
            return None
        return Column(name=field.name, dtype=DType(found))

    def _check_names(self, inputs: list[OnDemandInput], request: list[Column], features: list[Column]) -> None:
        seen: set[str] = set()
        for feature in features:
            if not is_usable_name(feature.name):
                self._wrong(f"the name {feature.name!r} cannot be used.", f"{NAMING} Rename it.", at=feature.name)
            if feature.name.lower() in seen:
                what = f"two of its features are named {feature.name!r} (names must differ in more than case)."
                self._wrong(what, "Rename one.", at=feature.name)
            seen.add(feature.name.lower())
        read = {name for one in inputs for name in (one.ref.feature, one.ref.column)}
        for field in request:
            if field.name in read:
                what = f"its request has {field.name!r}, and so has one of the views that it reads."
                self._wrong(what, "Rename the field: the function is given both by name.", at=field.name)

    def _function(self) -> tuple[str, str] | None:
        """The function's reference and the hash of its source."""
        function = udf_of(self._view)
        if function is None:
            self._wrong("it has no function.", "Write @on_demand_feature_view(...) above a def, or udf=.")
            return None
        # Feast's decorator says that the function's module is __main__; its globals still have the real name.
        module = function.__globals__["__name__"]
        ref = f"{module}:{function.__qualname__}"
        if "<" in function.__qualname__ or "." in function.__qualname__ or module == "__main__":
            what = f"its function {function.__qualname__!r} is not at the top level of a module."
            self._wrong(what, "Write it as a def at the top level of a module of the feature repo.")
            return None
        try:
            source = read_function(ref, self._repo.path)
        except HeadraceError as error:
            self._wrong(error.what, error.hint or "Correct it there.")
            return None
        if source.first_line != function.__code__.co_firstlineno:
            what = f"its function is not the one that is named {function.__qualname__!r} in {source.file.name}."
            hint = "Give it a name of its own, and no decorator besides on_demand_feature_view."
            self._wrong(what, hint)
            return None
        return ref, source.code

    def _wrong(self, what: str, hint: str, at: str | None = None) -> None:
        place = self._place if at is None else self._place.at(at)
        self._problems.add(place, f"on-demand view {self._view.name!r}: {what}", hint)
