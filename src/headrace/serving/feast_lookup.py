"""`POST /get-online-features`: a lookup, asked for and answered in Feast's format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.errors import LookupRequestError
from headrace.lookup import FeatureClient
from headrace.lookup.served_versions import plain_name
from headrace.plan import Column, FeatureRef, Plan
from headrace.plan.view_versions import ViewVersions
from headrace.serving.context import ServingContext
from headrace.serving.feast_answer import AnsweredFeature, AnsweringView, answer_to_feast
from headrace.serving.feast_errors import (
    NAME_COLLISION,
    REQUEST_DATA_NOT_FOUND,
    SERVICE_NOT_FOUND,
    VIEW_NOT_FOUND,
    FeastRequestError,
)
from headrace.serving.feast_request import GetOnlineFeatures
from headrace.serving.feast_values import NotOfTypeError, read_values
from headrace.serving.hot_route import Answer, Asked
from headrace.serving.identity import Permission
from headrace.serving.permissions import require_features
from headrace.state import State

__all__ = ["FeastLookup", "row_count"]

_REMEMBERED = 1_000
"""Of how many different requests the form is remembered."""

_Names = str | tuple[str, ...]


@dataclass(frozen=True)
class _Form:
    """What a request must give, and what its answer looks like.

    Attributes:
        features: The features, in the order asked for.
        keys: The join keys and the fields of the request, by name, with the first view that reads each.
        fields: Those among them that are only fields of the request: they are not in the answer.
        versions: The views that are read, in the order asked for.
    """

    features: tuple[AnsweredFeature, ...]
    keys: Mapping[str, tuple[Column, str]]
    fields: frozenset[str]
    versions: tuple[AnsweringView, ...]


class FeastLookup:
    """Answers lookups; it remembers what requests look like under a plan."""

    def __init__(self) -> None:
        self._forms: dict[tuple[str, _Names, bool], _Form] = {}

    def answer(self, context: ServingContext, asked: Asked[GetOnlineFeatures]) -> Answer:
        """The answer to a request.

        Args:
            context: What the routes share.
            asked: The request.

        Raises:
            LookupRequestError: A name is unknown, a key is missing, or a value has another type.
            PermissionDeniedError: The caller may not read one of the features.
        """
        body = asked.body
        names: _Names = body.feature_service or body.features
        context.limits.check(row_count(body), len(body.features))
        with context.using() as opened:
            require_features(asked.caller, Permission.READ_ONLINE, opened.plan, names)
            form = self._form(opened.client, names, body.full_feature_names, context.project.view_versions)
            rows, columns = _columns(form, body.entities)
            context.limits.check(rows, len(form.features))
            found = opened.client.get_online_features(names, columns)
        keys = {name: (columns[name], form.keys[name][0].dtype) for name in columns if name not in form.fields}
        versions = form.versions if body.include_feature_view_version_metadata else None
        content = answer_to_feast(found, form.features, keys, versions)
        asked.access.update(rows=rows, asked=[names] if isinstance(names, str) else list(names))
        return Answer(content, rows=rows, service=body.feature_service or None)

    def _form(self, client: FeatureClient, names: _Names, full_names: bool, versions: State) -> _Form:
        key = client.plan.hash, names, full_names
        known = self._forms.get(key)
        if known is None:
            if len(self._forms) >= _REMEMBERED:
                self._forms.clear()
            plan, refs = _resolved(client, names)
            known = self._forms[key] = _form_of(plan, refs, full_names, ViewVersions(versions))
        return known


def row_count(body: GetOnlineFeatures) -> int:
    """How many rows a request asks for.

    Args:
        body: The request.
    """
    return max(map(len, body.entities.values()), default=0)


def _resolved(client: FeatureClient, names: _Names) -> tuple[Plan, list[FeatureRef]]:
    """The features asked for, and the plan that has them. For an unknown service or view Feast has its own errors."""
    if not names:
        msg = "The request names no features."
        raise LookupRequestError(msg, hint="Give `feature_service`, or `features` as a list of view:feature.")
    try:
        plan = client.plan_for(names)
        return plan, plan.resolve(names)
    except LookupRequestError as error:
        plan, asked = client.plan, (names,) if isinstance(names, str) else names
        services = [name for name in asked if ":" not in name and name not in plan.services]
        views = [name for name in asked if ":" in name and plan.find(plain_name(name.partition(":")[0])) is None]
        if not services and not views:
            raise
        kind = SERVICE_NOT_FOUND if services else VIEW_NOT_FOUND
        raise FeastRequestError(kind, 404, error.what, hint=error.hint) from None


def _form_of(plan: Plan, refs: Sequence[FeatureRef], full_names: bool, versions: ViewVersions) -> _Form:
    features = tuple(AnsweredFeature(ref.column if full_names else ref.feature, ref.column, ref.view) for ref in refs)
    shared = [name for name, count in Counter(feature.name for feature in features).items() if count > 1]
    if shared:
        of = [f"{ref.view}:{ref.feature}" for ref in refs if ref.feature in shared]
        msg = f"Features of the same name are asked for: {', '.join(of)}."
        hint = "Ask with full_feature_names=true: names in the answer then begin with their view's."
        raise FeastRequestError(NAME_COLLISION, 422, msg, hint=hint)
    keys: dict[str, tuple[Column, str]] = {}
    views = dict.fromkeys(ref.view for ref in refs)
    for view in plan.stored_views(refs):
        for entity in view.entities:
            keys.setdefault(entity.name, (entity.model_copy(update={"nullable": False}), view.name))
    fields = {field.name: (field, view.name) for view in plan.computed(refs) for field in view.request}
    return _Form(
        features,
        fields | keys,
        frozenset(fields.keys() - keys.keys()),
        tuple(_answering(plan, name, versions) for name in views),
    )


def _answering(plan: Plan, name: str, versions: ViewVersions) -> AnsweringView:
    """Which version of a view answers. A name such as `rides@v2` says it; any other is the version that is served."""
    plain, _, version = name.partition("@")
    known = versions.of(plan, plain)
    view = plan.find(name)
    if version:
        asked = [one for one in known if one.number_or_hash == version or one.view.hash.startswith(version)]
        return (
            AnsweringView(plain, asked[0].number or 0, asked[0].view.hash)
            if asked
            else AnsweringView(plain, 0, version)
        )
    content_hash = view.hash if view is not None else ""
    number = next((one.number for one in known if one.view.hash == content_hash), None)
    return AnsweringView(plain, number or 0, content_hash)


def _columns(form: _Form, entities: Mapping[str, list[Any]]) -> tuple[int, dict[str, list[Any]]]:
    """The columns of the request that the lookup needs, in the request's order; others are ignored, as in Feast."""
    missing = [name for name in form.keys if name not in entities]
    if missing:
        read = {name: "read by" if name in form.fields else "the key of" for name in missing}
        keyed = ", ".join(f"{name!r} ({how} {form.keys[name][1]!r})" for name, how in read.items())
        msg, hint = f"`entities` lacks {keyed}.", f"Give each of {', '.join(form.keys)} a list with one value per row."
        if form.fields.issuperset(missing):
            raise FeastRequestError(REQUEST_DATA_NOT_FOUND, 404, msg, hint=hint)
        raise LookupRequestError(msg, hint=hint)
    used = {name: values for name, values in entities.items() if name in form.keys}
    lengths = {name: len(values) for name, values in used.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        msg = f"The columns of `entities` differ in length: {shown}."
        raise LookupRequestError(msg, hint="Give each of them one value per row.")
    columns = {name: _values(form, name, values) for name, values in used.items()}
    return next(iter(lengths.values()), 0), columns


def _values(form: _Form, name: str, values: list[Any]) -> list[Any]:
    column, view = form.keys[name]
    try:
        return read_values(values, column)
    except NotOfTypeError as error:
        msg = f"Row {error.row} of `entities` cannot be used: {name!r}: {error.reason}."
        raise LookupRequestError(msg, hint=f"The view {view!r} reads {name} as {column.dtype}.") from None
