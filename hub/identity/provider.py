"""The provider that citizens sign in at: found by discovery, asked with PKCE, and never believed unchecked.

The relying party is Authlib's OAuth 2 client (authorization code flow, RFC 6749 with RFC 7636 and RFC 9700) over one
HTTP client with tight limits. What is fetched is kept for a while, so the provider is asked once per sign-in, and a
provider that is away is noticed by those who sign in and by nobody else.
"""

import ssl
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any, NamedTuple

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.client import OAuth2Client
from joserfc import jwk

from hub.core.errors import HubError, Kind
from hub.identity.accounts import NAME_CHARS, Identified
from hub.identity.client_key import ClientKey
from hub.identity.id_tokens import KeyUnknownError, check_id_token, keys_in, refused
from hub.interpreter import hidden
from hub.ports import Clock

with hidden("rich"):  # its command line would load it: a tenth of every start, and none is run here
    import httpx

DISCOVERY = "/.well-known/openid-configuration"  # OpenID Connect Discovery 1.0, section 4
ANSWER_S = 5.0  # a citizen waits for it
KEPT_S = 600.0  # what discovery said; also how long a key that the provider took back is still believed
KEYS_AGAIN_S = 5.0  # a token's unknown key has the set read anew, but not more often than this
AWAY_S = 1.0  # after no answer nobody waits for one for this long: all who queued up are told at once
ANSWER_BYTES = 262_144
AUTHORIZE, TOKEN, KEYS, USER = "authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"
PROVIDER_AWAY = frozenset({"server_error", "temporarily_unavailable"})  # RFC 6749 section 4.1.2.1
TOO_WEAK = "unmet_authentication_requirements"  # OpenID Connect Core Unmet Authentication Requirements 1.0


class Party(NamedTuple):
    """What the hub is to its provider, and what the provider's words are worth. `back` is the return address.

    `levels`: `acr` -> assurance; a value that is not in it is worth 0. One of `secret` and `key` is set.
    """

    issuer: str
    client_id: str
    back: str
    levels: Mapping[str, int]
    secret: str = ""
    key: ClientKey | None = None
    scope: str = "openid"
    claim: str = "sub"


class Asked(NamedTuple):
    """What a sign-in was begun with, and has to come back with."""

    state: str
    nonce: str
    verifier: str


class Auth(httpx.Auth, ClientAuth):  # type: ignore[misc]  # Authlib has no types
    """Authlib's client authentication as httpx takes it."""

    requires_request_body = True

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        headers = {name: value for name, value in request.headers.items() if name != "content-length"}
        url, headers, body = self.prepare(request.method, str(request.url), headers, request.content.decode())
        yield httpx.Request(request.method, url, headers=headers, content=body, extensions=request.extensions)


class Client(OAuth2Client):  # type: ignore[misc]  # Authlib has no types
    """Authlib's client over plain httpx: its own integration wants another package for that."""

    client_auth_class = Auth


