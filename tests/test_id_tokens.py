"""An ID token is believed only where every part of it is right: each of them spoilt once."""

import hmac
import warnings
from base64 import urlsafe_b64encode
from typing import Any

import orjson
import pytest
from joserfc import jwk, jws

from hub.core.errors import HubError, Kind
from hub.identity.id_tokens import KeyUnknownError, check_id_token, keys_in

NOW_S = 1_800_000_000
ISSUER, CLIENT, NONCE, ACCESS = "https://login.example", "hub", "nonce-1", "access-1"
EC = jwk.ECKey.generate_key("P-256", {"kid": "k1"}, private=True)
RSA = jwk.RSAKey.generate_key(2048, {"kid": "k2"}, private=True)
OKP = jwk.OKPKey.generate_key("Ed25519", {"kid": "k3"}, private=True)
OTHER = jwk.ECKey.generate_key("P-256", {"kid": "k1"}, private=True)
GOOD = {
    "iss": ISSUER, "sub": "sub-1", "aud": CLIENT, "exp": NOW_S + 60, "iat": NOW_S, "nonce": NONCE, "acr": "urn:2",
}  # fmt: skip


def public(*keys: jwk.Key) -> dict[str, Any]:
    return {"keys": [{**one.as_dict(private=False), "kid": one.kid} for one in keys]}


KEYS = keys_in(public(EC, RSA, OKP))


def token(claims: dict[str, Any], key: jwk.Key = EC, *, alg: str = "ES256", **header: Any) -> str:
    members = {name: value for name, value in {"alg": alg, "kid": key.kid, **header}.items() if value is not None}
    registry = jws.JWSRegistry(algorithms=[alg], strict_check_header=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # joserfc advises against half of what is tried here
        return jws.serialize_compact(members, orjson.dumps(claims), key, registry=registry)


def checked(text: str, keys: Any = KEYS, *, now_s: int = NOW_S) -> Any:
    return check_id_token(
        text, keys, issuer=ISSUER, client_id=CLIENT, nonce=NONCE, access_token=ACCESS, now_us=now_s * 1_000_000
    )


@pytest.mark.parametrize(
    ("key", "alg"), [(EC, "ES256"), (RSA, "RS256"), (RSA, "PS256"), (OKP, "EdDSA"), (OKP, "Ed25519")]
)
def test_a_token_of_the_provider_is_believed(key: jwk.Key, alg: str) -> None:
    """By each kind of signature that providers use; headers that are no concern of ours do not matter."""
    assert checked(token(GOOD, key, alg=alg, x5t="x"))["sub"] == "sub-1"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"iss": "https://login.example/"}, "iss"),
        ({"iss": None}, "iss"),
        ({"aud": "another"}, "aud"),
        ({"aud": ["another"]}, "aud"),
        ({"aud": None}, "aud"),
        ({"aud": [CLIENT, "another"]}, "azp"),
        ({"aud": [CLIENT, "another"], "azp": "another"}, "azp"),
        ({"azp": "another"}, "azp"),
        ({"exp": NOW_S - 31}, "expired"),
        ({"exp": None}, "exp"),
        ({"exp": "never"}, "exp"),
        ({"exp": float("inf")}, "exp"),
        ({"iat": NOW_S + 31}, "iat"),
        ({"iat": None}, "iat"),
        ({"nbf": NOW_S + 31}, "nbf"),
        ({"nonce": "nonce-2"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"nonce": ""}, "nonce"),
        ({"sub": None}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": 17}, "sub"),
        ({"at_hash": "x"}, "at_hash"),
    ],
)
def test_each_claim_that_is_wrong_is_refused_and_named(changed: dict[str, Any], named: str) -> None:
    """Without repeating what it held."""
    claims = {name: value for name, value in (GOOD | changed).items() if value is not None}
    text = token(claims) if claims.get("exp") != float("inf") else token_of(b'{"exp":Infinity}')
    with pytest.raises(HubError) as caught:
        checked(text)
    assert (caught.value.kind, caught.value.code) == (Kind.UNAUTHENTICATED, "id-token-refused")
    assert named in caught.value.what or claims.get("exp") == float("inf")
    assert "nonce-2" not in caught.value.what


def token_of(payload: bytes) -> str:
    return jws.serialize_compact({"alg": "ES256", "kid": "k1"}, payload, EC)


def test_the_clocks_may_differ_by_half_a_minute() -> None:
    """And no more."""
    text = token(GOOD)
    assert checked(text, now_s=NOW_S + 89)
    assert checked(text, now_s=NOW_S - 30)
    for now_s in (NOW_S + 90, NOW_S - 31):
        with pytest.raises(HubError):
            checked(text, now_s=now_s)


def by_hand(header: dict[str, str], secret: bytes) -> str:
    """Sign with HMAC under a public key's text: joserfc itself refuses to."""
    parts = [urlsafe_b64encode(orjson.dumps(one)).rstrip(b"=") for one in (header, GOOD)]
    digest = hmac.digest(secret, b".".join(parts), "sha256")
    return b".".join([*parts, urlsafe_b64encode(digest).rstrip(b"=")]).decode()


@pytest.mark.parametrize("spoilt", ["none", "hmac", "other", "payload", "jwk", "text", "long", "nothing"])
def test_who_is_not_the_provider_cannot_make_one(spoilt: str) -> None:
    """No signature, a signature by what everybody knows, another's, one over something else; a key in the header."""
    good = token(GOOD)
    head, _, signature = good.split(".")
    other = token(GOOD | {"sub": "sub-2"}).split(".")[1]
    text = {
        "none": token(GOOD, alg="none", kid="k1"),
        "hmac": by_hand({"alg": "HS256", "kid": "k2"}, RSA.as_pem(private=False)),
        "other": token(GOOD, OTHER),
        "payload": f"{head}.{other}.{signature}",
        "jwk": token(GOOD, OTHER, jwk=OTHER.as_dict(private=False)),
        "text": "not.a.token",
        "long": good + "a" * 9_000,
        "nothing": "",
    }[spoilt]
    with pytest.raises(HubError, match="no proof of who you are"):
        checked(text)


def test_a_key_that_is_not_known_is_said_so_that_the_set_can_be_read_anew() -> None:
    """And a token without a key's name is checked with the only key there is, else with none."""
    with pytest.raises(KeyUnknownError):
        checked(token(GOOD), keys_in(public(RSA)))
    with pytest.raises(KeyUnknownError):
        checked(token(GOOD, kid=None))
    assert checked(token(GOOD, kid=None), keys_in(public(EC)))


def test_a_set_of_keys_may_hold_what_is_of_no_use() -> None:
    """Keys for encryption, shared secrets, kinds of tomorrow, and things that are no keys are passed over."""
    secret = {"kty": "oct", "k": "c2VjcmV0", "kid": "s"}
    listed = [
        {**EC.as_dict(private=False), "kid": "enc", "use": "enc"}, secret, {"kty": "EC", "crv": "P-0", "kid": "x"},
        {"kty": "new"}, 7,
    ]  # fmt: skip
    assert list(keys_in({"keys": [*listed, *public(EC)["keys"]]})) == ["k1"]
    assert keys_in([]) == keys_in({"keys": "k"}) == {}
