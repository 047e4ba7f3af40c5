from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest

from headrace.config import OidcGrant, OidcSettings, Permission
from headrace.errors import AuthUnavailableError, NotAuthenticatedError
from headrace.serving.identity import Caller, Grant
from headrace.serving.issuer_keys import IssuerKeys
from headrace.serving.oidc import OidcCallers, grants_of
from tests.servers.oidc_issuer import OidcIssuer, SigningKey
from tests.waits import wait_until

READER = OidcGrant(claim="groups", value="ml", may=(Permission.READ_ONLINE,), services=("desk",))


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(scope="module")
def rsa_key() -> SigningKey:
    return SigningKey("one")


@pytest.fixture(scope="module")
def ec_key() -> SigningKey:
    return SigningKey("two", "ES256")


@pytest.fixture(scope="module")
def stranger() -> SigningKey:
    return SigningKey("one")


@pytest.fixture
def issuer(rsa_key: SigningKey, ec_key: SigningKey) -> Iterator[OidcIssuer]:
    with OidcIssuer(rsa_key, ec_key) as issuer:
        yield issuer


def settings_of(issuer: OidcIssuer, **more: Any) -> OidcSettings:
    return OidcSettings(issuer=issuer.url, audience="features", grants=(READER,), **more)


def callers_of(issuer: OidcIssuer, clock: Callable[[], float] = time.monotonic, **more: Any) -> OidcCallers:
    settings = settings_of(issuer, **more)
    return OidcCallers(settings, IssuerKeys(settings, clock))


def found(callers: OidcCallers, token: str) -> Caller:
    return asyncio.run(callers.find(token))


def refusal(callers: OidcCallers, token: str) -> str:
    with pytest.raises(NotAuthenticatedError) as refused:
        found(callers, token)
    assert len(token) < 20 or token not in str(refused.value)
    return refused.value.what.removeprefix("The token is not valid: ").removesuffix(".")


def part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_signed_token_gives_its_caller_with_what_its_claims_grant(
    issuer: OidcIssuer, rsa_key: SigningKey, ec_key: SigningKey, algorithm: str
) -> None:
    key = rsa_key if algorithm == "RS256" else ec_key
    caller = found(callers_of(issuer), key.sign(issuer.claims(groups=["ops", "ml"])))
    assert caller == Caller("kim", (Grant(frozenset({Permission.READ_ONLINE}), frozenset({"desk"})),))
    assert found(callers_of(issuer), key.sign(issuer.claims(groups=["ops"]))).grants == ()


def test_an_expired_token_is_refused_also_when_it_was_known(issuer: OidcIssuer, rsa_key: SigningKey) -> None:
    callers = callers_of(issuer, leeway=0)
    assert refusal(callers, rsa_key.sign(issuer.claims(exp=int(time.time()) - 1))) == "it has expired"
    short = rsa_key.sign(issuer.claims(exp=int(time.time()) + 2))
    assert found(callers, short).name == "kim"
    expires = jwt.decode(short, options={"verify_signature": False})["exp"]
    wait_until(lambda: time.time() >= expires)
    assert refusal(callers, short) == "it has expired"


def test_clocks_may_differ_by_the_leeway_and_no_more(issuer: OidcIssuer, rsa_key: SigningKey) -> None:
    callers, now = callers_of(issuer, leeway=60), int(time.time())
    assert found(callers, rsa_key.sign(issuer.claims(exp=now - 30))).name == "kim"
    assert found(callers, rsa_key.sign(issuer.claims(nbf=now + 30, iat=now + 30))).name == "kim"
    assert refusal(callers, rsa_key.sign(issuer.claims(exp=now - 90))) == "it has expired"
    assert "clocks" in refusal(callers, rsa_key.sign(issuer.claims(nbf=now + 120)))
    assert "clocks" in refusal(callers, rsa_key.sign(issuer.claims(iat=now + 120)))


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"aud": "billing"}, "it is meant for another audience"),
        ({"aud": ["billing", "mail"]}, "it is meant for another audience"),
        ({"aud": None}, "it lacks a claim: iss, aud and exp are needed"),
        ({"iss": "https://login.example.com/"}, "another issuer made it"),
        ({"iss": None}, "it lacks a claim: iss, aud and exp are needed"),
        ({"exp": None}, "it lacks a claim: iss, aud and exp are needed"),
    ],
)
def test_a_token_for_somebody_else_is_refused(
    issuer: OidcIssuer, rsa_key: SigningKey, claims: dict[str, Any], why: str
) -> None:
    assert refusal(callers_of(issuer), rsa_key.sign(issuer.claims(**claims))) == why


