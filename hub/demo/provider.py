"""A provider of sign-ins with invented people, for demo and tests: Authlib's authorization server, in this process.

It does what the hub asks of a real one (OpenID Connect Core 1.0, code flow) and is strict where a real one may not be:
PKCE with S256 is wanted at /authorize, and the verifier at /token, whoever asks. Authlib's own
`CodeChallenge(required=True)` alone would give tokens to a confidential client that sent no challenge at all. A code
works once, for a minute; shown a second time it is refused, and so is the token that it gave (RFC 6749 section 4.1.2).

Keys, codes and tokens are in memory: after a restart nothing of before counts. Passwords are kept as scrypt hashes.
"""

import hashlib
import hmac
import secrets
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, NamedTuple

from authlib.oauth2.rfc6749 import AuthorizationServer, ClientMixin, OAuth2Request
from authlib.oauth2.rfc6749.errors import InvalidRequestError
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant
from authlib.oauth2.rfc6749.requests import OAuth2Payload
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import UserInfo
from authlib.oidc.core.grants import OpenIDCode
from joserfc import jwk, jws, jwt
from joserfc.errors import JoseError

from hub.ports import Clock

S = 1_000_000
CODE_US = 60 * S
TOKEN_S = 300
LEVELS = ("http://eidas.europa.eu/LoA/low", "http://eidas.europa.eu/LoA/substantial", "http://eidas.europa.eu/LoA/high")
ALGORITHM = "ES256"
SCRYPT = {"n": 2**14, "r": 8, "p": 1}  # OWASP's least for scrypt is 2^17; these passwords are printed by the demo
SALT_BYTES = 16
SCOPES = ("openid", "profile")
METHODS = ("client_secret_basic", "client_secret_post", "private_key_jwt")
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class User(NamedTuple):
    """Somebody who can sign in. `claims` are what the provider says of them besides `sub`."""

    name: str
    subject: str
    password: bytes  # salt and scrypt hash
    claims: Mapping[str, str]


@dataclass(frozen=True)
class Client(ClientMixin):  # type: ignore[misc]  # Authlib has no types
    """Who may ask: one hub. `key` is a public key, where it shows one instead of a secret."""

    client_id: str
    redirect_uri: str
    secret: str = ""
    key: jwk.Key | None = None

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> None:
        """None: it has to be named, so that it is compared."""

    def get_allowed_scope(self, scope: str) -> str:
        return " ".join(one for one in SCOPES if one in (scope or "").split())

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri == self.redirect_uri

    def check_client_secret(self, secret: str) -> bool:
        return bool(self.secret) and hmac.compare_digest(secret.encode(), self.secret.encode())

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return endpoint == "token" and (method == "private_key_jwt") == (self.key is not None)

    def check_response_type(self, response_type: str) -> bool:
        return bool(response_type == "code")

    def check_grant_type(self, grant_type: str) -> bool:
        return bool(grant_type == AuthorizationCodeGrant.GRANT_TYPE)


@dataclass(frozen=True)
class Given:
    """What a code stands for, as Authlib asks for it."""

    client_id: str
    redirect_uri: str
    scope: str
    nonce: str
    acr: str
    auth_time: int
    code_challenge: str
    code_challenge_method: str
    subject: str
    until_us: int

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> str:
        return self.nonce

    def get_auth_time(self) -> int:
        return self.auth_time

    def get_acr(self) -> str:
        return self.acr

    def get_amr(self) -> list[str]:
        return ["pwd"]


class Payload(OAuth2Payload):  # type: ignore[misc]  # Authlib has no types
    """The parameters of a request, each as often as it came."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._all: defaultdict[str, list[str]] = defaultdict(list)
        for name, value in pairs:
            self._all[name].append(value)

    @property
    def data(self) -> dict[str, str]:
        return {name: values[0] for name, values in self._all.items()}

    @property
    def datalist(self) -> defaultdict[str, list[str]]:
        return self._all


class Asked(OAuth2Request):  # type: ignore[misc]  # Authlib has no types
    """A request as Authlib wants it. Its address is written as https: Authlib takes no other, and this is loopback."""

    def __init__(self, method: str, path: str, pairs: Sequence[tuple[str, str]], authorization: str = "") -> None:
        super().__init__(method, f"https://provider.invalid{path}", headers={"Authorization": authorization})
        self.payload = Payload(pairs)

    @property
    def args(self) -> dict[str, str]:
        found: dict[str, str] = self.payload.data
        return found

    form = args


class StrictPkce(CodeChallenge):  # type: ignore[misc]  # Authlib has no types
    """RFC 7636 with S256, without exception: see the file's first words."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)

    def validate_code_challenge(self, grant: AuthorizationCodeGrant, redirect_uri: str) -> None:
        given = grant.request.payload.data
        if not given.get("code_challenge") or given.get("code_challenge_method") != "S256":
            raise InvalidRequestError("A code_challenge with the method S256 is needed.")
        super().validate_code_challenge(grant, redirect_uri)

    def validate_code_verifier(self, grant: AuthorizationCodeGrant, result: object) -> None:
        if not grant.request.form.get("code_verifier"):
            raise InvalidRequestError("The code_verifier is missing.")
        super().validate_code_verifier(grant, result)


