from __future__ import annotations

from pathlib import Path

import pytest

from headrace.config import Project
from headrace.errors import ConfigError
from headrace.serving.app import create_app
from headrace.serving.exposure import check_exposure, has_authentication
from headrace.serving.identity import Grant, Permission
from headrace.serving.settings import ServerSettings
from headrace.serving.tokens import Tokens


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.8.9.1", "LOCALHOST"])
def test_loopback_serves_anyone(host: str) -> None:
    check_exposure(host, has_authentication=False, insecure=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.1.2.3", "features.example.com", "localhost.example.com"])  # noqa: S104
def test_any_other_address_needs_authentication_or_a_persons_word(host: str) -> None:
    with pytest.raises(ConfigError, match="nobody has to sign in") as refused:
        check_exposure(host, has_authentication=False, insecure=False)
    assert "headrace token create" in str(refused.value.hint)
    assert "--insecure" in str(refused.value.hint)
    check_exposure(host, has_authentication=True, insecure=False)
    check_exposure(host, has_authentication=False, insecure=True)


def test_a_token_or_an_issuer_is_authentication(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("[headrace]\n")
    project = Project.load(tmp_path)
    assert not has_authentication(project)
    tokens = Tokens(project.serve_state)
    tokens.create("job", Grant(frozenset({Permission.ADMIN})), 1)
    assert has_authentication(project)
    tokens.revoke("job", 2)
    assert has_authentication(project)  # revoking the last token does not open the server
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "headrace.toml").write_text(
        '[serve.oidc]\nissuer = "https://login.example.com/"\naudience = "features"\n'
        '[[serve.oidc.grants]]\nclaim = "groups"\nvalue = "ml"\nmay = ["read-online"]\nviews = ["*"]\n'
    )
    assert has_authentication(Project.load(tmp_path / "other"))


def test_a_worker_does_not_start_for_everybody_where_the_tokens_are_gone(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("[headrace]\n")
    with pytest.raises(ConfigError, match="nobody has to sign in"):
        create_app(ServerSettings(tmp_path, host="0.0.0.0"))  # noqa: S104
    with pytest.raises(ConfigError, match="had to sign in when the server started"):
        create_app(ServerSettings(tmp_path, signs_in=True))
    Tokens(Project.load(tmp_path).serve_state).create("job", Grant(frozenset({Permission.ADMIN})), 1)
    create_app(ServerSettings(tmp_path, host="0.0.0.0", signs_in=True))  # noqa: S104
