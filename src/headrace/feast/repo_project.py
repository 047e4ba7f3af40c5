"""The headrace project that a Feast repo belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from feast import KafkaSource, StreamFeatureView

from headrace.config import Project
from headrace.declare.sources import MODEL_TAG
from headrace.errors import ConfigError

if TYPE_CHECKING:
    from feast import RepoConfig

__all__ = ["computed_by_headrace", "label_of", "project_of"]

_FILE = "headrace.toml"


def project_of(config: RepoConfig) -> Project:
    """The project of a Feast repo: the headrace.toml in its folder or above it whose `repo` is this folder.

    A repo without one has all settings at their defaults, and `.headrace` in its own folder.

    Args:
        config: What feature_store.yaml says.

    Raises:
        ConfigError: `project` names a folder without this repo's headrace.toml, `store` differs from it, or a file is
            wrong.
    """
    named = _setting(config.online_store, "project") or _setting(config.offline_store, "project")
    folder = Path(config.repo_path or ".").resolve()
    store = _store_url(folder, _setting(config.online_store, "store"))
    project = _found(folder) if named is None else _named(folder, named)
    if project is None:
        return Project.with_defaults(folder, repo=".", **({} if store is None else {"store": store}))
    if store is not None and store != project.store_url:
        msg = f"feature_store.yaml says that the online store is {store}, and {project.root / _FILE} says another."
        raise ConfigError(msg, hint=f"Leave `store` out of feature_store.yaml: workers fill the store of {_FILE}.")
    return project


def _setting(store: object, name: str) -> str | None:
    found: str | None = getattr(store, name, None)  # a repo may have only one of the two stores
    return found


def _store_url(folder: Path, store: str | None) -> str | None:
    """A store's URL; the path of an LMDB store is relative to the repo."""
    kind, _, path = (store or "").partition(":")
    return f"lmdb:{folder / path}" if kind == "lmdb" and path else store


def _found(folder: Path) -> Project | None:
    for parent in (folder, *folder.parents):
        if (parent / _FILE).is_file():
            project = Project.load(parent)
            if project.repo.resolve() == folder:
                return project
    return None


def _named(folder: Path, named: str) -> Project:
    project = Project.load(folder / named)
    if project.repo.resolve() != folder:
        msg = f"{project.root / _FILE} is the project of {project.repo}, and feature_store.yaml is in {folder}."
        raise ConfigError(msg, hint=f"Set `repo` in {_FILE} to the folder with feature_store.yaml.")
    return project


def label_of(view: Any) -> str:
    """What a request calls a view: its name or alias, with the version if the request names one.

    Args:
        view: The view, or its projection.
    """
    return str(getattr(view, "projection", view).name_to_use())


def computed_by_headrace(view: object) -> bool:
    """Whether a view of Feast's is a stream view of events that headrace reads."""
    return (
        isinstance(view, StreamFeatureView)
        and isinstance(view.stream_source, KafkaSource)
        and MODEL_TAG in view.stream_source.tags
    )
