"""The embedded provider is as strict as the hub needs one to be: PKCE at both endpoints, codes once, own addresses."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import orjson
import pytest
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwk, jws

from hub.clock import system_clock
from hub.core.errors import HubError
from hub.demo.provider import LEVELS, Client, Provider, hashed
from hub.demo.provider_door import serving
from hub.identity.client_key import ClientKey, read_client_key
from hub.identity.id_tokens import check_id_token, keys_in
from tests.sign_in_world import CLAIM, PASSWORD, query, user

BACK = "https://hub.example/sign-in/back"
SECRET = "s" * 32
FORM_TYPE = "application/x-www-form-urlencoded"
VERIFIER = "v" * 43
ASKED = {
    "response_type": "code", "client_id": "hub", "redirect_uri": BACK, "scope": "openid", "state": "st", "nonce": "n-1",
    "code_challenge": create_s256_code_challenge(VERIFIER), "code_challenge_method": "S256",
}  # fmt: skip
FORM = {"user": "ada", "password": PASSWORD, "chosen_acr": LEVELS[1]}


@pytest.fixture
def provider() -> Iterator[Provider]:
    client = Client("hub", BACK, SECRET)
    with serving(0, lambda at: Provider(at, client, [user("ada")], system_clock), mode="development") as one:
        yield one


@pytest.fixture
def http(provider: Provider) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=provider.issuer, trust_env=False, timeout=20) as one:
        yield one


def asked(**changed: str | None) -> dict[str, str]:
    return {name: value for name, value in (ASKED | changed).items() if value is not None}


def code_for(http: httpx.Client, **changed: str | None) -> str:
    answered = http.post("/authorize", params=asked(**changed), data=FORM)
    assert answered.status_code == 302, answered.text
    return query(answered.headers["location"])["code"]


def redeem(
    http: httpx.Client, code: str, *, auth: tuple[str, str] | None = ("hub", SECRET), **form: str
) -> httpx.Response:
    given = {"grant_type": "authorization_code", "redirect_uri": BACK, "code": code, "code_verifier": VERIFIER} | form
    shown = httpx.BasicAuth(*auth) if auth else httpx.Auth()
    return http.post("/token", data={name: value for name, value in given.items() if value}, auth=shown)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "changed",
    [
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge": None},
        {"code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"code_challenge": "too short"},
    ],
)
def test_no_code_is_given_without_a_challenge(http: httpx.Client, method: str, changed: dict[str, None]) -> None:
    """At /authorize itself, when the form is shown and when it is sent; the client is told, at its own address."""
    answered = http.request(method, "/authorize", params=asked(**changed), data=FORM if method == "POST" else None)
    assert answered.status_code == 302
    said = query(answered.headers["location"])
    assert (said["error"], said["state"], "code" in said) == ("invalid_request", "st", False)


@pytest.mark.parametrize("verifier", ["", "w" * 43, "short"])
def test_no_token_is_given_without_the_verifier(http: httpx.Client, verifier: str) -> None:
    """A confidential client too; and the code is used up by the try."""
    code = code_for(http)
    assert redeem(http, code, code_verifier=verifier).status_code == 400
    assert redeem(http, code).json()["error"] == "invalid_grant"


def test_a_code_works_once_and_its_token_ends_when_it_is_shown_again(http: httpx.Client) -> None:
    """RFC 6749 4.1.2: whoever shows it the second time, one of the two has stolen it."""
    code = code_for(http)
    token = redeem(http, code).json()["access_token"]
    shown = {"authorization": f"Bearer {token}"}
    assert http.get("/userinfo", headers=shown).json() == {"sub": "sub-ada", CLAIM: "R-ada"}
    assert redeem(http, code).json()["error"] == "invalid_grant"
    assert http.get("/userinfo", headers=shown).status_code == 401


def test_an_error_goes_nowhere_but_to_the_clients_own_address(http: httpx.Client) -> None:
    """An unknown client, or another address: a page here, and no redirect."""
    for changed in ({"redirect_uri": "https://elsewhere.example/"}, {"client_id": "other"}, {"redirect_uri": None}):
        answered = http.get("/authorize", params=asked(**changed))
        assert answered.status_code == 400
        assert "location" not in answered.headers


def test_a_wrong_password_and_a_level_that_there_is_not_get_no_code(http: httpx.Client) -> None:
    """Nor does somebody who does not exist; the form is shown again, and says nothing about which it was."""
    texts = set()
    for wrong in ({"password": "x"}, {"user": "nobody"}, {"chosen_acr": "urn:best"}, {"password": ""}):
        answered = http.post("/authorize", params=asked(), data=FORM | wrong)
        assert answered.status_code == 200
        texts.add(answered.text)
    assert len(texts) == 1


def test_what_is_asked_for_in_the_form_does_not_change_what_was_asked_in_the_address(http: httpx.Client) -> None:
    """The level is chosen in the form only: a client cannot choose it."""
    answered = http.post(
        "/authorize", params=asked(chosen_acr=LEVELS[2]), data=FORM | {"redirect_uri": "https://elsewhere.example/"}
    )
    assert answered.headers["location"].startswith(BACK)
    token = redeem(http, query(answered.headers["location"])["code"]).json()["id_token"]
    assert b'"acr":"http://eidas.europa.eu/LoA/substantial"' in jws.extract_compact(token.encode()).payload.replace(
        b" ", b""
    )


@pytest.mark.parametrize("auth", [None, ("hub", "wrong"), ("other", SECRET)])
def test_a_token_is_for_the_client_alone(http: httpx.Client, auth: tuple[str, str] | None) -> None:
    """Without its secret, or with another's name, there is none."""
    assert redeem(http, code_for(http), auth=auth, client_id="hub").status_code in (400, 401)