class Codes(AuthorizationCodeGrant):  # type: ignore[misc]  # Authlib has no types
    """The one grant. What it keeps is the provider's."""

    TOKEN_ENDPOINT_AUTH_METHODS = METHODS

    def save_authorization_code(self, code: str, request: Asked) -> None:
        self.server.keep(code, request)

    def query_authorization_code(self, code: str, client: Client) -> Given | None:
        found: Given | None = self.server.use(code, client.client_id)
        return found

    def delete_authorization_code(self, authorization_code: Given) -> None:
        """Nothing is left to do: looking it up has used it."""

    def authenticate_user(self, authorization_code: Given) -> User | None:
        found: User | None = self.server.by_subject.get(authorization_code.subject)
        return found


class IdTokens(OpenIDCode):  # type: ignore[misc]  # Authlib has no types
    """What an ID token holds. A nonce is wanted, and may be used by one code only."""

    def __init__(self, provider: "Provider") -> None:
        super().__init__(require_nonce=True)
        self._provider = provider

    def exists_nonce(self, nonce: str, _request: Asked) -> bool:
        return self._provider.knows_nonce(nonce)

    def resolve_client_private_key(self, _client: Client) -> jwk.Key:
        return self._provider.key

    def get_client_algorithm(self, _client: Client) -> str:
        return ALGORITHM

    def get_encode_header(self, _client: Client) -> dict[str, str]:
        return {"alg": ALGORITHM, "kid": self._provider.key.thumbprint()}

    def get_client_claims(self, client: Client) -> dict[str, Any]:
        now_s = self._provider.clock() // S
        return {"iss": self._provider.issuer, "aud": client.client_id, "iat": now_s, "exp": now_s + TOKEN_S}

    def generate_user_info(self, user: User, _scope: str) -> UserInfo:
        return UserInfo(sub=user.subject, **(user.claims if self._provider.claims_in_token else {}))


