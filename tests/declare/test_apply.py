"""Applying a project: Feast's registry, the plan, and the process as it was before."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from feast import FeatureStore

from headrace.config import Project
from headrace.declare import apply, plan_changes
from headrace.declare.feast_import import quiet_feast
from headrace.errors import ConfigError, DefinitionError
from headrace.events.model_schema import load_model
from headrace.plan import read_plan
from headrace.plan.view_versions import ViewVersions

Write = Callable[..., Path]

VIEW = """
v = stream_view(
    name="spending",
    source=orders,
    entities=[customer],
    aggregations=[Aggregation(function="mean", column="price", time_window=timedelta(hours=1), name="mean_price")],
)
s = FeatureService(name="model", features=[v])
"""


def windows_in_registry(repo: Path) -> list[tuple[str, str, float | None]]:
    """View, feature and window in seconds of what Feast has registered."""
    with quiet_feast():
        views = FeatureStore(repo_path=str(repo)).list_stream_feature_views()
    return [
        (view.name, made.name, made.time_window.total_seconds() if made.time_window else None)
        for view in views
        for made in view.aggregations
    ]


def test_apply_registers_with_feast_and_writes_the_plan(tmp_path: Path, write: Write) -> None:
    repo = write(tmp_path, VIEW)
    project = Project.load(tmp_path)
    result = apply(project)
    assert windows_in_registry(repo) == [("spending", "mean_price", 3600.0)]
    assert result.plan_file == project.plan_file
    assert read_plan(project.plan_file) == result.plan
    assert result.diff.old_hash is None
    assert result.diff.new_hash == result.plan.hash


def test_applying_twice_changes_nothing_the_second_time(tmp_path: Path, write: Write) -> None:
    write(tmp_path, VIEW)
    project = Project.load(tmp_path)
    first, second = apply(project), apply(project)
    assert first.diff
    assert not second.diff
    assert first.plan == second.plan
    assert not plan_changes(project)


@pytest.mark.parametrize("online_store", ["null", "{type: sqlite, path: ../.headrace/feast_online.db}"])
def test_a_changed_window_reaches_plan_and_registry(tmp_path: Path, write: Write, online_store: str) -> None:
    repo = write(tmp_path, VIEW)
    settings = repo / "feature_store.yaml"
    settings.write_text(
        settings.read_text(encoding="utf-8").replace("online_store: null", f"online_store: {online_store}")
    )
    project = Project.load(tmp_path)
    apply(project)
    write(tmp_path, VIEW.replace("hours=1", "hours=2"), **{"feature_store__yaml": settings.read_text(encoding="utf-8")})
    result = apply(project)
    assert windows_in_registry(repo) == [("spending", "mean_price", 7200.0)]
    assert [change.name for change in result.diff.changes] == ["spending", "spending:mean_price"]
    assert result.diff.replaced_views == ("spending",)


def test_what_is_taken_away_leaves_plan_and_registry(tmp_path: Path, write: Write) -> None:
    more = 'w = stream_view(name="more", source=orders, entities=[shop], aggregations=[Aggregation("*", "count")])\n'
    repo = write(tmp_path, VIEW + more)
    project = Project.load(tmp_path)
    apply(project)
    write(tmp_path, VIEW)
    assert [(change.name, change.action) for change in plan_changes(project).changes] == [("more", "removed")]
    apply(project)
    assert [name for name, _, _ in windows_in_registry(repo)] == ["spending"]
    assert list(read_plan(project.plan_file).views) == ["spending"]


def test_a_bad_definition_changes_neither_registry_nor_plan(tmp_path: Path, write: Write) -> None:
    repo = write(tmp_path, VIEW)
    project = Project.load(tmp_path)
    apply(project)
    before = {file: file.read_bytes() for file in (tmp_path / ".headrace").rglob("*") if file.is_file()}
    write(tmp_path, VIEW.replace('"price"', '"prise"').replace("mean_price", "other"))
    with pytest.raises(DefinitionError, match="prise"):
        apply(project)
    assert {file: file.read_bytes() for file in (tmp_path / ".headrace").rglob("*") if file.is_file()} == before
    assert windows_in_registry(repo) == [("spending", "mean_price", 3600.0)]


def test_planning_writes_nothing(tmp_path: Path, write: Write) -> None:
    write(tmp_path, VIEW)
    assert plan_changes(Project.load(tmp_path))
    assert not (tmp_path / ".headrace").exists()


def test_two_projects_with_modules_of_the_same_names(tmp_path: Path, write: Write) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    write(one, VIEW)
    write(other, VIEW.replace('"spending"', '"earnings"').replace("hours=1", "hours=3"))
    for _ in range(2):
        assert list(apply(Project.load(one)).plan.views) == ["spending"]
        assert list(apply(Project.load(other)).plan.views) == ["earnings"]
    assert windows_in_registry(one / "feature_repo") == [("spending", "mean_price", 3600.0)]
    assert windows_in_registry(other / "feature_repo") == [("earnings", "mean_price", 10800.0)]


def test_the_process_is_as_it_was_whether_applying_works_or_not(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    write(tmp_path, VIEW)
    for text in (VIEW, VIEW.replace('"price"', '"prise"'), "1 / 0"):
        write(tmp_path, text)
        path, modules, filters = list(sys.path), set(sys.modules), list(warnings.filters)
        try:
            apply(Project.load(tmp_path))
        except DefinitionError:
            assert text != VIEW
        assert Path.cwd() == elsewhere
        assert sys.path == path
        assert warnings.filters == filters
        assert not {"views", "events"} & (set(sys.modules) - modules)


def test_a_model_loaded_after_an_apply_is_the_one_applied(tmp_path: Path, write: Write) -> None:
    repo = write(tmp_path, VIEW)
    path = list(sys.path)
    assert "weight" not in load_model(repo, "events:Order").model_fields
    events = repo / "events.py"
    events.write_text(events.read_text(encoding="utf-8") + "    weight: float\n", encoding="utf-8")
    plan = apply(Project.load(tmp_path)).plan
    assert plan.sources["orders"].columns[-1].name == "weight"
    assert "weight" in load_model(repo, "events:Order").model_fields
    sys.path[:] = path


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("views.py", "x = 1\n\ny = x / 0\n", "views.py:3: importing it failed: ZeroDivisionError: division by zero"),
        ("views.py", "x = (\n", "views.py:1: importing it failed: SyntaxError: '(' was never closed"),
        ("views.py", "import no_such\n", "views.py:1: importing it failed: ModuleNotFoundError: No module named"),
        ("views.py", "import sys\nsys.exit(2)\n", "views.py:2: importing it failed: SystemExit: 2"),
        ("deep/er.py", "undefined\n", "deep/er.py:1: importing it failed: NameError: name 'undefined' is not defined"),
        (
            "views.py",
            "from datetime import timedelta\nfrom feast import Aggregation\nAggregation('x', 'sum', time_window=30)\n",
            'views.py:3: importing it failed: TypeCheckError: argument "time_window"',
        ),
    ],
)
def test_a_file_that_raises_is_named_with_its_line(
    tmp_path: Path, write: Write, file: str, text: str, message: str
) -> None:
    repo = write(tmp_path, VIEW)
    (repo / file).parent.mkdir(exist_ok=True)
    (repo / file).write_text(text, encoding="utf-8")
    with pytest.raises(DefinitionError) as caught:
        apply(Project.load(tmp_path))
    assert str(caught.value).startswith(f"feature_repo/{message}")
    assert "nothing was changed" in str(caught.value)


def test_files_that_fail_for_one_reason_say_it_once(tmp_path: Path, write: Write) -> None:
    repo = write(tmp_path, VIEW)
    (repo / "events.py").write_text("oops\n", encoding="utf-8")
    with pytest.raises(DefinitionError) as caught:
        apply(Project.load(tmp_path))
    assert str(caught.value).count("feature_repo/events.py:1") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "feature_store.yaml is not a Feast configuration"),
        ("project: [", "feature_store.yaml is not a Feast configuration"),
        ("- a\n- b\n", "feature_store.yaml is not a Feast configuration"),
        ("project: shop\nprovider: local\n", "Registry is not set"),
        ("project: shop\nprovider: local\nregistry: r.db\nonline_store: {type: nowhere}\n", "is not a Feast config"),
        ("project: no spaces\nprovider: local\nregistry: r.db\n", "feature_store.yaml is not a Feast configuration"),
    ],
)
def test_settings_that_feast_cannot_read(tmp_path: Path, write: Write, text: str, message: str) -> None:
    repo = write(tmp_path, VIEW)
    (repo / "feature_store.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        apply(Project.load(tmp_path))
    assert message in str(caught.value)
    assert "It needs at least: project: NAME" in str(caught.value)


def test_settings_that_are_missing(tmp_path: Path, write: Write) -> None:
    repo = write(tmp_path, VIEW)
    (repo / "feature_store.yaml").unlink()
    with pytest.raises(ConfigError, match=r"(?s)There is no feature_store\.yaml in .*feature_repo.*Write one, with"):
        apply(Project.load(tmp_path))


def test_a_repo_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("[headrace]\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"(?s)There is no feature repo at .*feature_repo.*headrace\.toml"):
        apply(Project.load(tmp_path))


def test_an_empty_repo_is_an_empty_plan(tmp_path: Path, write: Write) -> None:
    repo = write(tmp_path, "")
    for file in repo.glob("*.py"):
        file.unlink()
    result = apply(Project.load(tmp_path))
    assert (result.plan.sources, result.plan.views, result.plan.services) == ({}, {}, {})


def test_a_project_object_has_the_name_in_the_settings(tmp_path: Path, write: Write) -> None:
    write(tmp_path, 'from feast import Project\np = Project(name="other")\n')
    with pytest.raises(DefinitionError, match=r"(?s)views\.py:\d+: the Project is named 'other', .* says 'shop'"):
        apply(Project.load(tmp_path))
    write(tmp_path, 'from feast import Project\np = Project(name="shop")\n')
    assert apply(Project.load(tmp_path)).plan.project == "shop"
    write(tmp_path, 'from feast import Project\np = Project(name="shop")\nq = Project(name="shop")\n')
    with pytest.raises(DefinitionError, match=r"several Projects \(feature_repo/views\.py:\d+, feature_repo/views"):
        apply(Project.load(tmp_path))


def test_a_damaged_plan_is_replaced_and_said_to_be_damaged(tmp_path: Path, write: Write) -> None:
    write(tmp_path, VIEW)
    project = Project.load(tmp_path)
    apply(project)
    project.plan_file.write(b"{")
    diff = plan_changes(project)
    assert diff.old_hash is None
    assert "cannot be read" in (diff.note or "")
    apply(project)
    assert not plan_changes(project)


def test_a_registry_that_cannot_be_written(tmp_path: Path, write: Write) -> None:
    write(tmp_path, VIEW)
    (tmp_path / ".headrace").write_text("a file, where a folder should be", encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"(?s)registry cannot be written.*Correct `registry` in .*feature_store\.yaml"
    ):
        apply(Project.load(tmp_path))


def test_what_feast_alone_refuses_is_passed_on(tmp_path: Path, write: Write) -> None:
    batch = """
    from feast import FeatureView
    from feast import KinesisSource
    b = FeatureView(
        name="SPENDING", entities=[customer],
        schema=[Field(name="customer", dtype=String), Field(name="x", dtype=Int64)],
        source=KinesisSource(
            name="k", record_format=JsonFormat(schema_json=""), region="r", stream_name="s", timestamp_field="t",
            batch_source=FileSource(name="b", path="b.parquet", timestamp_field="t"),
        ),
    )
    """.replace("\n    ", "\n")
    write(tmp_path, VIEW + batch)
    with pytest.raises(DefinitionError, match=r"Feast refuses the definitions: .*\n  → Correct what Feast names"):
        apply(Project.load(tmp_path))
    assert not (tmp_path / ".headrace" / "plan.json").exists()


@pytest.mark.slow
def test_without_feast_one_is_told_what_to_install(tmp_path: Path, write: Write) -> None:
    write(tmp_path, VIEW)
    code = (
        "import sys\n"
        "sys.modules['feast'] = None\n"  # as importing a package that is not installed
        "from headrace.config import Project\n"
        "from headrace.errors import ConfigError\n"
        "try:\n"
        "    from headrace.declare import apply\n"
        "    apply(Project.load('.'))\n"
        "except ConfigError as error: print(error)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("This needs the package feast")
    assert done.stdout.endswith("\n  → pip install 'headrace[feast]'\n")


def test_apply_numbers_the_versions_of_views_and_a_definition_keeps_its_number(tmp_path: Path, write: Write) -> None:
    project = Project.load(write(tmp_path, VIEW).parent)
    first = apply(project).plan.views["spending"]
    write(tmp_path, VIEW.replace("hours=1", "hours=2"))
    second = apply(project).plan.views["spending"]
    write(tmp_path, VIEW)
    plan = apply(project).plan
    found = ViewVersions(project.view_versions).of(plan, "spending")
    assert [(one.number, one.view) for one in found] == [(0, first), (1, second)]
    assert plan.views["spending"] == first


def test_the_plan_of_before_versions_were_noted_gets_the_first_number(tmp_path: Path, write: Write) -> None:
    project = Project.load(write(tmp_path, VIEW).parent)
    first = apply(project).plan.views["spending"]
    project.view_versions.delete("spending.json")
    write(tmp_path, VIEW.replace("hours=1", "hours=2"))
    plan = apply(project).plan
    found = ViewVersions(project.view_versions).of(plan, "spending")
    assert [(one.number, one.view) for one in found] == [(0, first), (1, plan.views["spending"])]
