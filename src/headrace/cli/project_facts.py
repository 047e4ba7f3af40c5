"""The data of `headrace list` and `headrace show`: the plan, and what store and log say where they can be opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace.cli.batch_facts import batch_view_facts
from headrace.cli.definition_text import feature_words, input_words, keys_words, source_words, span
from headrace.config import Project
from headrace.errors import HeadraceError, LookupRequestError
from headrace.events.source_partition import SourcePartition
from headrace.plan import BatchView, DType, FeatureRef, OnDemandView, Plan, Source, View
from headrace.plan.feature_references import asked_names
from headrace.plan.view_versions import ViewVersion, ViewVersions
from headrace.stores import OnlineStore, Position, open_store
from headrace.times import iso_time

__all__ = ["KINDS", "everything", "facts_of"]

KINDS = ("view", "source", "service", "dataset")


def dataset_names(project: Project) -> list[str]:
    """The datasets that a project defines."""
    return sorted(path.stem for path in (project.root / "offline" / "datasets").glob("[!_]*.py"))


def everything(project: Project, plan: Plan) -> dict[str, Any]:
    """Everything that is declared, one line each, for JSON."""
    return {
        "project": plan.project,
        "plan": plan.hash,
        "clock": str(project.clock),
        "sources": [{"source": name, "is": source_words(source)} for name, source in plan.sources.items()],
        "views": [
            {"view": name, "of": keys_words(view), "source": view.source, "features": len(view.features)}
            for name, view in plan.views.items()
        ]
        + [
            {"view": name, "of": keys_words(view), "source": view.source.name, "features": len(view.columns)}
            for name, view in plan.batch_views.items()
        ]
        + [
            {"view": name, "of": "a request", "source": input_words(one), "features": len(one.features)}
            for name, one in plan.on_demand_views.items()
        ],
        "services": [
            {"service": name, "features": len(refs), "views": sorted({ref.view for ref in refs})}
            for name, refs in plan.services.items()
        ],
        "datasets": [
            {"dataset": name, "built": (_built(project, name) / "manifest.json").is_file()}
            for name in dataset_names(project)
        ],
    }


def facts_of(project: Project, plan: Plan, name: str, kind: str | None) -> dict[str, Any]:
    """Everything about one thing of a project.

    Args:
        project: The project.
        plan: Its plan.
        name: The name of a view, source, topic, service or dataset.
        kind: Which of these, where several have the name; None is the first of them.

    Returns:
        For JSON; `kind` says what it is. What is not known is None, and `notes` say why.

    Raises:
        LookupRequestError: Nothing has the name.
        DatasetError: The dataset's definition is wrong.
        MissingExtraError: A dataset's definition needs what is not installed.
    """
    topics = {source.topic: source for source in plan.sources.values()}
    there: dict[str, Mapping[str, Any] | list[str]] = {
        "view": {**plan.views, **plan.batch_views, **plan.on_demand_views},
        "source": {**topics, **plan.sources},
        "service": plan.services,
        "dataset": dataset_names(project),
    }
    found = [one for one in KINDS if name in there[one] and kind in (None, one)]
    if not found:
        names = "; ".join(f"{one}s: {', '.join(there[one])}" for one in KINDS if there[one])
        msg = f"There is no {kind or 'view, source, service or dataset'} named {name!r}."
        raise LookupRequestError(msg, hint=f"There are {names or 'none yet'}.")
    facts = _facts(project, plan, name, found[0], {**topics, **plan.sources})
    facts["notes"] += [f"There is a {other} with this name too: --kind {other}." for other in found[1:]]
    return facts


def _facts(project: Project, plan: Plan, name: str, kind: str, sources: Mapping[str, Source]) -> dict[str, Any]:
    data = _ProjectData(project)
    match kind:
        case "view":
            if name in plan.batch_views:
                view = plan.batch_views[name]
                return batch_view_facts(project, plan, view, _key_arguments(view))
            if name in plan.on_demand_views:
                return _on_demand_view(project, plan, plan.on_demand_views[name])
            return _view(data, plan, plan.views[name])
        case "source":
            return _source(data, plan, sources[name])
        case "service":
            return _service(project, plan, name)
        case _:
            return _dataset(project, name)


class _ProjectData:
    """Reads store and log; where one does not answer, a note says why."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.notes: list[str] = []

    def store(self, ask: Any) -> Any:
        """The answer of the store; None where it cannot be opened."""
        try:
            with open_store(self.project.store_url, writable=False) as store:
                return ask(store)
        except HeadraceError as error:
            self.notes.append(f"The online store cannot be read. {error.what}")
            return None

    def log(self, source: Source) -> dict[str, Any] | None:
        """How much of a source is logged; None where the log cannot be read."""
        try:
            from headrace.log import EventLog

            facts = EventLog(self.project.log_root, source).facts()
        except HeadraceError as error:
            self.notes.append(f"The log cannot be read. {error.what} {error.hint or ''}".rstrip())
            return None
        return {"rows": facts.rows, "bytes": facts.size_bytes, "version": facts.version}


