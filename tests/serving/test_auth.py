from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from headrace.config import OidcGrant, OidcSettings, Permission
from headrace.errors import ConfigError
from headrace.serving.access_log import access_log_of
from headrace.serving.auth import Authenticator
from headrace.serving.identity import Grant
from headrace.serving.oidc import OidcCallers
from headrace.serving.tokens import KnownTokens, Tokens
from headrace.state import LocalState
from tests.servers.oidc_issuer import OidcIssuer, SigningKey
from tests.serving.signed_in_server import ask, served
from tests.waits import wait_until

READ = Grant(frozenset({Permission.READ_ONLINE}), views=frozenset({"*"}))
ADMIN = Grant(frozenset({Permission.ADMIN}))


def now_us() -> int:
    return time.time_ns() // 1000


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    return Tokens(LocalState(tmp_path_factory.mktemp("state")))


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey("one")


@pytest.fixture(scope="module")
def issuer(key: SigningKey) -> Iterator[OidcIssuer]:
    with OidcIssuer(key) as issuer:
        yield issuer


@pytest.fixture(scope="module")
def port(tokens: Tokens, issuer: OidcIssuer) -> Iterator[int]:
    grant = OidcGrant(claim="groups", value="ml", may=(Permission.READ_ONLINE,), views=("*",))
    oidc = OidcCallers(OidcSettings(issuer=issuer.url, audience="features", grants=(grant,)))
    with served(Authenticator(KnownTokens(tokens, time.monotonic), oidc, now_us)) as port:
        yield port


def made(tokens: Tokens, name: str, grant: Grant = READ, lifetime: timedelta | None = None) -> str:
    return tokens.create(name, grant, now_us(), lifetime)[1]


def test_a_token_names_its_caller_and_is_seen_by_a_server_that_runs(port: int, tokens: Tokens) -> None:
    secret = made(tokens, "model server")
    wait_until(lambda: ask(port, token=secret).status == 200, "the new token is known", seconds=30)
    assert ask(port, token=secret).body == {"caller": "model server"}


def test_without_a_token_the_server_answers_401_and_says_how_to_sign_in(port: int) -> None:
    answer = ask(port)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.body["error"]["kind"] == "NotAuthenticatedError"
    assert "Authorization: Bearer TOKEN" in answer.body["error"]["hint"]


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", "")],
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer ")],
        [("Authorization", "Bearer a b")],
        [("Authorization", "Basic a2ltOnNlY3JldA==")],
        [("Authorization", "Token abc")],
        [("Authorization", "Bearer " + "x" * 20_000)],
        [("Authorization", "Bearer hr_0123_é")],
        [("Authorization", "Bearer hr_nobody_made_this")],
        [("Authorization", "Bearer one"), ("Authorization", "Bearer two")],
        [("X-Token", "abc")],
    ],
)
def test_a_header_that_is_malformed_or_unknown_is_401(port: int, headers: list[tuple[str, str]]) -> None:
    answer = ask(port, headers=headers)
    assert answer.status == 401
    assert answer.body["error"]["kind"] == "NotAuthenticatedError"


def test_the_scheme_may_be_written_in_small_letters(port: int, tokens: Tokens) -> None:
    secret = made(tokens, "small letters")
    wait_until(lambda: ask(port, headers=[("authorization", f"bearer {secret}")]).status == 200, seconds=30)


def test_a_revoked_token_is_refused_within_seconds_and_the_answer_says_since_when(port: int, tokens: Tokens) -> None:
    secret = made(tokens, "leaving")
    wait_until(lambda: ask(port, token=secret).status == 200, seconds=30)
    tokens.revoke("leaving", now_us())
    wait_until(lambda: ask(port, token=secret).status == 401, "the token is refused", seconds=30)
    assert "it was revoked at" in ask(port, token=secret).body["error"]["message"]


def test_an_expired_token_is_refused(port: int, tokens: Tokens) -> None:
    secret = made(tokens, "short", lifetime=timedelta(microseconds=1))
    wait_until(lambda: "expired at" in ask(port, token=secret).body["error"]["message"], seconds=30)
    assert ask(port, token=secret).status == 401


