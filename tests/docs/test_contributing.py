"""What CONTRIBUTING.md, the workflow and the commit hooks promise is so."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))


def test_workflow_runs_targets_that_exist_on_every_supported_python() -> None:
    workflow: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    run = {target for step in steps for target in re.findall(r"make ([a-z-]+)", step.get("run", ""))}
    assert {"test", "test-long", "demo", "coverage", "docs-site"} <= run <= TARGETS
    matrix = workflow["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["os"] == ["ubuntu-latest", "macos-latest"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    versions = [one.rpartition(" :: ")[2] for one in project["classifiers"] if "Python :: 3." in one]
    assert matrix["python"] == versions
    assert project["requires-python"] == f">={versions[0]}"


def test_commit_hooks_run_in_seconds() -> None:
    """They are ruff and the import contracts; mypy and tests are for `make check`."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    assert [hook["id"] for hook in hooks] == ["ruff-check", "ruff-format", "lint-imports"]


def test_help_names_every_target() -> None:
    named = set(re.findall(r'@echo "make ([a-z-]+)', MAKEFILE))
    assert named | {"help", "fast-tests"} >= TARGETS


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md", "docs/policies.md", "docs/releasing.md"])
def test_files_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    paths = set(
        re.findall(
            r"`((?:src|tests|docs|proofs|benchmarks|feature_repo|streams|offline)/[^`\s]*|[A-Za-z.]+\.(?:md|toml))`",
            text,
        )
    )
    made = {"dist/*", "headrace.toml"}
    assert [path for path in sorted(paths - made) if "NAME" not in path and not (ROOT / path).exists()] == []


def test_version_has_one_source() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text)["project"]["dynamic"] == ["version"]
    assert tomllib.loads(text)["tool"]["hatch"]["version"] == {"path": "src/headrace/__init__.py"}