def test_a_list_of_audiences_may_contain_ours(issuer: OidcIssuer, rsa_key: SigningKey) -> None:
    assert found(callers_of(issuer), rsa_key.sign(issuer.claims(aud=["mail", "features"]))).name == "kim"


def test_a_key_of_another_issuer_is_refused_whatever_it_calls_itself(issuer: OidcIssuer, stranger: SigningKey) -> None:
    assert refusal(callers_of(issuer), stranger.sign(issuer.claims())) == "its signature is wrong"
    assert refusal(callers_of(issuer), stranger.sign(issuer.claims(), kid="other")) == "the issuer has no such key"


def test_the_algorithm_none_and_signatures_by_a_public_key_are_refused(issuer: OidcIssuer, rsa_key: SigningKey) -> None:
    callers = callers_of(issuer)
    for algorithm in ("none", "None", "HS256", "RS1", None, 5):
        forged = f"{part({'alg': algorithm, 'kid': 'one'})}.{part(issuer.claims(groups=['ml']))}."
        assert refusal(callers, forged).startswith(("it is signed by", "it is neither"))
    assert refusal(callers, f"{part({'kid': 'one'})}.{part(issuer.claims())}.").startswith(
        ("it is signed by None", "it is neither")
    )


def test_a_key_signs_only_by_the_algorithm_of_its_kind(
    issuer: OidcIssuer, rsa_key: SigningKey, ec_key: SigningKey
) -> None:
    # The header says ES256 and names the RSA key.
    assert refusal(callers_of(issuer), ec_key.sign(issuer.claims(), kid="one")) == "the issuer has no such key"


def test_an_accepted_algorithm_must_be_in_the_settings(issuer: OidcIssuer, ec_key: SigningKey) -> None:
    said = refusal(callers_of(issuer, algorithms=("RS256",)), ec_key.sign(issuer.claims()))
    assert said == "it is signed by 'ES256'; accepted are RS256"


@pytest.mark.parametrize("token", ["x", "a.b", "a.b.c", "....", "eyJhbGciOiJSUzI1NiJ9.e30.", "\x00", "é.é.é"])
def test_a_text_that_is_no_token_is_refused(issuer: OidcIssuer, token: str) -> None:
    refusal(callers_of(issuer), token)


def test_a_changed_token_is_refused(issuer: OidcIssuer, rsa_key: SigningKey) -> None:
    header, _, signature = rsa_key.sign(issuer.claims(groups=["ops"])).split(".")
    forged = f"{header}.{part(issuer.claims(groups=['ml']))}.{signature}"
    assert refusal(callers_of(issuer), forged) == "its signature is wrong"


def test_keys_are_kept_and_a_new_key_is_fetched_at_once(issuer: OidcIssuer, rsa_key: SigningKey) -> None:
    clock = Clock()
    callers = callers_of(issuer, clock)
    for number in range(5):
        assert found(callers, rsa_key.sign(issuer.claims(jti=str(number)))).name == "kim"
    assert issuer.asked == 1
    new = SigningKey("three", "ES256")
    issuer.keys = [new]
    clock.seconds += 5
    assert found(callers, new.sign(issuer.claims())).name == "kim"
    assert issuer.asked == 2


def test_a_withdrawn_key_is_refused_once_the_keys_are_old(issuer: OidcIssuer, rsa_key: SigningKey) -> None:
    clock = Clock()
    callers = callers_of(issuer, clock, keys_for=60)
    token = rsa_key.sign(issuer.claims())

    async def until_refused() -> None:
        while (await callers.find(token)).name == "kim":
            await asyncio.sleep(0.001)

    async def story() -> None:
        assert (await callers.find(token)).name == "kim"
        issuer.keys = [SigningKey("three", "ES256")]
        clock.seconds += 59
        assert (await callers.find(token)).name == "kim"
        clock.seconds += 2
        await callers.find(token)  # nobody waits for the fetch that this begins
        while issuer.asked < 2:
            await asyncio.sleep(0.001)
        with pytest.raises(NotAuthenticatedError, match="no such key"):
            await until_refused()

    asyncio.run(asyncio.wait_for(story(), 60))


def test_invented_key_ids_do_not_make_the_server_ask_the_issuer_each_time(
    issuer: OidcIssuer, stranger: SigningKey
) -> None:
    clock = Clock()
    callers = callers_of(issuer, clock)
    for number in range(20):
        refusal(callers, stranger.sign(issuer.claims(), kid=f"invented {number}"))
    assert issuer.asked == 1
    clock.seconds += 6
    for number in range(20):
        refusal(callers, stranger.sign(issuer.claims(), kid=f"invented {number}"))
    assert issuer.asked == 2


