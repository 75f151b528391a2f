"""Agencies sign in: who gets a token, who is refused, and in which words."""

import base64
import json
import socket
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwk, jws

from hub.core.errors import HubError
from hub.identity.agency_keys import DECOYS, key_for
from hub.identity.assertions import CLOCK_SKEW_S, Assertion, believed
from hub.web.quota import Quota
from hub.web.sign_in import ASSERTION_TYPE
from tests.agency_world import CANARY, ISSUER, NOW_US, S, World, refusal, registered, sign
from tests.doors import served


@pytest.fixture(name="world")
def fresh_world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize(
    ("alg", "make"),
    [
        ("ES256", lambda: jwk.ECKey.generate_key("P-256")),
        ("PS256", lambda: jwk.RSAKey.generate_key(2048)),
        ("EdDSA", lambda: jwk.OKPKey.generate_key("Ed25519")),
        ("Ed25519", lambda: jwk.OKPKey.generate_key("Ed25519")),
    ],
)
def test_an_agency_signs_in_with_each_accepted_algorithm(world: World, alg: str, make: Callable[[], jwk.Key]) -> None:
    """ES256, PS256 and Ed25519 under both of its names lead to a token that opens a door."""
    private = make()
    world.keys["lindum"] = (registered(private, "k1"),)
    answer = world.ask(sign(world.claims(), private, alg=alg))
    assert answer.status_code == 200
    assert answer.json()["token_type"] == "Bearer"
    assert answer.json()["expires_in"] == 300
    assert answer.headers["cache-control"] == "no-store"
    assert world.call(answer.json()["access_token"]).json()[0] == "lindum"


