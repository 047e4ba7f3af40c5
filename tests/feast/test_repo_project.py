"""Which headrace project a Feast repo belongs to."""

from __future__ import annotations

from pathlib import Path

import pytest
from feast import RepoConfig

from headrace.errors import ConfigError
from headrace.feast.repo_project import project_of


def config(repo: Path, **online: str) -> RepoConfig:
    repo.mkdir(parents=True, exist_ok=True)
    made = RepoConfig(
        project="p",
        provider="local",
        registry="none",
        online_store={"type": "headrace.feast.HeadraceOnlineStore", **online},
        offline_store={"type": "headrace.feast.HeadraceOfflineStore"},
        entity_key_serialization_version=3,
    )
    made.repo_path = repo
    return made


def test_a_repo_without_a_project_keeps_its_rows_beside_itself(tmp_path: Path) -> None:
    project = project_of(config(tmp_path / "repo"))
    assert project.repo.resolve() == tmp_path / "repo"
    assert project.store_url == f"lmdb:{tmp_path / 'repo' / '.headrace' / 'online'}"


def test_such_a_repo_may_name_a_store(tmp_path: Path) -> None:
    assert project_of(config(tmp_path, store="redis://localhost:6379/0")).store_url == "redis://localhost:6379/0"
    assert project_of(config(tmp_path, store="lmdb:data/online")).store_url == f"lmdb:{tmp_path / 'data' / 'online'}"


def test_the_project_above_is_found_if_the_repo_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text('[headrace]\nrepo = "mine"\nstate = "kept"\n')
    assert project_of(config(tmp_path / "mine")).state == tmp_path / "kept"
    assert project_of(config(tmp_path / "another")).state == tmp_path / "another" / ".headrace"


def test_a_project_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "headrace.toml").write_text('[headrace]\nrepo = "../repo"\n')
    assert project_of(config(tmp_path / "repo", project="../settings")).root == tmp_path / "settings"


def test_a_project_of_another_repo_is_refused(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("[headrace]\n")
    with pytest.raises(ConfigError, match="and feature_store.yaml is in"):
        project_of(config(tmp_path / "elsewhere", project=".."))


def test_another_store_than_the_project_s_is_refused(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("[headrace]\n")
    with pytest.raises(ConfigError, match="says another"):
        project_of(config(tmp_path / "feature_repo", store="redis://localhost:6379/0"))
