"""`plan` and `apply` try the functions of on-demand views on example rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.config import Project
from headrace.declare import apply, plan_changes
from headrace.errors import DefinitionError
from headrace.plan import read_plan
from tests.declare.conftest import HEADER, SOURCE, write_repo
from tests.declare.test_on_demand_views import RIGHT, share


def project_of(tmp_path: Path, body: str, more: str = "", before: str = "") -> Project:
    views = HEADER + SOURCE + before + share(body, more)
    return Project.load(write_repo(tmp_path, {"views.py": views}).parent)


def refused(tmp_path: Path, body: str, mode: str = "python", before: str = "") -> str:
    views = HEADER + SOURCE + before + share(body).replace('mode="python"', f'mode="{mode}"')
    project = Project.load(write_repo(tmp_path, {"views.py": views}).parent)
    with pytest.raises(DefinitionError) as caught:
        plan_changes(project)
    return str(caught.value)


def test_function_that_works_is_applied_and_kept_in_the_plan(tmp_path: Path) -> None:
    project = project_of(tmp_path, RIGHT)
    result = apply(project)
    assert result.diff.warnings == ()
    assert "share" in read_plan(project.plan_file).on_demand_views
    (change,) = [one for one in result.diff.changes if one.kind == "on-demand view"]
    assert (change.name, change.action) == ("share", "added")
    assert change.details[0].startswith(
        "from spending:spent (float64), spending:orders (int64), request total (float64)"
    )
    assert not plan_changes(project)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            'return {"share": [one + undefined for one in inputs["spent"]]}',
            "fails on all 24 example rows: views:share failed: NameError",
        ),
        ('return {"part": inputs["spent"]}', "views:share returned no 'share' (it returned 'part')"),
        ('return {"share": [1.0]}', "views:share returned 1 values of 'share' for 24 rows"),
        (
            'return {"share": [str(one) for one in inputs["spent"]]}',
            "returned 'share' as '1.5' (str), and it is declared float64",
        ),
        ('return [1.0 for _ in inputs["spent"]]', "views:share returned a list, and not a dict"),
        (
            'return {"share": ["a" if one == 0 else 1.0 for one in inputs["spent"]]}',
            "returned 'share' as 'a' (str), and it is declared float64",
        ),
        (
            'inputs["spent"][0] = 5.0\n    return {"share": list(inputs["spent"])}',
            "its function changes its inputs in place: 'spent'",
        ),
        (
            'inputs["share"] = inputs["spent"]\n    return inputs',
            "its function changes its inputs in place: it adds or removes 'share'",
        ),
        (
            'import random\n    return {"share": [random.random() for _ in inputs["spent"]]}',
            "its function is not deterministic",
        ),
        (
            'import time\n    return {"share": [float(time.perf_counter_ns()) for _ in inputs["spent"]]}',
            "its function is not deterministic",
        ),
        (
            'most = max(one or 0.0 for one in inputs["spent"])\n    return {"share": [most for _ in inputs["spent"]]}',
            "its function mixes rows",
        ),
    ],
)
def test_function_that_cannot_work_is_refused_with_its_place(tmp_path: Path, body: str, said: str) -> None:
    message = refused(tmp_path, body)
    assert said in message
    assert message.startswith("feature_repo/views.py:")
    assert "on-demand view 'share': " in message


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('return inputs["spent"]', "views:share returned a Series, and not a DataFrame"),
        (
            'import pandas as pd\n    return pd.DataFrame({"share": inputs["spent"]}).sort_values("share")',
            "in another order",
        ),
        ('inputs["share"] = inputs["spent"]\n    return inputs', "changes its inputs in place"),
        (
            'import pandas as pd\n    return pd.DataFrame({"share": inputs["spent"] / inputs["spent"].max()})',
            "mixes rows",
        ),
        (
            'import pandas as pd\n    return pd.DataFrame({"share": inputs["spent"] > 1})',
            "as bool[pyarrow], and it is declared",
        ),
    ],
)
def test_pandas_function_that_cannot_work_is_refused(tmp_path: Path, body: str, said: str) -> None:
    assert said in refused(tmp_path, body, "pandas")


def test_function_that_fails_on_nulls_is_warned_about(tmp_path: Path) -> None:
    body = 'return {"share": [one / 2 for one in inputs["spent"]]}'
    (warning,) = plan_changes(project_of(tmp_path, body)).warnings
    assert (
        "The function of the on-demand view 'share' fails where spending__spent is null (views:share failed: TypeError"
        in warning
    )
    assert 'tags={"headrace.on_error": "null"}' in warning
    (warning,) = plan_changes(project_of(tmp_path, body, 'tags={"headrace.on_error": "null"},')).warnings
    assert warning.endswith("Its features are null there.")


def test_function_that_fails_on_some_rows_is_no_problem(tmp_path: Path) -> None:
    body = 'return {"share": [0.0 if one is None else 1 / one for one in inputs["spent"]]}'
    assert plan_changes(project_of(tmp_path, body)).warnings == ()


def test_changed_function_is_a_change_of_the_plan(tmp_path: Path) -> None:
    project = project_of(tmp_path, RIGHT)
    apply(project)
    views = project.repo / "views.py"
    views.write_text(views.read_text().replace("one or 0.0", "one or 1.0"))
    diff = plan_changes(project)
    (change,) = diff.changes
    assert (change.kind, change.details) == ("on-demand view", ("views:share, or something that it uses, has changed",))
    assert diff.replaced_views == ()