class Provider(AuthorizationServer):  # type: ignore[misc]  # Authlib has no types
    """The server's state and rules; `provider_door.py` speaks HTTP. Thread-safe."""

    def __init__(
        self, issuer: str, client: Client, users: Sequence[User], clock: Clock, *, claims_in_token: bool = True
    ) -> None:
        """`claims_in_token`: else what is said of people besides `sub` is at the userinfo endpoint alone."""
        super().__init__(scopes_supported=SCOPES)
        self.issuer, self.client, self.clock, self.claims_in_token = issuer, client, clock, claims_in_token
        self.by_name, self.by_subject = {one.name: one for one in users}, {one.subject: one for one in users}
        self.key = jwk.ECKey.generate_key("P-256", private=True)
        self._lock = Lock()
        self._codes: dict[str, Given] = {}
        self._used: dict[str, str] = {}  # code -> the token that it gave
        self._tokens: dict[str, str] = {}  # token -> subject
        self._nonces: set[str] = set()
        self._assertions: set[str] = set()
        self._nobody = hashed(secrets.token_urlsafe())
        self.register_client_auth_method("private_key_jwt", self._by_assertion)
        self.register_token_generator("default", self._token)
        self.register_grant(Codes, [StrictPkce(required=True), IdTokens(self)])

    # What Authlib asks of its server.
    def query_client(self, client_id: str) -> Client | None:
        return self.client if client_id == self.client.client_id else None

    def save_token(self, token: Mapping[str, Any], request: Asked) -> None:
        with self._lock:
            self._tokens[token["access_token"]] = request.user.subject
            self._used[request.form["code"]] = token["access_token"]

    def create_oauth2_request(self, request: Asked) -> Asked:
        return request

    def handle_response(self, status: int, body: Any, headers: Sequence[tuple[str, str]]) -> "Answer":
        return Answer(status, body, [(name, value) for name, value in headers])

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        """Tell nobody."""

    # Its memory.
    def keep(self, code: str, request: Asked) -> None:
        given = request.payload.data
        now_us = self.clock()
        grant = Given(
            client_id=request.client.client_id, redirect_uri=given.get("redirect_uri", ""), scope=request.scope,
            nonce=given["nonce"], acr=given.get("chosen_acr", ""), auth_time=now_us // S,
            code_challenge=given["code_challenge"], code_challenge_method=given["code_challenge_method"],
            subject=request.user.subject, until_us=now_us + CODE_US,
        )  # fmt: skip
        with self._lock:
            self._codes[code] = grant
            self._nonces.add(grant.nonce)

    def use(self, code: str, client_id: str) -> Given | None:
        """Return what a code stands for, once. The token of one that is shown again counts no more."""
        with self._lock:
            grant = self._codes.pop(code, None)
            if grant is None:
                self._tokens.pop(self._used.pop(code, ""), None)
                return None
        return grant if grant.client_id == client_id and self.clock() < grant.until_us else None

    def knows_nonce(self, nonce: str) -> bool:
        with self._lock:
            return nonce in self._nonces

    # What its pages need.
    def user(self, name: str, password: str) -> User | None:
        """Check a password, in the same time whether there is such a user or not."""
        user = self.by_name.get(name)
        stored = user.password if user else self._nobody
        right = hmac.compare_digest(hashed(password, stored[:SALT_BYTES]), stored)
        return user if right else None

    def user_info(self, token: str) -> dict[str, str] | None:
        with self._lock:
            user = self.by_subject.get(self._tokens.get(token, ""))
        return None if user is None else {"sub": user.subject, **user.claims}

    def metadata(self) -> dict[str, Any]:
        """Describe it (OpenID Connect Discovery 1.0 section 3)."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "jwks_uri": f"{self.issuer}/keys",
            "scopes_supported": list(SCOPES),
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
            "token_endpoint_auth_methods_supported": list(METHODS),
            "code_challenge_methods_supported": ["S256"],
            "acr_values_supported": list(LEVELS),
            "authorization_response_iss_parameter_supported": True,
        }

    def keys(self) -> dict[str, Any]:
        public = self.key.as_dict(private=False)
        return {"keys": [{**public, "kid": self.key.thumbprint(), "use": "sig", "alg": ALGORITHM}]}

    def _token(self, *, scope: str, **_unused: object) -> dict[str, Any]:
        return {
            "token_type": "Bearer", "access_token": secrets.token_urlsafe(32), "expires_in": TOKEN_S, "scope": scope,
        }  # fmt: skip

    def _by_assertion(self, _query: object, request: Asked) -> Client | None:
        """RFC 7523 section 3, as far as it concerns one client that is known."""
        form = request.form
        if self.client.key is None or form.get("client_assertion_type") != ASSERTION_TYPE:
            return None
        try:
            registry = jws.JWSRegistry(algorithms=["ES256", "PS256", "EdDSA"], strict_check_header=False)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that EdDSA has a newer name
                claims = jwt.decode(form.get("client_assertion", ""), self.client.key, registry=registry).claims
        except (JoseError, ValueError):
            return None
        now_s, own = self.clock() // S, self.client.client_id
        named = (claims.get("iss"), claims.get("sub"), claims.get("aud")) == (own, own, f"{self.issuer}/token")
        fresh = isinstance(claims.get("exp"), int) and now_s < claims["exp"] <= now_s + TOKEN_S
        with self._lock:
            new = isinstance(claims.get("jti"), str) and claims["jti"] not in self._assertions
            self._assertions.add(str(claims.get("jti")))
        return self.client if named and fresh and new else None


class Answer(NamedTuple):
    """What goes out: a body that is a text already, or becomes JSON."""

    status: int
    body: Any
    headers: list[tuple[str, str]]


def hashed(password: str, salt: bytes = b"") -> bytes:
    """Hash a password (RFC 7914): salt, then 64 bytes."""
    salt = salt or secrets.token_bytes(SALT_BYTES)
    return salt + hashlib.scrypt(password.encode(), salt=salt, n=SCRYPT["n"], r=SCRYPT["r"], p=SCRYPT["p"])