class Provider:
    """One provider. Thread-safe; every method that asks it may wait `ANSWER_S`, so none is called in a transaction."""

    def __init__(self, party: Party, clock: Clock, *, ca_file: Path | None = None) -> None:
        verify = ssl.create_default_context(cafile=ca_file) if ca_file else True
        self.party, self._clock = party, clock
        self._http = httpx.Client(timeout=ANSWER_S, verify=verify, trust_env=False, follow_redirects=False)
        self._lock = Lock()
        self._said: tuple[float, Mapping[str, Any]] | None = None
        self._keys: tuple[float, Mapping[str, jwk.Key]] | None = None
        self._away_until_s = 0.0

    def close(self) -> None:
        self._http.close()

    def address(self, asked: Asked, *, least: int) -> str:
        """Return where the browser goes to sign in with at least this assurance. Raises HubError(UNAVAILABLE)."""
        url, _ = self._client().create_authorization_url(
            self._metadata()[AUTHORIZE],
            state=asked.state,
            code_verifier=asked.verifier,
            nonce=asked.nonce,
            acr_values=" ".join(self._worth(least)) or None,
        )
        return str(url)

    def identify(self, asked: Asked, given: Mapping[str, str]) -> Identified:
        """Turn what came back into whom the provider vouches for. Its state was compared by the caller.

        Raises HubError: UNAUTHENTICATED sign-in-refused (by the provider, or the person), id-token-refused;
        FORBIDDEN assurance-too-low; UNAVAILABLE provider-down.
        """
        metadata = self._metadata()
        needs_issuer = metadata.get("authorization_response_iss_parameter_supported") is True
        if (needs_issuer or "iss" in given) and given.get("iss") != self.party.issuer:  # RFC 9207 section 2.4
            raise refused("it came from another provider than the one that was asked")
        if "error" in given:
            raise _said_no(given["error"])
        tokens = self._exchange(metadata, asked, given.get("code", ""))
        claims = self._believed(metadata, tokens, asked)
        subject, claim = claims["sub"], claims.get(self.party.claim)
        if claim is None and USER in metadata:
            claim = self._user(metadata, tokens, subject).get(self.party.claim)
        acr = claims.get("acr")
        level = self.party.levels.get(acr, 0) if isinstance(acr, str) else 0
        named = claim if isinstance(claim, str) and len(claim) <= NAME_CHARS else ""
        return Identified(self.party.issuer, subject, named, level)

    def _client(self) -> Client:
        party, http = self.party, self._http
        client = Client(
            http, client_id=party.client_id, client_secret=party.secret or None, scope=party.scope,
            redirect_uri=party.back, code_challenge_method="S256",
            token_endpoint_auth_method="private_key_jwt" if party.key else self._secret_method(),
        )  # fmt: skip
        if party.key:
            client.register_client_auth_method(("private_key_jwt", self._assert))
        return client

    def _secret_method(self) -> str:
        """RFC 8414 section 2: HTTP Basic where nothing else is said."""
        methods = self._metadata().get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        return "client_secret_basic" if "client_secret_basic" in methods else "client_secret_post"

    def _assert(self, _auth: Auth, _method: str, url: str, headers: Any, body: str) -> tuple[str, Any, str]:
        assert self.party.key is not None
        return url, headers, self.party.key.sign_in(body, client_id=self.party.client_id, url=url, now_us=self._clock())

    def _worth(self, least: int) -> list[str]:
        """List the `acr` values that are worth at least this, the least of them first: nobody is asked for more."""
        fitting = [(level, acr) for acr, level in self.party.levels.items() if level >= max(least, 1)]
        return [acr for _, acr in sorted(fitting)]

    def _exchange(self, metadata: Mapping[str, Any], asked: Asked, code: str) -> Mapping[str, Any]:
        if not code:
            raise _said_no("invalid_request")
        url = metadata[TOKEN]
        try:
            tokens = self._asking(
                lambda: self._client().fetch_token(
                    url, grant_type="authorization_code", code=code, code_verifier=asked.verifier
                )
            )
        except OAuth2Error as error:
            raise _said_no(str(error.error)) from error
        if not isinstance(tokens.get("id_token"), str) or not isinstance(tokens.get("access_token"), str):
            raise refused("there is no ID token in it")
        return dict(tokens)

    def _believed(self, metadata: Mapping[str, Any], tokens: Mapping[str, Any], asked: Asked) -> Mapping[str, Any]:
        party = self.party
        for again in (False, True):
            try:
                return check_id_token(
                    tokens["id_token"], self._key_set(metadata, again=again), issuer=party.issuer,
                    client_id=party.client_id, nonce=asked.nonce, access_token=tokens["access_token"],
                    now_us=self._clock(),
                )  # fmt: skip
            except KeyUnknownError:
                continue  # it may have begun to sign with a new one
        raise refused("its key is not one of the provider's")

    def _user(self, metadata: Mapping[str, Any], tokens: Mapping[str, Any], subject: str) -> Mapping[str, Any]:
        """Ask for claims that are not in the ID token (section 5.3); they count only if they are of the same person."""
        said = self._get(metadata[USER], authorization=f"Bearer {tokens['access_token']}")
        if said.get("sub") != subject:
            raise refused("its claims are of somebody else")
        return said

    def _metadata(self) -> Mapping[str, Any]:
        with self._lock:
            kept = self._said
        if kept is not None and monotonic() - kept[0] < KEPT_S:
            return kept[1]
        said: Mapping[str, Any] = self._get(self.party.issuer.rstrip("/") + DISCOVERY)
        if said.get("issuer") != self.party.issuer:
            raise _unusable("its discovery document is another issuer's")
        secure = self.party.issuer.startswith("https:")
        for name in (AUTHORIZE, TOKEN, KEYS):
            if not isinstance(said.get(name), str) or (secure and not said[name].startswith("https:")):
                raise _unusable(f"its discovery document has no {name} over TLS")
        if USER in said and (not isinstance(said[USER], str) or (secure and not said[USER].startswith("https:"))):
            raise _unusable(f"its {USER} is not over TLS")  # an access token goes there
        with self._lock:
            self._said = (monotonic(), said)
        return said

    def _key_set(self, metadata: Mapping[str, Any], *, again: bool) -> Mapping[str, jwk.Key]:
        with self._lock:
            kept = self._keys
        if kept is not None and monotonic() - kept[0] < (KEYS_AGAIN_S if again else KEPT_S):
            return kept[1]
        keys = keys_in(self._get(metadata[KEYS]))
        with self._lock:
            self._keys = (monotonic(), keys)
        return keys

    def _get(self, url: str, **headers: str) -> Mapping[str, Any]:
        """Fetch one JSON object of bounded size."""

        def fetch() -> Mapping[str, Any]:
            with self._http.stream("GET", url, headers=headers) as answer:
                answer.raise_for_status()
                content = b""
                for chunk in answer.iter_bytes():
                    content += chunk
                    if len(content) > ANSWER_BYTES:
                        raise ValueError("too long")
            said = httpx.Response(200, content=content).json()
            if not isinstance(said, dict):
                raise ValueError("no object")
            return said

        fetched: Mapping[str, Any] = self._asking(fetch)
        return fetched

    def _asking(self, ask: Callable[[], Any]) -> Any:
        if monotonic() < self._away_until_s:
            raise provider_down()
        try:
            return ask()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as cause:
            if _is_away(cause):
                self._away_until_s = monotonic() + AWAY_S
            raise provider_down() from cause


