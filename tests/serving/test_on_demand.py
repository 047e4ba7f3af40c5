"""On-demand features over HTTP: the same values as in process, with fields of the request in any of its forms."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from headrace.config import Project
from headrace.lookup import FeatureClient
from headrace.plan import DType, Plan, write_plan
from headrace.stores import open_store
from tests.lookup.conftest import PLAN, fill, order, serving
from tests.ondemand.examples import on_demand_view, write_files
from tests.serving.server_process import ServerProcess

VIEWS = """
    import feast


    def ratio(inputs):
        return {"ratio": inputs["asked"] / inputs["mean_price_60"], "day": inputs["moment"].date().isoformat()}
"""
ASKED = ["price:ratio", "price:day"]
ROW = {"shop": "a", "asked": 3.0, "moment": "2026-01-05T12:00:00Z"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("shop")
    (root / "headrace.toml").write_text('[headrace]\nclock = "record"\n')
    project = Project.load(root)
    write_files(project.repo, views=VIEWS)
    view = on_demand_view(
        project.repo,
        "views:ratio",
        {"ratio": DType.FLOAT64, "day": DType.STRING},
        inputs={"shops:mean_price_60": DType.FLOAT64},
        request={"asked": DType.FLOAT64, "moment": DType.TIMESTAMP},
        name="price",
        singleton=True,
    )
    plan: Plan = PLAN.model_copy(update={"on_demand_views": {"price": view}})
    write_plan(plan, project.plan_file)
    with open_store(project.store_url, writable=True) as store:
        store.change(serving(plan))
        fill(store, order(5, price=2.0), plan=plan)
    return project


@pytest.fixture(scope="module")
def server(project: Project) -> Iterator[ServerProcess]:
    with ServerProcess(project.root) as started:
        yield started.wait_ready()


@pytest.mark.parametrize(
    "body",
    [
        {"entity_rows": [ROW]},
        {"entities": {name: [value] for name, value in ROW.items()}},
        {"entities": {"shop": ["a"]}, "request": {"asked": 3, "moment": ROW["moment"]}},
        {"entity_rows": [{"shop": "a"}], "request": {"asked": [3.0], "moment": [ROW["moment"]]}},
    ],
)
def test_request_may_give_its_fields_in_any_form(server: ServerProcess, body: dict[str, object]) -> None:
    reply = server.post("/v1/lookup", {"features": ASKED, **body})
    assert reply.status == 200, reply.content
    assert reply.json["features"] == {"price__ratio": [1.5], "price__day": ["2026-01-05"]}
    assert reply.json["views"]["price"]["status"] == ["present"]


def test_feasts_format_has_the_features_and_not_the_fields(server: ServerProcess) -> None:
    entities = {"shop": ["a"], "asked": [3], "moment": ["2026-01-05T12:00:00Z"]}
    reply = server.post("/get-online-features", {"features": ASKED, "entities": entities})
    assert reply.status == 200, reply.content
    assert reply.json["metadata"]["feature_names"] == ["shop", "ratio", "day"]
    assert [result["values"] for result in reply.json["results"]] == [["a"], [1.5], ["2026-01-05"]]


def test_what_is_wrong_is_told(server: ServerProcess, project: Project) -> None:
    missing = server.post("/v1/lookup", {"features": ASKED, "entity_rows": [{"shop": "a", "asked": 1.0}]})
    assert (missing.status, missing.json["error"]["kind"]) == (422, "LookupRequestError")
    assert "has no 'moment', which the on-demand view 'price' reads" in missing.json["error"]["message"]
    feasts = server.post("/get-online-features", {"features": ASKED, "entities": {"shop": ["a"], "asked": [1]}})
    assert feasts.status == 404  # as in Feast, whose client raises RequestDataNotFoundInEntityRowsException
    assert "lacks 'moment' (read by 'price')" in json.loads(feasts.json)["message"]
    failed = server.post("/v1/lookup", {"features": ASKED, "entity_rows": [{**ROW, "shop": "nobody"}]})
    assert (failed.status, failed.json["error"]["kind"]) == (500, "OnDemandError")
    assert "cannot be computed for row 0: views:ratio failed: TypeError" in failed.json["error"]["message"]


def test_catalog_says_what_a_request_must_bring(server: ServerProcess, project: Project) -> None:
    with FeatureClient(project) as client:
        assert "price" in client.plan.on_demand_views
    price = server.get("/v1/catalog").json["views"]["price"]
    assert price["keys"] == {"shop": "string"}
    assert price["request"] == {"asked": "float64", "moment": "timestamp"}