def test_a_nonce_serves_once(http: httpx.Client) -> None:
    """And none at all is refused."""
    code_for(http)
    again = http.post("/authorize", params=asked(), data=FORM)
    assert query(again.headers["location"])["error"] == "invalid_request"
    none = http.post("/authorize", params=asked(nonce=None), data=FORM)
    assert query(none.headers["location"])["error"] == "invalid_request"


def test_passwords_are_kept_as_salted_scrypt_hashes() -> None:
    """Two of the same password differ; neither holds it."""
    one, other = hashed("secret"), hashed("secret")
    assert one != other
    assert b"secret" not in one
    assert hashed("secret", one[:16]) == one


def test_an_assertion_of_the_clients_key_serves_once(tmp_path: Path) -> None:
    """`private_key_jwt`: shown again, made for another endpoint or by another key, it is refused; so is a secret."""
    mine, other = (new_key(tmp_path / name, "EC", "jwk") for name in ("mine", "other"))
    client = Client("hub", BACK, key=jwk.import_key(mine.key.as_dict(private=False)))
    with (
        serving(0, lambda at: Provider(at, client, [user("ada")], system_clock), mode="development") as provider,
        httpx.Client(base_url=provider.issuer, trust_env=False, timeout=20) as http,
    ):
        at, now_us = f"{provider.issuer}/token", system_clock()
        good = mine.sign_in("", client_id="hub", url=at, now_us=now_us)
        tried = [
            good,
            good,
            mine.sign_in("", client_id="hub", url="https://other.example/token", now_us=now_us),
            mine.sign_in("", client_id="hub", url=at, now_us=now_us - 61_000_000),
            other.sign_in("", client_id="hub", url=at, now_us=now_us),
            "&client_id=hub&client_secret=" + SECRET,
        ]
        found = []
        for number, signed in enumerate(tried):
            form = {"grant_type": "authorization_code", "redirect_uri": BACK, "code_verifier": VERIFIER}
            body = str(httpx.QueryParams(form | {"code": code_for(http, nonce=f"n-{number}")})) + signed
            found.append(http.post("/token", content=body, headers={"content-type": FORM_TYPE}).status_code)
        assert found == [200, 401, 401, 401, 401, 401]


@pytest.mark.parametrize("kind", ["EC", "OKP", "RSA"])
@pytest.mark.parametrize("form", ["jwk", "pem"])
def test_a_private_key_is_read_from_either_kind_of_file(tmp_path: Path, kind: str, form: str) -> None:
    """And signs with the algorithm of its kind; the address of the key's file is never said."""
    key = new_key(tmp_path / "key", kind, form)
    assert key.algorithm == {"EC": "ES256", "OKP": "EdDSA", "RSA": "PS256"}[kind]
    assert "client_assertion=ey" in key.sign_in("", client_id="hub", url="https://x.example", now_us=1)


@pytest.mark.parametrize("content", ["", "{}", "x", '{"kty": "oct", "k": "c2VjcmV0"}', "public"])
def test_a_file_that_holds_no_private_key_stops_the_start(tmp_path: Path, content: str) -> None:
    """In words, before anybody signs in."""
    path = tmp_path / "key"
    text = orjson.dumps(jwk.ECKey.generate_key("P-256").as_dict(private=False)) if content == "public" else None
    path.write_bytes(text or content.encode())
    with pytest.raises(HubError, match="cannot be used"):
        read_client_key(path)


def new_key(path: Path, kind: str, form: str) -> ClientKey:
    made: jwk.ECKey | jwk.OKPKey | jwk.RSAKey
    if kind == "EC":
        made = jwk.ECKey.generate_key("P-256", private=True)
    elif kind == "OKP":
        made = jwk.OKPKey.generate_key("Ed25519", private=True)
    else:
        made = jwk.RSAKey.generate_key(2048, private=True)
    path.write_bytes(made.as_pem(private=True) if form == "pem" else orjson.dumps(made.as_dict(private=True)))
    return read_client_key(path)


def test_its_tokens_are_what_the_hub_believes(provider: Provider, http: httpx.Client) -> None:
    """Issuer, client, nonce, time, hash of the access token: checked by the hub's own rules."""
    tokens = redeem(http, code_for(http)).json()
    claims = check_id_token(
        tokens["id_token"], keys_in(http.get("/keys").json()), issuer=provider.issuer, client_id="hub", nonce="n-1",
        access_token=tokens["access_token"], now_us=system_clock(),
    )  # fmt: skip
    assert (claims["sub"], claims["acr"], claims[CLAIM]) == ("sub-ada", LEVELS[1], "R-ada")