def _view(data: _ProjectData, plan: Plan, view: View) -> dict[str, Any]:
    source = plan.source_of(view)

    def ask(store: OnlineStore) -> dict[str, Any]:
        catalogue = store.catalogue()
        live = catalogue.live.get(view.name)
        return {
            "live": live,
            "building": catalogue.building.get(view.name),
            "before": catalogue.previous.get(view.name),
            "entities": len(store.entities(live)) if live else 0,
            **_newest(store.positions(), source.topic),
        }

    online = data.store(ask) or dict.fromkeys(
        ("live", "building", "before", "entities", "newest_event", "newest_record")
    )
    return {
        "kind": "view",
        "name": view.name,
        "is": f"features of {keys_words(view)}, from {source.name} ({source_words(source)})",
        "keys": {entity.name: str(entity.dtype) for entity in view.entities},
        "features": {one.name: {"is": feature_words(one), "type": str(one.dtype)} for one in view.features},
        "derived": _derived(view),
        "version": view.hash,
        "versions": {one.number_or_hash: one.view.hash for one in _versions(data.project, plan, view)},
        **{name: online[name] for name in ("live", "building", "before")},
        "services": _services_with(plan, view.name),
        "entities": online["entities"],
        "log": data.log(source),
        "newest_event": online["newest_event"],
        "newest_record": online["newest_record"],
        "clock": str(data.project.clock),
        "example": f"headrace lookup --feature '{view.name}:*' {_key_arguments(view)}",
        "notes": data.notes,
    }


def _versions(project: Project, plan: Plan, view: View) -> Sequence[ViewVersion]:
    return ViewVersions(project.view_versions).of(plan, view.name)


def _key_arguments(view: View | BatchView) -> str:
    return " ".join(f"--key {entity.name}={_example(entity.dtype)}" for entity in view.entities)


def _on_demand_view(project: Project, plan: Plan, view: OnDemandView) -> dict[str, Any]:
    refs = [FeatureRef(view=view.name, feature=feature.name) for feature in view.features]
    return {
        "kind": "view",
        "name": view.name,
        "is": f"features that {view.function} computes of {input_words(view)}",
        "keys": _keys(plan, refs),
        "request": {field.name: str(field.dtype) for field in view.request},
        "features": {
            feature.name: {"is": f"computed by {view.function}", "type": str(feature.dtype)}
            for feature in view.features
        },
        "reads": [f"{one.ref.view}:{one.ref.feature}" for one in view.inputs],
        "mode": f"{view.mode}, one row at a time" if view.singleton else view.mode,
        "where_it_fails": "the request fails" if view.on_error == "error" else "the row is null, with the reason",
        "version": view.hash,
        "services": _services_with(plan, view.name),
        "clock": str(project.clock),
        "example": f"headrace lookup --feature '{view.name}:*' {_request_arguments(plan, refs)}",
        "notes": [],
    }


def _services_with(plan: Plan, view: str) -> list[str]:
    return sorted(name for name, refs in plan.services.items() if any(ref.view == view for ref in refs))


def _keys(plan: Plan, refs: Sequence[FeatureRef]) -> dict[str, str]:
    return {entity.name: str(entity.dtype) for view in plan.stored_views(refs) for entity in view.entities}


