"""Compiling Feast objects outside of a feature repo, in a test or a notebook."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from headrace.declare.compile import compile_plan
from headrace.declare.feast_import import quiet_feast
from headrace.declare.feature_repo import FeatureRepo
from headrace.declare.source_locations import Locator
from headrace.declare.source_models import noted_model
from headrace.declare.sources import MODEL_TAG
from headrace.errors import ConfigError, EventError
from headrace.events.model_schema import resolve_model
from headrace.plan import Plan

if TYPE_CHECKING:
    from feast import KafkaSource
    from pydantic import BaseModel

__all__ = ["compile_objects"]

_MODULE = "headrace_objects"


def compile_objects(objects: Iterable[Any], project: str = "objects") -> tuple[Plan, dict[str, type[BaseModel]]]:
    """Compile Feast objects.

    Args:
        objects: Stream feature views with their entities, on-demand feature views and feature services. Sources may be
            left out: a view has its own. Objects of other kinds are ignored.
        project: The plan's project.

    Returns:
        The plan, and for each source, by name, the model of its events.

    Raises:
        ConfigError: There is no view among them, or Feast is not installed.
        DefinitionError: They cannot work; the message lists all problems.
    """
    with quiet_feast():
        from feast import Entity, FeatureService, KafkaSource, OnDemandFeatureView, RepoConfig, StreamFeatureView
        from feast.repo_contents import RepoContents

        found = list(objects)
        views = [one for one in found if isinstance(one, StreamFeatureView)]
        if not views:
            msg = "There is no stream feature view among the objects."
            raise ConfigError(msg, hint="Give a list with what headrace.stream_view made, and its entities.")
        sources = _distinct(
            [
                *(one for one in found if isinstance(one, KafkaSource)),
                *(view.stream_source for view in views if isinstance(view.stream_source, KafkaSource)),
            ]
        )
        contents = RepoContents(
            projects=[],
            data_sources=sources,
            feature_views=[],
            on_demand_feature_views=_distinct([one for one in found if isinstance(one, OnDemandFeatureView)]),
            stream_feature_views=_distinct(views),
            entities=_distinct([one for one in found if isinstance(one, Entity)]),
            feature_services=_distinct([one for one in found if isinstance(one, FeatureService)]),
            permissions=[],
            label_views=[],
        )
        path = Path.cwd()
        config = RepoConfig(project=project, provider="local", registry="none", online_store=None)
        with _importable(sources) as models:
            plan = compile_plan(FeatureRepo(path, config, contents, Locator(path)))
        named = {name: models[source.model] for name, source in plan.sources.items()}
        refs = {name: source.tags[MODEL_TAG] for name, source in ((one.name, one) for one in sources)}
        renamed = {name: source.model_copy(update={"model": refs[name]}) for name, source in plan.sources.items()}
        return plan.model_copy(update={"sources": renamed}), named


def _distinct(objects: list[Any]) -> list[Any]:
    return list({id(one): one for one in objects}.values())


@contextmanager
def _importable(sources: list[KafkaSource]) -> Iterator[dict[str, type[BaseModel]]]:
    """Make the sources' models importable, even those defined in a function. The tags are restored at the end.

    Yields:
        The models, by the references that the tags have inside the block.
    """
    module, before = ModuleType(_MODULE), {id(source): dict(source.tags) for source in sources}
    models: dict[str, type[BaseModel]] = {}
    for number, source in enumerate(sources):
        model = _model_of(source)
        if model is not None:
            ref = f"{_MODULE}:M{number}"
            setattr(module, f"M{number}", model)
            models[ref] = model
            source.tags[MODEL_TAG] = ref
    sys.modules[_MODULE] = module
    try:
        yield models
    finally:
        del sys.modules[_MODULE]
        for source in sources:
            source.tags = before[id(source)]


def _model_of(source: KafkaSource) -> type[BaseModel] | None:
    """The model that a source was made with, else the one that its tag names; None where it is not found."""
    noted = noted_model(source)
    if noted is not None:
        return noted
    try:
        return resolve_model(source.tags.get(MODEL_TAG, ""), Path.cwd())
    except EventError:  # the compiler says why, together with other problems
        return None