def test_the_access_token_has_the_form_of_rfc_9068(world: World) -> None:
    """typ at+jwt, and iss, sub, client_id, aud, exp, iat, jti, scope; verifiable with the published key set."""
    token = world.token("agency:read")
    published = world.client.get("/.well-known/jwks.json")
    assert published.headers["content-type"] == "application/jwk-set+json"
    assert all("d" not in key for key in published.json()["keys"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of joserfc, about the name EdDSA
        checked = jws.deserialize_compact(token, jwk.KeySet.import_key_set(published.json()), algorithms=["EdDSA"])
    assert checked.headers()["typ"] == "at+jwt"
    claims = json.loads(checked.payload or b"")
    assert len(claims.pop("jti")) >= 16
    now_s = NOW_US // S
    assert claims == {
        "iss": ISSUER,
        "sub": "lindum",
        "client_id": "lindum",
        "aud": ISSUER,
        "iat": now_s,
        "exp": now_s + 300,
        "scope": "agency:read",
    }


def test_the_metadata_names_what_the_server_does(world: World) -> None:
    """RFC 8414: a client finds the token endpoint, the keys, the method and the algorithms."""
    metadata = world.client.get("/.well-known/oauth-authorization-server").json()
    assert metadata["issuer"] == ISSUER
    assert metadata["token_endpoint"] == f"{ISSUER}/oauth/token"
    assert metadata["token_endpoint_auth_methods_supported"] == ["private_key_jwt"]
    assert metadata["token_endpoint_auth_signing_alg_values_supported"] == ["ES256", "PS256", "EdDSA", "Ed25519"]


@pytest.mark.parametrize(
    ("rights", "scopes"),
    [
        ((), "agency:read"),
        (("publish",), "agency:read events:write deliveries:read agreements:write ways-out:write"),
        (
            ("subscribe",),
            "agency:read deliveries:read agreements:write ways-out:write consent-requests:write asks:write",
        ),
        (("link",), "agency:read links:write"),
    ],
)
def test_each_right_grants_its_scopes_and_no_other(world: World, rights: tuple[str, ...], scopes: str) -> None:
    """Without a requested scope an agency gets all that its rights hold."""
    world.rights = {"lindum": frozenset(rights)}
    assert world.ask(world.assertion()).json()["scope"] == scopes
    assert world.ask(world.assertion(), scope="agency:read links:write").json()["scope"] == (
        "agency:read links:write" if "link" in rights else "agency:read"
    )


def test_keys_overlap_while_an_agency_rotates(world: World) -> None:
    """Old and new key both count during the overlap; before its beginning and from its end on a key does not."""
    old, new = jwk.OKPKey.generate_key("Ed25519"), jwk.ECKey.generate_key("P-256")
    begins, ends = NOW_US + 600 * S, NOW_US + 1200 * S
    world.keys["lindum"] = (registered(old, "old", until_us=ends), registered(new, "new", from_us=begins))

    def outcomes() -> tuple[int, int]:
        by_old = world.ask(sign(world.claims(), old, kid="old"))
        by_new = world.ask(sign(world.claims(), new, alg="ES256", kid="new"))
        return by_old.status_code, by_new.status_code

    seen = []
    for now_us in (begins - 1, begins, ends - 1, ends):
        world.now_us = now_us
        seen.append(outcomes())
    assert seen == [(200, 401), (200, 200), (200, 200), (401, 200)]


def test_unknown_agency_unknown_key_ended_key_and_bad_signature_are_one_answer(world: World) -> None:
    """Nobody can use the token endpoint to find out which agencies and keys exist."""
    stranger = jwk.OKPKey.generate_key("Ed25519")
    world.keys["lindum"] += (registered(stranger, "ended", until_us=NOW_US),)
    answers = [
        world.ask(sign(world.claims(), stranger)),
        world.ask(sign(world.claims(iss="nobody", sub="nobody"), stranger)),
        world.ask(sign(world.claims(), world.private, kid="k2")),
        world.ask(sign(world.claims(), stranger, kid="ended")),
        world.ask(sign(world.claims(aud="x", exp=1, jti=None), stranger)),  # content is not spoken of either
    ]
    for answer in answers:
        refusal(answer, "assertion-unverified")
    assert len({(answer.content, str(answer.headers)) for answer in answers}) == 1


@pytest.mark.parametrize("algorithm", sorted(DECOYS))
def test_an_unknown_key_costs_a_verification_with_the_same_algorithm(algorithm: str) -> None:
    """There is always a key to verify against, of the type that the algorithm needs."""
    key, own = key_for((), kid="k1", algorithm=algorithm, now_us=NOW_US)
    assert not own
    jws.JWSRegistry.algorithms[algorithm].check_key(key)


def test_whoever_can_sign_for_a_decoy_still_gets_nothing(world: World) -> None:
    """The decoys' private parts can be known (one is 1): a signature that verifies against one is refused like any."""
    one = base64.urlsafe_b64encode(b"\0" * 31 + b"\1").rstrip(b"=").decode()
    private = jwk.ECKey.import_key({**DECOYS["ES256"].as_dict(), "d": one})
    refusal(world.ask(sign(world.claims(iss="nobody", sub="nobody"), private, alg="ES256")), "assertion-unverified")


def test_other_algorithms_are_refused_even_with_a_registered_key(world: World) -> None:
    """RS256, none, HMAC with the public key as its secret, and Ed448 sign nobody in."""
    rsa = jwk.RSAKey.generate_key(2048)
    world.keys["lindum"] = (registered(rsa, "k1"),)
    secret = jwk.OctKey.import_key(rsa.as_pem(private=False).replace(b"-----", b""))
    for alg, key in (("RS256", rsa), ("PS384", rsa), ("HS256", secret), ("none", secret)):
        refusal(world.ask(sign(world.claims(), key, alg=alg)), "assertion-malformed")
    unsigned = sign(world.claims(), secret, alg="none").rstrip(".") + "."
    refusal(world.ask(unsigned), "assertion-malformed")
    refusal(world.ask(sign(world.claims(), rsa, alg="RS256").replace("RS256", "PS256")), "assertion-malformed")
    refusal(world.ask(sign(world.claims(), jwk.OctKey.generate_key(256), alg="HS256")), "assertion-malformed")


def test_an_algorithm_that_does_not_fit_the_registered_key_is_refused(world: World) -> None:
    """The key decides the algorithm, never the header."""
    other = jwk.ECKey.generate_key("P-256")
    refusal(world.ask(sign(world.claims(), other, alg="ES256")), "assertion-unverified")


@pytest.mark.parametrize(
    "header", [{"jwk": {"kty": "OKP"}}, {"jku": "https://x.example"}, {"crit": ["b64"], "b64": True}]
)
def test_a_header_that_brings_its_own_key_or_rules_is_refused(world: World, header: dict[str, Any]) -> None:
    """Only alg, kid and typ may stand in it."""
    refusal(world.ask(sign(world.claims(), world.private, **header)), "assertion-malformed")


@pytest.mark.parametrize(
    "audience", [[ISSUER], [ISSUER, "https://x.example"], ISSUER + "/", f"{ISSUER}/oauth/token", 1, None]
)
def test_the_audience_is_exactly_the_issuer_as_one_string(world: World, audience: object) -> None:
    """An array is refused even if it holds the issuer alone; the answer says what to write."""
    body = refusal(world.ask(world.assertion(aud=audience)), "assertion-audience")
    assert body["where"] == "/aud"
    assert ISSUER in body["detail"]


@pytest.mark.parametrize("changed", [{"iss": "tax"}, {"iss": None}])
def test_issuer_and_subject_are_the_agency(world: World, changed: dict[str, Any]) -> None:
    """iss = sub = client_id."""
    refusal(world.ask(world.assertion(**changed)), "assertion-malformed")
    refusal(world.ask(world.assertion(), client_id="tax"), "assertion-malformed")
    assert world.ask(world.assertion(), client_id="lindum").status_code == 200


def test_claims_that_are_missing_or_of_another_type_are_all_listed(world: World) -> None:
    """Every error at once, each with its JSON pointer."""
    body = refusal(world.ask(world.assertion(iat=CANARY, exp=True, nbf=[CANARY], jti=7)), "assertion-malformed")
    assert [item["where"] for item in body["items"]] == ["/iat", "/exp", "/nbf", "/jti"]


def test_an_assertion_lives_at_most_five_minutes(world: World) -> None:
    """exp - iat of 300 s is taken, 301 s and less than 1 s are not."""
    now_s = NOW_US // S
    assert world.ask(world.assertion(exp=now_s + 300)).status_code == 200
    for exp in (now_s + 301, now_s, now_s - 1):
        body = refusal(world.ask(world.assertion(exp=exp)), "assertion-malformed")
        assert body["items"][0]["where"] == "/exp"


def test_a_clock_may_be_half_a_minute_off_and_the_answer_says_by_how_much_it_is(world: World) -> None:
    """Within the skew nothing is said; beyond it the problem names the seconds, whichever way it is off."""
    now_s = NOW_US // S
    skew = CLOCK_SKEW_S
    assert world.ask(world.assertion(iat=now_s + skew, exp=now_s + 90)).status_code == 200
    assert world.ask(world.assertion(iat=now_s - 60, exp=now_s - skew + 1)).status_code == 200
    early = refusal(world.ask(world.assertion(iat=now_s + 95, exp=now_s + 100)), "assertion-early")
    assert "your clock is 95 s fast" in early["detail"]
    late = refusal(world.ask(world.assertion(iat=now_s - 347, exp=now_s - 47)), "assertion-expired")
    assert "expired 47 s ago" in late["detail"]
    assert "your clock is 347 s slow" in late["detail"]
    refusal(world.ask(world.assertion(iat=now_s - 60, exp=now_s - skew)), "assertion-expired")
    refusal(world.ask(world.assertion(nbf=now_s + 31)), "assertion-early")


def test_an_assertion_works_once_also_after_a_restart(world: World) -> None:
    """Its jti is durable; another agency may use the same one."""
    private = jwk.OKPKey.generate_key("Ed25519")
    world.keys["tax"] = (registered(private, "k1"),)
    assertion = world.assertion(jti="once")
    assert world.ask(assertion).status_code == 200
    refusal(world.ask(assertion), "assertion-replayed")
    world.start()
    refusal(world.ask(assertion), "assertion-replayed")
    refusal(world.ask(world.assertion(jti="once")), "assertion-replayed")
    assert world.ask(sign(world.claims(iss="tax", sub="tax", jti="once"), private)).status_code == 200


def test_a_used_assertion_is_remembered_as_long_as_it_could_be_sent_again(world: World) -> None:
    """At no moment between its first use and its refusal as expired does it work again."""
    now_s = NOW_US // S
    assertion = world.assertion(exp=now_s + 300)
    assert world.ask(assertion).status_code == 200
    codes = []
    for passed_s in (0, 299, 300, 329, 330, 5000):
        world.now_us = NOW_US + passed_s * S
        assert world.ask(world.assertion()).status_code == 200  # each sign-in prunes
        codes.append(world.ask(assertion).json()["type"].rpartition("/")[2])
    assert codes == ["assertion-replayed"] * 4 + ["assertion-expired"] * 2


def test_what_is_remembered_ends_at_the_very_moment_at_which_age_alone_refuses(world: World) -> None:
    """`exp_us` of a believed assertion counts the clock skew: just before it still works, from it on it has expired."""
    assertion = world.assertion()
    world.now_us -= 7  # the end does not depend on when it was first shown

    def shown(now_us: int) -> Assertion:
        return believed(assertion, client_id="", issuer=ISSUER, keys_of=lambda code: world.keys[code], now_us=now_us)

    ends_us = shown(world.now_us).exp_us
    assert shown(ends_us - 1).exp_us == ends_us
    with pytest.raises(HubError) as caught:
        shown(ends_us)
    assert caught.value.code == "assertion-expired"


def test_of_many_at_once_exactly_one_uses_the_assertion(world: World) -> None:
    """Eight threads race with the same assertion."""
    assertion, outcomes = world.assertion(), []

    def race() -> None:
        try:
            outcomes.append(world.tokens.sign_in(assertion))
        except HubError as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["assertion-replayed"] * 7 + ["lindum"]


def test_a_local_store_that_fails_is_unavailable_and_signs_nobody_in(world: World) -> None:
    """Without remembering the jti there is no token: 503, to be tried again."""
    world.store.close()
    answer = world.ask(world.assertion())
    body = refusal(answer, "local-store-down", status=503)
    assert body["error"] == "temporarily_unavailable"
    assert int(answer.headers["retry-after"]) > 0


def test_quota_is_counted_before_the_assertion_is_used_up(tmp_path: Path) -> None:
    """The same assertion can be sent again once the quota allows it: nothing was written."""
    world = World(tmp_path, quota=Quota(requests_per_s=1, requests_burst=1))
    assert world.ask(world.assertion()).status_code == 200
    assertion = world.assertion()
    answer = world.ask(assertion)
    refusal(answer, "quota-used-up", status=429)
    assert answer.headers["retry-after"] == "1"
    world.now_us += S
    assert world.ask(assertion).status_code == 200


@pytest.mark.parametrize(
    ("form", "code", "error"),
    [
        ({"grant_type": "password"}, "grant-type-unsupported", "unsupported_grant_type"),
        ({"grant_type": CANARY}, "grant-type-unsupported", "unsupported_grant_type"),
        ({"scope": CANARY}, "scope-unknown", "invalid_scope"),
        ({"scope": "links:write"}, "scope-not-held", "invalid_scope"),
    ],
)
def test_a_wrong_request_gets_the_error_of_rfc_6749(world: World, form: dict[str, str], code: str, error: str) -> None:
    """400 with `error`, and the problem's members beside it; what was sent is not repeated."""
    world.rights = {"lindum": frozenset()}
    body = refusal(world.ask(world.assertion(), **form), code, status=400)
    assert body["error"] == error


def test_a_body_that_is_no_form_is_refused(world: World) -> None:
    """JSON, repeated fields, broken encoding, too many fields: 400; too long: 413."""
    form = {"content-type": "application/x-www-form-urlencoded"}
    bodies = [b"scope=a&scope=b", b"=&&%%%", b"a=%ff", b"&".join(b"f%d=1" % n for n in range(40)), "ä=1".encode()]
    for body in bodies:
        refused = refusal(world.client.post("/oauth/token", content=body, headers=form), "form-malformed", status=400)
        assert refused["error"] == "invalid_request"
    refusal(world.client.post("/oauth/token", json={"grant_type": CANARY}), "form-malformed", status=400)
    refusal(
        world.client.post("/oauth/token", content=b"a=" + b"x" * 20_000, headers=form), "form-malformed", status=413
    )
    refusal(world.ask("", client_secret=CANARY), "assertion-missing")
    refusal(world.ask(world.assertion(), client_assertion_type=CANARY), "assertion-missing")


def test_an_agency_signs_in_over_a_real_socket(tmp_path: Path) -> None:
    """Metadata, token, call, replay: what a client meets on the wire."""
    listening = socket.create_server(("127.0.0.1", 0))
    issuer = f"http://127.0.0.1:{listening.getsockname()[1]}"
    world = World(tmp_path)
    world.start(issuer=issuer)
    with served(world.app, listening), httpx.Client(base_url=issuer, timeout=10) as client:
        metadata = client.get("/.well-known/oauth-authorization-server").json()
        form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE}
        form["client_assertion"] = world.assertion(aud=metadata["issuer"])
        token = client.post(metadata["token_endpoint"], data=form).json()["access_token"]
        answer = client.get("/v1/events", headers={"authorization": f"Bearer {token}"})
        assert answer.json()[0] == "lindum"
        replayed = client.post(metadata["token_endpoint"], data=form)
        assert (replayed.status_code, replayed.json()["error"]) == (401, "invalid_client")
        assert replayed.headers["content-type"] == "application/json"