def _request_arguments(plan: Plan, refs: Sequence[FeatureRef]) -> str:
    """The join keys and fields of the request as arguments of `headrace lookup`."""
    named = _keys(plan, refs) | {name: str(field.dtype) for name, field in plan.request_fields(refs).items()}
    return " ".join(f"--key {name}={_example(DType(dtype))}" for name, dtype in named.items())


def _derived(view: View) -> dict[str, str]:
    return {
        column.name: transform.expressions.get(column.name) or f"{transform.kind} function {transform.function}"
        for transform in view.transforms
        for column in transform.columns
    }


def _source(data: _ProjectData, plan: Plan, source: Source) -> dict[str, Any]:
    online = data.store(lambda store: _newest(store.positions(), source.topic))
    return {
        "kind": "source",
        "name": source.name,
        "is": source_words(source),
        "topic": source.topic,
        "columns": {
            column.name: f"{column.dtype}{'' if column.nullable else ', never null'}" for column in source.columns
        },
        "future": f"an event dated more than {span(source.max_future_us)} past its record becomes a dead letter",
        "views": [view.name for view in plan.views_of(source.name)],
        "log": data.log(source),
        **(online or {"newest_event": None, "newest_record": None}),
        "clock": str(data.project.clock),
        "example": f"headrace log head {source.topic}",
        "notes": data.notes,
    }


def _service(project: Project, plan: Plan, name: str) -> dict[str, Any]:
    refs: tuple[FeatureRef, ...] = plan.services[name]
    views = dict.fromkeys(ref.view for ref in refs)
    request = {name: str(field.dtype) for name, field in plan.request_fields(refs).items()}
    return {
        "kind": "service",
        "name": name,
        "is": f"{len(refs)} features of {len(views)} views",
        "keys": _keys(plan, refs),
        **({"request": request} if request else {}),
        "features": {ref.column: {"is": _is(plan, ref), "type": str(plan.dtype_of(ref))} for ref in refs},
        "clock": str(project.clock),
        "example": f"headrace lookup --service {name} {_request_arguments(plan, refs)}",
        "notes": [],
    }


def _is(plan: Plan, ref: FeatureRef) -> str:
    if ref.view in plan.on_demand_views:
        return f"computed by {plan.on_demand_views[ref.view].function}"
    return next(feature_words(view.feature(ref.feature)) for view in plan.stored_views([ref]))


def _dataset(project: Project, name: str) -> dict[str, Any]:
    from headrace.training import load_dataset, read_manifest

    dataset = load_dataset(project, name)
    folder = _built(project, name)
    built = None
    if (folder / "manifest.json").is_file():
        _, manifest = read_manifest(folder)
        built = {
            "folder": str(folder),
            "plan": manifest["plan"],
            "rows": sum(file["rows"] for file in manifest["files"]),
            "logs": manifest["logs"],
        }
    return {
        "kind": "dataset",
        "name": name,
        "is": f"a training set of {dataset.label}, features as of {dataset.as_of} time",
        "features_of": dataset.features
        if isinstance(dataset.features, str)
        else list(asked_names(dataset.features)[0]),
        "label": dataset.label,
        "as_of": dataset.as_of,
        "time_column": dataset.time_column,
        "splits": {
            split: "the rest" if end is None else f"until {end.isoformat()}" for split, end in dataset.splits.items()
        },
        "built": built,
        "example": f"headrace dataset build {name}",
        "notes": [],
    }


def _newest(positions: Mapping[SourcePartition, Position], topic: str) -> dict[str, str | None]:
    mine = [position for source, position in positions.items() if source.topic == topic]
    return {
        "newest_event": iso_time(max((one.event_ts_us for one in mine), default=None)),
        "newest_record": iso_time(max((one.record_ts_us for one in mine), default=None)),
    }


def _built(project: Project, name: str) -> Path:
    return project.state / "datasets" / name


def _example(dtype: DType) -> str:
    match dtype:
        case DType.INT64:
            return "1"
        case DType.FLOAT64:
            return "1.5"
        case DType.BOOL:
            return "true"
        case DType.TIMESTAMP:
            return "2026-01-01T00:00Z"
        case DType.DATE:
            return "2026-01-01"
        case _:
            return "VALUE"
