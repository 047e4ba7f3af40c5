"""Loading a feature repo: its settings, and the Feast objects that its files define."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.declare.feast_import import quiet_feast
from headrace.declare.problems import Problems
from headrace.declare.source_locations import Locator
from headrace.errors import ConfigError, HeadraceError
from headrace.events.repo_modules import describe_import_failure, own_modules

if TYPE_CHECKING:
    from feast import RepoConfig
    from feast.repo_contents import RepoContents

__all__ = ["FeatureRepo", "open_repo"]

_LEAST_YAML = "project: NAME / provider: local / registry: ../.headrace/registry.db / online_store: null"


@dataclass(frozen=True)
class FeatureRepo:
    """A feature repo, loaded.

    Attributes:
        path: Its folder.
        config: What feature_store.yaml says.
        contents: The Feast objects bound to names in its modules.
        locator: Where they were written.
    """

    path: Path
    config: RepoConfig
    contents: RepoContents
    locator: Locator

    @property
    def name(self) -> str:
        """The folder's name: places in errors begin with it."""
        return self.path.name


@contextmanager
def open_repo(path: Path) -> Iterator[FeatureRepo]:
    """Load a feature repo from its files as they are now.

    While it is open, its folder is the current one and its modules can be imported.

    Args:
        path: The repo's folder.

    Yields:
        The repo.

    Raises:
        ConfigError: The folder or its feature_store.yaml is missing or wrong, or Feast is not installed.
        DefinitionError: A file cannot be imported; the message names file, line and exception.
    """
    path = path.resolve()
    if not path.is_dir():
        msg = f"There is no feature repo at {path}."
        raise ConfigError(msg, hint="Set `repo` in headrace.toml to the folder with feature_store.yaml.")
    with quiet_feast(), own_modules(path, fresh=True), contextlib.chdir(path):
        config = _read_config(path)
        locator = _import_files(path)
        yield FeatureRepo(path, config, _contents(path, config, locator), locator)


def _read_config(path: Path) -> RepoConfig:
    import yaml
    from feast.errors import FeastError
    from feast.repo_config import FeastConfigError, load_repo_config
    from feast.utils import get_default_yaml_file_path

    file = get_default_yaml_file_path(path)
    try:
        return load_repo_config(path, file)
    except FileNotFoundError:
        msg = f"There is no {file.name} in {path}."
        raise ConfigError(msg, hint=f"Write one, with at least: {_LEAST_YAML}.") from None
    except (yaml.YAMLError, FeastConfigError, FeastError, OSError, TypeError, ValueError) as error:
        # TypeError: the file is empty or not a mapping.
        msg = f"{file} is not a Feast configuration: {_one_line(error)}"
        raise ConfigError(msg, hint=f"It needs at least: {_LEAST_YAML}.") from error


def _import_files(path: Path) -> Locator:
    """Import every file that Feast reads, and note where things are written."""
    from feast.repo_operations import get_repo_files, py_path_to_module

    locator, problems = Locator(path), Problems()
    for file in get_repo_files(path):
        try:
            locator.read(file, importlib.import_module(py_path_to_module(file)))
        except (Exception, SystemExit) as error:
            where, what = describe_import_failure(error, path)
            where = f"{path.name}/{file.relative_to(path)}" if where == path.name else where
            hint = "Correct it there; nothing was changed."
            if isinstance(error, HeadraceError):
                what, hint = error.what, error.hint or hint
            problems.add(where, f"importing it failed: {what}", _FEAST_HINTS.get(_key(what), hint))
    problems.raise_any(path.name)
    return locator


_FEAST_HINTS = {
    "A batch_source needs to be specified": (
        "Write the source with headrace.event_source, or give it batch_source=FileSource(name=..., path=...)."
    ),
    "aggregations must have a timestamp field": "Write timestamp_field=, the same as the source's.",
    "tiling_hop_size": "Write a tiling_hop_size shorter than every time_window, or a slide_interval per aggregation.",
    "does not exist in this feature view": "Name features that the view's aggregations make: view[[...]].",
    'argument "sources" (list) did not match': (
        "Sources are feature views, view[[...]] and RequestSource. Feast computes no on-demand view from another: call "
        "that view's function from this one's."
    ),
    "Stream feature views need a stream source": "Write source=, a KafkaSource (headrace.event_source).",
}
"""By a part of Feast's message, what to write instead, for definitions that Feast refuses while a file is imported."""


def _key(what: str) -> str:
    return next((part for part in _FEAST_HINTS if part in what), "")


def _contents(path: Path, config: RepoConfig, locator: Locator) -> RepoContents:
    from feast.project import Project
    from feast.repo_operations import parse_repo

    contents = parse_repo(path)
    problems = Problems()
    for project in contents.projects:
        if project.name != config.project:
            what = f"the Project is named {project.name!r}, and feature_store.yaml says {config.project!r}."
            problems.add(locator.of(project, project.name, "Project"), what, "Give both the same name.")
    if len(contents.projects) > 1:
        places = ", ".join(str(locator.of(project, project.name, "Project")) for project in contents.projects)
        problems.add(path.name, f"it defines several Projects ({places}).", "Keep one; a feature repo is one project.")
    problems.raise_any(path.name)
    if not contents.projects:
        contents.projects.append(Project(name=config.project, description=config.project_description or ""))
    return contents


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
