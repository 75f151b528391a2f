"""What an access token is worth, for how long, at which doors; and which keys an agency may register."""

import logging
import timeit
import warnings
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from joserfc import jwk

from hub.core.errors import HubError, Kind
from hub.identity.agency_keys import agency_key, agency_keys
from hub.identity.agency_tokens import Caller, RecentTokens
from hub.identity.token_keys import token_key
from tests.agency_world import CANARY, EVER, ISSUER, NOW_US, S, World, sign


@pytest.fixture(name="world")
def fresh_world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_token_opens_only_the_doors_of_its_scopes(world: World) -> None:
    """Without the scope: 403, insufficient_scope. Without a token: 401 and no error code (RFC 6750 3.1)."""
    lacking = world.call(world.token("agency:read"))
    assert (lacking.status_code, lacking.headers["content-type"]) == (403, "application/problem+json")
    assert 'error="insufficient_scope"' in lacking.headers["www-authenticate"]
    nothing = world.client.get("/v1/events")
    assert (nothing.status_code, nothing.headers["www-authenticate"]) == (401, 'Bearer realm="hub"')
    assert nothing.json()["type"].endswith("/token-missing")


def test_a_token_ends_after_five_minutes_also_where_it_is_remembered(world: World) -> None:
    """Good until just before exp; afterwards 401 invalid_token, saying since when."""
    token = world.token()
    world.now_us = NOW_US + 300 * S - 1
    assert world.call(token).status_code == 200
    world.now_us = NOW_US + 307 * S
    for _ in range(2):
        answer = world.call(token)
        assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (401, "token-expired")
        assert "7 s ago" in answer.json()["detail"]
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_nothing_but_the_hubs_own_access_token_opens_a_door(world: World) -> None:
    """Not an assertion, not another hub's token, not a token with another type, a changed one, or none at all."""
    own = token_key(world.seed)
    now_s = NOW_US // S
    claims = {"iss": ISSUER, "aud": ISSUER, "sub": "lindum", "client_id": "lindum", "iat": now_s, "exp": now_s + 300}
    claims |= {"jti": "x", "scope": "events:write"}
    kid = own.thumbprint()
    good = sign(claims, own, typ="at+jwt", kid=kid)
    assert world.call(good).status_code == 200
    head, body, signature = good.split(".")
    bad = [
        world.assertion(),
        sign(claims, own, typ="JWT", kid=kid),
        sign({**claims, "aud": "https://other.example"}, own, typ="at+jwt", kid=kid),
        sign({**claims, "iss": "https://other.example"}, own, typ="at+jwt", kid=kid),
        sign(claims, jwk.OKPKey.generate_key("Ed25519"), typ="at+jwt", kid=kid),
        sign(claims, world.private, typ="at+jwt"),
        f"{head}.{body}.{signature[:-4]}AAAA",
        f"{head}.{body}.",
        CANARY,
        "\u00e9\u00e9",
    ]
    for token in bad:
        answer = world.client.get("/v1/events", headers=[(b"authorization", b"Bearer " + token.encode("latin-1"))])
        assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (401, "token-invalid")
        assert CANARY not in answer.text


def test_the_memory_of_tokens_is_bounded_and_forgets_the_least_used() -> None:
    """Three fit: the fourth pushes out the one that was used longest ago."""
    recent = RecentTokens(limit=3)
    for digest in (b"a", b"b", b"c"):
        recent.add(digest, Caller(digest.decode(), frozenset(), ""), exp_us=10)
    assert recent.get(b"a", now_us=0)
    recent.add(b"d", Caller("d", frozenset(), ""), exp_us=10)
    assert [recent.get(digest, now_us=0) is not None for digest in (b"a", b"b", b"c", b"d")] == [
        True,
        False,
        True,
        True,
    ]
    assert recent.get(b"a", now_us=10) is None


def test_a_known_token_is_told_in_microseconds(world: World) -> None:
    """The second look at a token costs a hash and a look-up: below 20 us, where verifying takes more than 100."""
    token = world.token()
    world.tokens.authenticate(token, now_us=NOW_US)
    best_s = min(timeit.repeat(lambda: world.tokens.authenticate(token, now_us=NOW_US), number=1_000, repeat=5)) / 1_000
    assert best_s < 20e-6


def test_neither_assertion_nor_token_is_in_any_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Also with every library at its most talkative."""
    caplog.set_level(logging.DEBUG)
    assertion = world.assertion()
    token = world.ask(assertion).json()["access_token"]
    world.call(token)
    world.ask(assertion)
    said = world.said.getvalue() + caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    assert assertion.rpartition(".")[2] not in said
    assert token.rpartition(".")[2] not in said


def test_keys_that_are_private_weak_or_not_for_signing_are_refused() -> None:
    """What is registered is a public key of an accepted kind; a private one counts as leaked."""
    good = jwk.ECKey.generate_key("P-256")
    public = {**good.as_dict(private=False), "kid": "k"}
    assert agency_key({**public, "use": "sig", "alg": "ES256"}, **EVER).algorithms == ("ES256",)
    ed448 = jwk.OKPKey.import_key(Ed448PrivateKey.generate().public_key())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # joserfc also finds 1024 bit too short
        weak = jwk.RSAKey.generate_key(1024)
    bad: list[dict[str, Any]] = [
        {**good.as_dict(private=True), "kid": "k"},
        {**public, "use": "enc"},
        {**public, "alg": "PS256"},
        {**public, "kid": "a b"},
        {**public, "x": "AAAA"},
        {**public, "x": 7},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "k"},
        {"kty": "odd", "kid": "k"},
        {"kid": "k"},
        {**jwk.ECKey.generate_key("P-384").as_dict(private=False), "kid": "k"},
        {**ed448.as_dict(private=False), "kid": "k"},
        {**weak.as_dict(private=False), "kid": "k"},
    ]
    for members in bad:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # again about the 1024 bit
            with pytest.raises(HubError) as caught:
                agency_key(members, **EVER)
        assert (caught.value.kind, caught.value.code) == (Kind.INVALID, "key-refused")
    assert [key.kid for key in agency_keys({"keys": [public, {**public, "kid": "k2"}]}, **EVER)] == ["k", "k2"]
    sets: list[dict[str, Any]] = [{}, {"keys": []}, {"keys": [public, public]}, {"keys": [1]}]
    for jwks in sets:
        with pytest.raises(HubError):
            agency_keys(jwks, **EVER)


@pytest.mark.parametrize("issuer", ["http://hub.example", "https://hub.example/", "https://hub.example/x", "hub", ""])
def test_an_issuer_that_agencies_could_not_name_exactly_is_refused_at_start(world: World, issuer: str) -> None:
    """https without path, or http on loopback."""
    with pytest.raises(HubError) as caught:
        world.start(issuer=issuer)
    assert caught.value.kind is Kind.STARTUP