def _is_away(cause: Exception) -> bool:
    """Say whether nobody else would get an answer either.

    A refusal, or an answer that makes no sense, may be due to one person's code: it is theirs alone, or whoever sends
    nonsense once a second would keep everybody out.
    """
    failed = isinstance(cause, httpx.HTTPStatusError) and cause.response.is_server_error
    return failed or isinstance(cause, httpx.TransportError)


def provider_down() -> HubError:
    return HubError(
        Kind.UNAVAILABLE,
        "The service that says who you are does not answer. Nobody can sign in at the moment; all that you decided "
        "goes on to hold, and whoever is signed in stays so.",
        remedy="Try again in a few minutes.",
        code="provider-down",
        retry_after_s=60,
    )


def _unusable(why: str) -> HubError:
    return HubError(
        Kind.UNAVAILABLE,
        f"The service that says who you are cannot be used: {why}.",
        remedy="The hub's operator compares HUB_SIGN_IN_ISSUER with what the provider publishes.",
        code="provider-unusable",
    )


def _said_no(error: str) -> HubError:
    """Word an error of RFC 6749 4.1.2.1, 5.2 and OpenID Connect Core 3.1.2.6. Its own text is not repeated."""
    if error in PROVIDER_AWAY:
        return provider_down()
    if error == TOO_WEAK:
        return HubError(
            Kind.FORBIDDEN,
            "The provider could not check as surely as was needed who you are.",
            remedy="Sign in with a stronger means, such as an identity card.",
            code="assurance-too-low",
        )
    stopped = error == "access_denied"
    return HubError(
        Kind.UNAUTHENTICATED,
        "You stopped signing in." if stopped else "The provider did not sign you in; a link of it works once only.",
        remedy="Sign in again whenever you like.",
        code="sign-in-refused",
    )
