"""A hub's sign-in with one agency, over real keys and a real file, for the tests of every door that agencies use."""

import io
import json
import os
import secrets
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import httpx
from fastapi import Depends, FastAPI
from joserfc import jwk, jws

from hub.identity.agency_keys import AgencyKey, agency_key
from hub.identity.agency_tokens import AgencyTokens, Caller
from hub.identity.local_store import LocalStore
from hub.identity.token_keys import TokenKeys, token_key
from hub.logs import open_log
from hub.web.problems import install
from hub.web.quota import Quota, Quotas
from hub.web.sign_in import ASSERTION_TYPE, caller_with, sign_in_routes
from tests.doors import client_of

ISSUER = "https://hub.example"
NOW_US = 1_800_000_000_000_000
S = 1_000_000
EVER = {"from_us": 0, "until_us": 1 << 62}
ALL_RIGHTS = frozenset({"publish", "subscribe", "link"})
CANARY = "Doe-Jane-1990"


@dataclass
class World:
    """A hub's sign-in with one agency, `lindum`, and a clock that the test moves."""

    directory: Path
    now_us: int = NOW_US
    rights: Mapping[str, frozenset[str]] = field(default_factory=lambda: {"lindum": ALL_RIGHTS})
    quota: Quota = field(default_factory=Quota)
    seed: bytes = field(default_factory=lambda: os.urandom(32))

    def __post_init__(self) -> None:
        self.private: jwk.Key = jwk.OKPKey.generate_key("Ed25519")
        self.keys: dict[str, tuple[AgencyKey, ...]] = {"lindum": (registered(self.private, "k1"),)}
        self.start()

    def start(self, *, issuer: str = ISSUER) -> None:
        """Build the application anew over the same files, as after a restart."""
        self.said = io.StringIO()
        self.log = open_log(clock=lambda: self.now_us, stream=self.said)
        quotas = Quotas(self.quota, monotonic_s=lambda: self.now_us / S)
        self.store = LocalStore(self.directory / "edge.sqlite", clock=lambda: self.now_us)
        self.tokens = AgencyTokens(
            issuer=issuer,
            keys_at=lambda _now_us: TokenKeys(token_key(self.seed)),
            keys_of=lambda code: self.keys.get(code, ()),
            rights_of=lambda code: self.rights.get(code, frozenset()),
            claims=self.store,
            clock=lambda: self.now_us,
            count=quotas.take,
        )
        self.app = FastAPI(openapi_url=None)
        self.app.state.hub = SimpleNamespace(agency_tokens=self.tokens, quotas=quotas, clock=lambda: self.now_us)
        self.app.include_router(sign_in_routes(self.tokens))
        install(self.app, self.log)

        @self.app.get("/v1/events")
        async def whoever(caller: Annotated[Caller, Depends(caller_with("events:write"))]) -> list[str]:
            return [caller.agency, *sorted(caller.scopes)]

        self.client = client_of(self.app, base_url=issuer)

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Make the claims of a good assertion, with changes; a claim changed to None is left out."""
        now_s = self.now_us // S
        good = {"iss": "lindum", "sub": "lindum", "aud": ISSUER, "iat": now_s, "exp": now_s + 60}
        return {n: v for n, v in {**good, "jti": secrets.token_hex(8), **changed}.items() if v is not None}

    def assertion(self, **changed: Any) -> str:
        return sign(self.claims(**changed), self.private)

    def ask(self, assertion: str, **form: str) -> httpx.Response:
        fields = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
            **form,
        }
        return self.client.post("/oauth/token", data=fields)

    def token(self, scope: str = "") -> str:
        return str(self.ask(self.assertion(), scope=scope).json()["access_token"])

    def call(self, token: str) -> httpx.Response:
        return self.client.get("/v1/events", headers={"authorization": f"Bearer {token}"})


def registered(private: jwk.Key, kid: str, **period: int) -> AgencyKey:
    return agency_key({**private.as_dict(private=False), "kid": kid}, **(EVER | period))


def sign(claims: Any, key: jwk.Key, *, alg: str = "EdDSA", **header: Any) -> str:
    """Sign anything, with any algorithm, as an agency (or somebody worse) would."""
    members = {name: value for name, value in {"alg": alg, "kid": "k1", **header}.items() if value is not None}
    registry = jws.JWSRegistry(algorithms=[alg], strict_check_header=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # joserfc advises against half of what is tried here
        return jws.serialize_compact(members, json.dumps(claims), key, registry=registry)


def refusal(answer: httpx.Response, code: str, *, status: int = 401) -> dict[str, Any]:
    """Check that the answer is this refusal in both of its forms, and repeats nothing personal. Return its body."""
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["type"]) == (status, f"https://hub.example/problems/{code}"), body
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["remedy"]
    assert answer.headers["cache-control"] == "no-store"
    assert CANARY not in answer.text + str(answer.headers)
    if status == 401:
        assert body["error"] == "invalid_client"
        assert 'error="invalid_client"' in answer.headers["www-authenticate"]
    return body