def test_many_callers_at_once_fetch_the_keys_once(issuer: OidcIssuer, rsa_key: SigningKey) -> None:
    callers = callers_of(issuer)

    async def all_at_once() -> list[Caller]:
        tokens = [rsa_key.sign(issuer.claims(jti=str(number))) for number in range(10)]
        return list(await asyncio.gather(*map(callers.find, tokens)))

    assert {caller.name for caller in asyncio.run(all_at_once())} == {"kim"}
    assert issuer.asked == 1


def test_an_issuer_that_is_away_is_bridged_while_its_keys_are_not_too_old(
    issuer: OidcIssuer, rsa_key: SigningKey
) -> None:
    clock = Clock()
    callers = callers_of(issuer, clock, keys_for=60)

    async def story() -> None:
        assert (await callers.find(rsa_key.sign(issuer.claims()))).name == "kim"
        issuer.is_away = True
        clock.seconds += 119
        assert (await callers.find(rsa_key.sign(issuer.claims(jti="x")))).name == "kim"
        clock.seconds += 2
        with pytest.raises(AuthUnavailableError, match="cannot be fetched"):
            await callers.find(rsa_key.sign(issuer.claims(jti="y")))
        issuer.is_away = False
        clock.seconds += 6
        assert (await callers.find(rsa_key.sign(issuer.claims(jti="z")))).name == "kim"

    asyncio.run(story())


def test_an_issuer_that_was_never_there_is_a_try_again_and_not_a_refusal(
    issuer: OidcIssuer, rsa_key: SigningKey
) -> None:
    issuer.is_away = True
    with pytest.raises(AuthUnavailableError):
        found(callers_of(issuer), rsa_key.sign(issuer.claims()))


def test_keys_of_unknown_kinds_and_for_other_uses_are_left_out(issuer: OidcIssuer, rsa_key: SigningKey) -> None:
    secret = SigningKey("encrypts")
    secret.jwk["use"] = "enc"
    issuer.keys.append(secret)
    odd = SigningKey("odd")
    odd.jwk = {"kid": "odd", "kty": "quantum"}
    issuer.keys.append(odd)
    symmetric = SigningKey("symmetric")
    symmetric.jwk = {"kid": "symmetric", "kty": "oct", "k": "c2VjcmV0"}
    issuer.keys.append(symmetric)
    callers = callers_of(issuer)
    assert found(callers, rsa_key.sign(issuer.claims())).name == "kim"
    assert refusal(callers, secret.sign(issuer.claims())) == "the issuer has no such key"


@pytest.mark.parametrize(
    ("claims", "is_granted"),
    [
        ({"groups": ["ml"]}, True),
        ({"groups": "ml"}, True),
        ({"groups": "ops ml"}, True),
        ({"groups": ["mlx", "m l"]}, False),
        ({"groups": {"ml": True}}, False),
        ({"groups": [["ml"]]}, False),
        ({"groups": None}, False),
        ({}, False),
    ],
)
def test_a_claim_grants_by_its_value(claims: dict[str, Any], is_granted: bool) -> None:
    settings = OidcSettings(issuer="https://login.example.com/", audience="features", grants=(READER,))
    assert bool(grants_of(settings, claims)) is is_granted


@pytest.mark.parametrize(
    ("claim", "value", "claims"),
    [
        ("realm_access.roles", "reader", {"realm_access": {"roles": ["reader"]}}),
        ("https://example.com/roles", "reader", {"https://example.com/roles": ["reader"]}),
        ("scope", "features:read", {"scope": "openid features:read"}),
        ("email_verified", "true", {"email_verified": True}),
    ],
)
def test_claims_may_be_nested_named_by_urls_or_lists_of_words(claim: str, value: str, claims: dict[str, Any]) -> None:
    grant = OidcGrant(claim=claim, value=value, may=(Permission.ADMIN,))
    settings = OidcSettings(issuer="https://login.example.com/", audience="features", grants=(grant,))
    assert grants_of(settings, claims) == (Grant(frozenset({Permission.ADMIN})),)
    assert grants_of(settings, {}) == ()


def test_the_caller_may_be_named_by_another_claim(issuer: OidcIssuer, rsa_key: SigningKey) -> None:
    callers = callers_of(issuer, name_claim="email")
    assert found(callers, rsa_key.sign(issuer.claims(email="kim@example.com"))).name == "kim@example.com"
    assert found(callers, rsa_key.sign(issuer.claims(jti="2"))).name == "kim"
