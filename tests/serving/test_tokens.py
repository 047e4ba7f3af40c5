from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import AuthUnavailableError, ConfigError
from headrace.serving.identity import Grant, Permission
from headrace.serving.tokens import KnownTokens, Tokens
from headrace.state import LocalState, MemoryState, State, Stored

NOW = 1_700_000_000_000_000
READ = Grant(frozenset({Permission.READ_ONLINE}), frozenset({"desk"}))


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(MemoryState())


def test_a_token_is_shown_once_and_stored_as_a_hash(tmp_path: Path) -> None:
    tokens = Tokens(LocalState(tmp_path))
    _, secret = tokens.create("model server", READ, NOW)
    assert secret.startswith("hr_")
    stored = (tmp_path / "tokens.json").read_text()
    assert secret not in stored
    assert secret.rpartition("_")[2] not in stored
    assert json.loads(stored)["tokens"][0]["may"] == ["read-online"]


def test_two_tokens_are_never_the_same_and_have_256_random_bits(tokens: Tokens) -> None:
    secrets = {tokens.create(f"server {number}", READ, NOW)[1] for number in range(20)}
    assert len(secrets) == 20
    assert all(len(secret.split("_", 2)[2]) == 43 for secret in secrets)


def test_a_token_finds_its_caller_and_anything_else_finds_nobody(tokens: Tokens) -> None:
    made, secret = tokens.create("model server", READ, NOW)
    known = KnownTokens(tokens, Clock())
    found = known.find(secret, NOW)
    assert found is not None
    assert (found[0], found[1].name, found[1].grants) == (made, "model server", (READ,))
    wrong = [
        secret[:-1],
        secret + "x",
        secret.upper(),
        f"hr_{made.id}_",
        "hr_",
        "",
        made.hashed,
        f"hr_{'0' * 12}_abc",
        "é",
    ]
    assert [known.find(one, NOW) for one in wrong] == [None] * len(wrong)


def test_a_running_server_sees_a_new_and_a_revoked_token_within_a_second(tokens: Tokens) -> None:
    clock = Clock()
    known = KnownTokens(tokens, clock)
    assert known.find("hr_x", NOW) is None
    _, secret = tokens.create("model server", READ, NOW)
    assert known.find(secret, NOW) is None
    clock.seconds += 1
    assert known.find(secret, NOW) is not None
    tokens.revoke("model server", NOW + 5)
    clock.seconds += 1
    found = known.find(secret, NOW + 6)
    assert found is not None
    assert found[0].status(NOW + 6) == "revoked"


def test_a_token_expires_at_its_time(tokens: Tokens) -> None:
    token, _ = tokens.create("job", READ, NOW, timedelta(days=30))
    end = NOW + 30 * 86_400_000_000
    assert [token.status(us) for us in (NOW, end - 1, end)] == ["valid", "valid", "expired"]


def test_a_name_is_taken_while_its_token_is_valid(tokens: Tokens) -> None:
    tokens.create("job", READ, NOW, timedelta(seconds=1))
    with pytest.raises(ConfigError, match="valid token named 'job' already"):
        tokens.create("job", READ, NOW)
    tokens.create("job", READ, NOW + 2_000_000)
    tokens.revoke("job", NOW + 3_000_000)
    tokens.create("job", READ, NOW + 4_000_000)
    assert [one.status(NOW + 5_000_000) for one in tokens.read().values()] == ["revoked", "revoked", "valid"]


def test_a_token_is_revoked_by_name_or_id_and_keeps_its_first_time(tokens: Tokens) -> None:
    token, _ = tokens.create("job", READ, NOW)
    assert [one.name for one in tokens.revoke(token.id, NOW + 1)] == ["job"]
    assert tokens.revoke("job", NOW + 2) == []
    assert tokens.read()[token.id].revoked_us == NOW + 1
    with pytest.raises(ConfigError, match="no token named 'jobs'") as error:
        tokens.revoke("jobs", NOW)
    assert error.value.hint == "Tokens: job."


@pytest.mark.parametrize(
    ("grant", "lifetime", "what"),
    [
        (Grant(frozenset()), None, "would permit nothing"),
        (Grant(frozenset({Permission.READ_ONLINE})), None, "permit read-online of nothing"),
        (Grant(frozenset({Permission.WRITE}), frozenset({"desk"})), None, "names no view"),
        (READ, timedelta(0), "valid for some time"),
    ],
)
def test_a_token_that_permits_nothing_is_refused(
    tokens: Tokens, grant: Grant, lifetime: timedelta | None, what: str
) -> None:
    with pytest.raises(ConfigError, match=what):
        tokens.create("job", grant, NOW, lifetime)
    assert tokens.read() == {}


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 101])
def test_a_name_that_cannot_stand_in_a_log_is_refused(tokens: Tokens, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be named"):
        tokens.create(name, READ, NOW)


def test_an_admin_token_needs_no_service(tokens: Tokens) -> None:
    tokens.create("prometheus", Grant(frozenset({Permission.ADMIN})), NOW)
    assert len(tokens.read()) == 1


@pytest.mark.parametrize("text", ["", "[]", '{"tokens": [{"id": "x"}]}', '{"tokens": 5}'])
def test_damaged_tokens_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokens.json").write_text(text)
    with pytest.raises(ConfigError, match=r"tokens\.json cannot be read"):
        Tokens(LocalState(tmp_path)).read()


class AwayState(MemoryState):
    """A state that can be away."""

    is_away = False

    def read(self, name: str) -> Stored | None:
        self._refuse()
        return super().read(name)

    def version(self, name: str) -> str | None:
        self._refuse()
        return super().version(name)

    def _refuse(self) -> None:
        if self.is_away:
            msg = "away"
            raise OSError(msg)


def test_a_state_that_is_away_is_bridged_for_seconds_and_then_refuses() -> None:
    state, clock = AwayState(), Clock()
    tokens = Tokens(state)
    _, secret = tokens.create("job", READ, NOW)
    known = KnownTokens(tokens, clock, grace_s=10)
    assert known.find(secret, NOW) is not None
    state.is_away = True
    clock.seconds += 9
    assert known.find(secret, NOW) is not None
    clock.seconds += 2
    with pytest.raises(AuthUnavailableError, match="cannot read its tokens"):
        known.find(secret, NOW)
    state.is_away = False
    clock.seconds += 1
    assert known.find(secret, NOW) is not None


def test_two_processes_that_make_tokens_at_once_lose_none() -> None:
    class Interrupted(MemoryState):
        """Another process makes a token between reading and writing."""

        others: list[Any] = [lambda: Tokens(self_state).create("other", READ, NOW)]

        def write(self, name: str, data: bytes, **options: Any) -> str:
            if self.others:
                self.others.pop()()
            return super().write(name, data, **options)

    self_state: State = Interrupted()
    Tokens(self_state).create("mine", READ, NOW)
    assert sorted(one.name for one in Tokens(self_state).read().values()) == ["mine", "other"]


def test_damaged_tokens_refuse_everybody_without_saying_where_they_are(caplog: pytest.LogCaptureFixture) -> None:
    state = MemoryState()
    _, secret = Tokens(state).create("job", READ, NOW)
    state.write("tokens.json", b"{")
    known = KnownTokens(Tokens(state), Clock())
    for _ in range(2):
        with pytest.raises(AuthUnavailableError) as refused:
            known.find(secret, NOW)
        assert refused.value.what == "The server cannot read its tokens now."
    assert [record.message.count("tokens.json") > 0 for record in caplog.records] == [True]
