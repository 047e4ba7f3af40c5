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

__all__ = ["computed_by_headrace", "is_project_of", "label_of", "project_of"]

_FILE = "headrace.toml"


def project_of(config: RepoConfig) -> Project:
    """The project of a Feast repo: the headrace.toml in its folder or above it whose `repo` is this folder.

    A repo without one has all settings at their defaults, and `.headrace` in its own folder.

    Args:
        config: What feature_store.yaml says.

    Raises:
        ConfigError: `project` of the online store names a folder without a headrace.toml, or the file is wrong.
    """
    named = getattr(config.online_store, "project", None) or getattr(config.offline_store, "project", None)
    folder = Path(config.repo_path or ".").resolve()
    if named is not None:
        project = Project.load(folder / named)
        if not is_project_of(project, folder):
            msg = f"{project.root / _FILE} is the project of {project.repo}, and feature_store.yaml is in {folder}."
            raise ConfigError(msg, hint=f"Set `repo` in {_FILE} to the folder with feature_store.yaml.")
        return project
    for parent in (folder, *folder.parents):
        if (parent / _FILE).is_file():
            project = Project.load(parent)
            if is_project_of(project, folder):
                return project
    return Project.with_defaults(folder, repo=".")


def is_project_of(project: Project, folder: Path) -> bool:
    """Whether a folder is the feature repo of a project."""
    return project.repo.resolve() == folder.resolve()


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