def test_a_caller_that_lacks_a_permission_gets_403_with_what_it_may(port: int, tokens: Tokens) -> None:
    reader, admin = made(tokens, "reader"), made(tokens, "prometheus", ADMIN)
    wait_until(lambda: ask(port, "/metrics", token=admin).status == 200, seconds=30)
    answer = ask(port, "/metrics", token=reader)
    assert (answer.status, answer.body["error"]["kind"]) == (403, "PermissionDeniedError")
    assert answer.body["error"]["message"] == "'reader' lacks the permission admin."
    assert answer.body["error"]["hint"] == "It may read-online."


def test_health_needs_no_token_and_unknown_paths_do(port: int) -> None:
    assert ask(port, "/health").status == 200
    assert [ask(port, path).status for path in ("/nowhere", "/health/", "/healthy", "//health")] == [401] * 4


def test_a_token_of_the_issuer_names_its_caller(port: int, issuer: OidcIssuer, key: SigningKey) -> None:
    assert ask(port, token=key.sign(issuer.claims(groups=["ml"]))).body == {"caller": "kim"}
    assert ask(port, "/metrics", token=key.sign(issuer.claims(groups=["ml"]))).status == 403
    assert ask(port, token=key.sign(issuer.claims(exp=int(time.time()) - 600))).status == 401


def test_without_authentication_everybody_may_do_everything() -> None:
    with served(None) as port:
        assert ask(port).body == {"caller": "anyone"}
        assert ask(port, "/metrics").status == 200


# --- the access log


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_the_access_log_says_who_asked_for_what_and_contains_no_token(tmp_path: Path, tokens: Tokens) -> None:
    log = access_log_of(tmp_path / "access.jsonl", has_authentication=True)
    assert log is not None
    secret = made(tokens, "logged")
    with served(Authenticator(KnownTokens(tokens, time.monotonic), None, now_us), log) as port:
        ask(port, f"/whoami?token={secret}", token=secret)
        ask(port, "/metrics", token=secret)
        ask(port, token=secret + "x")
        ask(port, f"/{secret}", token=secret)
        ask(port, "/health")
        wait_until(lambda: len(lines_of(tmp_path / "access.jsonl")) == 4, "all is logged")
    log.close()
    text = (tmp_path / "access.jsonl").read_text()
    assert secret not in text
    assert secret.rpartition("_")[2] not in text
    found = lines_of(tmp_path / "access.jsonl")
    assert [(one["caller"], one["path"], one["status"]) for one in found] == [
        ("logged", "/whoami", 200),
        ("logged", "/metrics", 403),
        (None, None, 401),
        ("logged", None, 404),
    ]
    assert (found[0]["rows"], found[0]["method"], found[0]["from"]) == (3, "GET", "127.0.0.1")
    assert found[2]["refused"] == "NotAuthenticatedError"
    assert found[0]["duration_ms"] > 0
    assert found[0]["time"].endswith("Z")


def test_a_file_that_another_tool_moves_away_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    log = access_log_of(path, has_authentication=False)
    assert log is not None
    log.write({"number": 1})
    os.replace(path, tmp_path / "access.jsonl.1")
    log.write({"number": 2})
    log.close()
    assert lines_of(tmp_path / "access.jsonl.1") == [{"number": 1}]
    assert lines_of(path) == [{"number": 2}]


def test_a_name_with_line_breaks_makes_no_second_line(tmp_path: Path) -> None:
    log = access_log_of(tmp_path / "access.jsonl", has_authentication=False)
    assert log is not None
    log.write({"asked": ['x\n{"caller": "somebody else"}']})
    log.close()
    assert len((tmp_path / "access.jsonl").read_text().splitlines()) == 1


def test_where_the_access_log_goes(tmp_path: Path) -> None:
    assert access_log_of(None, has_authentication=False) is None
    assert access_log_of(None, has_authentication=True) is not None
    assert access_log_of(Path("-"), has_authentication=False) is not None
    assert access_log_of(Path("none"), has_authentication=True) is None
    with pytest.raises(ConfigError, match="cannot be written: No such file or directory"):
        access_log_of(tmp_path / "nowhere" / "access.jsonl", has_authentication=True)


def test_the_first_token_closes_a_server_that_runs(tmp_path: Path) -> None:
    tokens = Tokens(LocalState(tmp_path))
    known = KnownTokens(tokens, time.monotonic, every_s=0)
    with served(Authenticator(known, None, now_us, until_first_token=True)) as port:
        assert ask(port).body == {"caller": "anyone"}
        secret = made(tokens, "first")
        assert ask(port).status == 401
        assert ask(port, token=secret).body == {"caller": "first"}
        (tmp_path / "tokens.json").unlink()
        assert ask(port).status == 401
