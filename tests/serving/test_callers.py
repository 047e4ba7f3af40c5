"""A real server whose callers must sign in: what each may read, and what the access log says of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.config import Permission, Project
from headrace.serving.identity import Grant
from headrace.serving.tokens import Tokens
from tests.lookup.conftest import PLAN
from tests.servers.oidc_issuer import OidcIssuer, SigningKey
from tests.serving.conftest import make_project
from tests.serving.server_process import Reply, ServerProcess

SHOP = {"shop": ["a"]}
READ, HISTORY, ADMIN = Permission.READ_ONLINE, Permission.READ_HISTORY, Permission.ADMIN
AT = "1970-01-01T00:00:00.000140Z"


def made(
    project: Path, name: str, *may: Permission, services: tuple[str, ...] = (), views: tuple[str, ...] = ()
) -> str:
    grant = Grant(frozenset(may), frozenset(services), frozenset(views))
    return Tokens(Project.load(project).serve_state).create(name, grant, time.time_ns() // 1000)[1]


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey("one")


@pytest.fixture(scope="module")
def issuer(key: SigningKey) -> Iterator[OidcIssuer]:
    with OidcIssuer(key) as issuer:
        yield issuer


@pytest.fixture(scope="module")
def project(issuer: OidcIssuer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = make_project(tmp_path_factory.mktemp("closed"))
    with (project / "headrace.toml").open("a") as settings:
        settings.write(
            f'[serve]\naccess_log = "access.jsonl"\n[serve.oidc]\nissuer = "{issuer.url}"\naudience = "features"\n'
            '[[serve.oidc.grants]]\nclaim = "groups"\nvalue = "ml"\nmay = ["read-online"]\nviews = ["buyers"]\n'
        )
    return project


@pytest.fixture(scope="module")
def tokens(project: Path) -> dict[str, str]:
    return {
        "desk": made(project, "desk", READ, services=("desk",)),
        "windows": made(project, "windows", READ, HISTORY, views=("windows",)),
        "prometheus": made(project, "prometheus", ADMIN),
        "writer": made(project, "writer", Permission.WRITE, views=("shops",)),
        "leaving": made(project, "leaving", READ, views=("*",)),
    }


@pytest.fixture(scope="module")
def server(project: Path, tokens: dict[str, str]) -> Iterator[ServerProcess]:
    with ServerProcess(project, "--workers", "2") as started:
        yield started.wait_ready()


def lookup(server: ServerProcess, token: str | None, features: Any, entities: Any = SHOP, **more: Any) -> Reply:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return server.post("/v1/lookup", {"features": features, "entities": entities, **more}, headers)


def get(server: ServerProcess, path: str, token: str | None) -> Reply:
    return server.request("GET", path, headers={} if token is None else {"Authorization": f"Bearer {token}"})


def test_a_service_is_read_as_a_whole_or_one_by_one(server: ServerProcess, tokens: dict[str, str]) -> None:
    keys = {"shop": ["a"], "buyer": [7]}
    assert lookup(server, tokens["desk"], "desk", keys).status == 200
    assert lookup(server, tokens["desk"], ["shops:count_60", "pairs:count_60"], keys).status == 200
    for refused in (["shops:pieces_ever"], ["shops:*"], ["windows:count_60"], "nothing", ["nowhere:x"]):
        answer = lookup(server, tokens["desk"], refused, keys)
        assert (answer.status, answer.error["kind"]) == (403, "PermissionDeniedError"), refused
        assert answer.error["hint"] == "It may read-online of the services desk and the views none."


def test_feasts_clients_read_what_a_service_contains(server: ServerProcess, tokens: dict[str, str]) -> None:
    headers = {"Authorization": f"Bearer {tokens['desk']}"}
    asked = {"features": ["shops:count_60"], "entities": SHOP}
    assert server.post("/get-online-features", asked, headers).status == 200
    refused = server.post("/get-online-features", {**asked, "features": ["shops:pieces_ever"]}, headers)
    assert refused.status == 403
    assert "lacks the permission read-online" in refused.content.decode()
    assert server.post("/get-online-features", asked).status == 401


def test_writing_needs_write_on_the_view(server: ServerProcess, tokens: dict[str, str]) -> None:
    row = {"shop": ["a"], "event_timestamp": ["2026-01-01T00:00:00Z"]}
    wanted: dict[str, dict[str, Any]] = {
        "/write-to-online-store": {"feature_view_name": "shops", "df": row},
        "/push": {"push_source_name": "nobody", "df": row, "to": "online"},
        "/materialize": {"feature_views": ["nowhere"], "start_ts": "2026-01-01", "end_ts": "2026-01-02"},
        "/materialize-incremental": {"feature_views": ["nowhere"], "end_ts": "2026-01-02"},
    }
    statuses = {}
    for name in ("desk", "windows", "prometheus", "writer"):
        headers = {"Authorization": f"Bearer {tokens[name]}"}
        statuses[name] = [server.post(path, body, headers).status for path, body in wanted.items()]
    assert statuses["desk"] == statuses["windows"] == statuses["prometheus"] == [403] * 4
    assert statuses["writer"] == [422, 403, 403, 403]  # it may write shops; of other names it learns nothing
    headers = {"Authorization": f"Bearer {tokens['writer']}"}
    body = {**wanted["/write-to-online-store"], "feature_view_name": "windows"}
    assert server.post("/write-to-online-store", body, headers).status == 403


def test_another_time_needs_read_history(server: ServerProcess, tokens: dict[str, str]) -> None:
    assert lookup(server, tokens["windows"], ["windows:*"], at=AT).status == 200
    answer = lookup(server, tokens["desk"], ["shops:count_60"], at=AT)
    assert (answer.status, answer.error["message"]) == (
        403,
        "'desk' lacks the permission read-history for 'shops:count_60'.",
    )


def test_a_version_by_name_is_read_with_its_view(server: ServerProcess, tokens: dict[str, str]) -> None:
    named = f"windows@{PLAN.views['windows'].hash}:count_60"
    assert lookup(server, tokens["windows"], [named]).status == 200
    assert lookup(server, tokens["windows"], ["windows@v7:count_60"]).status == 422
    assert lookup(server, tokens["desk"], [f"shops@{PLAN.views['shops'].hash}:count_60"]).status == 403


def test_without_a_valid_token_nothing_is_answered(server: ServerProcess) -> None:
    for path in ("/metrics", "/v1/status", "/v1/catalog", "/v1/positions", "/openapi.json", "/nowhere"):
        assert get(server, path, None).status == 401, path
        assert get(server, path, "hr_0123_abc").status == 401, path
    answer = lookup(server, None, "desk")
    assert (answer.status, answer.error["kind"], answer.headers["www-authenticate"]) == (
        401,
        "NotAuthenticatedError",
        "Bearer",
    )
    assert server.post("/v1/lookup", b"x" * 100_000).status == 401  # before the body is read
    assert (get(server, "/health", None).status, get(server, "/ready", None).status) == (200, 200)


def test_operators_read_metrics_and_no_features(server: ServerProcess, tokens: dict[str, str]) -> None:
    assert get(server, "/metrics", tokens["prometheus"]).status == 200
    assert get(server, "/v1/status", tokens["prometheus"]).status == 200
    assert lookup(server, tokens["prometheus"], ["windows:*"]).status == 403
    for path in ("/metrics", "/v1/status"):
        assert get(server, path, tokens["desk"]).status == 403


def test_the_catalogue_shows_what_the_caller_may_read(server: ServerProcess, tokens: dict[str, str]) -> None:
    seen = get(server, "/v1/catalog", tokens["desk"]).json
    assert list(seen["services"]) == ["desk"]
    assert {name: list(view["features"]) for name, view in seen["views"].items()} == {
        "refunds": ["refunds_ever"],
        "shops": ["count_60"],
        "pairs": ["count_60"],
    }
    assert get(server, "/v1/catalog", tokens["prometheus"]).json["views"] == {}


def test_a_caller_of_the_issuer_may_what_its_claims_say(
    server: ServerProcess, issuer: OidcIssuer, key: SigningKey
) -> None:
    buyer = {"buyer": [7]}
    assert lookup(server, key.sign(issuer.claims(groups=["ml"])), ["buyers:*"], buyer).status == 200
    assert lookup(server, key.sign(issuer.claims(groups=["ops"])), ["buyers:*"], buyer).status == 403
    assert lookup(server, key.sign(issuer.claims(exp=1)), ["buyers:*"], buyer).status == 401
    assert lookup(server, SigningKey("one").sign(issuer.claims(groups=["ml"])), ["buyers:*"], buyer).status == 401


def test_a_token_that_is_revoked_ends_in_every_process(
    server: ServerProcess, project: Path, tokens: dict[str, str]
) -> None:
    assert lookup(server, tokens["leaving"], ["windows:*"]).status == 200
    Tokens(Project.load(project).serve_state).revoke("leaving", time.time_ns() // 1000)
    in_a_row = 0

    def is_refused() -> bool:
        nonlocal in_a_row
        in_a_row = in_a_row + 1 if lookup(server, tokens["leaving"], ["windows:*"]).status == 401 else 0
        return in_a_row >= 20  # both processes have answered

    server.wait_for(is_refused, "the token is refused")


def test_the_access_log_has_names_and_rows_and_neither_keys_nor_tokens(
    server: ServerProcess, project: Path, tokens: dict[str, str]
) -> None:
    entities = {"shop": ["a", "b", "a private key"]}
    assert lookup(server, tokens["windows"], ["windows:*"], entities).status == 200

    def logged() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in (project / "access.jsonl").read_text().splitlines()]
        return [line for line in lines if line.get("rows") == 3]

    server.wait_for(logged, "it is logged")
    (line,) = logged()
    assert (line["caller"], line["path"], line["status"], line["asked"]) == (
        "windows",
        "/v1/lookup",
        200,
        ["windows:*"],
    )
    text = (project / "access.jsonl").read_text()
    assert "private" not in text
    assert [name for name, token in tokens.items() if token in text] == []


# --- where a server may listen


def refused(project: Path, *options: str) -> str:
    command = [sys.executable, "-m", "headrace.cli", "serve", "--project", str(project), "--port", "0", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


def test_another_address_than_loopback_needs_callers_that_sign_in(own_shop: Path) -> None:
    said = refused(own_shop, "--host", "0.0.0.0")  # noqa: S104
    assert "nobody has to sign in" in said
    assert "headrace token create" in said


def test_with_a_token_a_server_may_listen_anywhere_and_loopback_signs_in_too(
    own_shop: Path, serve: Callable[..., ServerProcess]
) -> None:
    secret = made(own_shop, "desk", READ, services=("desk",))
    with (own_shop / "headrace.toml").open("a") as settings:
        settings.write('[serve]\naccess_log = "none"\n')
    keys = {"shop": ["a"], "buyer": [7]}
    server = serve("--host", "0.0.0.0")  # noqa: S104
    assert (lookup(server, None, "desk", keys).status, lookup(server, secret, "desk", keys).status) == (401, 200)
    server.stop()
    assert lookup(serve(), None, "desk", keys).status == 401
    assert lookup(serve("--insecure"), None, "desk", keys).status == 200


def test_a_wrong_access_log_is_named_at_the_start(own_shop: Path) -> None:
    with (own_shop / "headrace.toml").open("a") as settings:
        settings.write('[serve]\naccess_log = "nowhere/access.jsonl"\n')
    assert "nowhere/access.jsonl cannot be written" in refused(own_shop)
