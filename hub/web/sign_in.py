"""Where agencies sign in: OAuth 2 client credentials with `private_key_jwt`, on Authlib's authorization server.

What goes wrong at the token endpoint is answered as RFC 6749 section 5.2 has it (`application/json`, `error`,
`error_description`), and the same object carries the members of the problem (`type`, `title`, `status`, `detail`,
`where`, `remedy`, `items`), so that one client reads both. Every other address answers `application/problem+json`.
"""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from urllib.parse import parse_qsl

import orjson
from anyio import to_thread
from authlib.oauth2.rfc6749 import (
    AuthorizationServer,
    ClientMixin,
    InvalidClientError,
    OAuth2Error,
    OAuth2Request,
    UnsupportedGrantTypeError,
)
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from fastapi import APIRouter, Depends, Request, Response

from hub.core.errors import HubError, Kind
from hub.identity.agency_tokens import SCOPES, AgencyTokens, Caller, nothing_new
from hub.identity.signed_tokens import ALGORITHMS
from hub.web.problems import headers_of, plain_ascii, problem

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"  # RFC 7523 2.2
FORM_TYPE = "application/x-www-form-urlencoded"
FORM_BYTES = 16_384  # an assertion of `TOKEN_CHARS` and the rest
FORM_FIELDS = 16
METHOD = "private_key_jwt"  # OpenID Connect Core section 9
KEYS_MAX_AGE_S = 300
OAUTH_ERRORS = {  # RFC 6749 5.2, and "temporarily_unavailable" of 4.1.2.1, which fits better than none
    "grant-type-unsupported": "unsupported_grant_type",
    "scope-unknown": "invalid_scope",
    "scope-not-held": "invalid_scope",
    Kind.MALFORMED: "invalid_request",
    Kind.TOO_LARGE: "invalid_request",
    Kind.UNAUTHENTICATED: "invalid_client",
    Kind.TOO_MANY: "temporarily_unavailable",
    Kind.UNAVAILABLE: "temporarily_unavailable",
}


def sign_in_routes(tokens: AgencyTokens) -> APIRouter:
    """Serve the token endpoint, the hub's keys and its metadata (RFC 8414)."""
    router, server = APIRouter(), TokenServer(tokens)

    @router.post("/oauth/token")
    def token(form: Annotated[dict[str, str] | HubError, Depends(read_form)]) -> Response:
        """Sign an agency in. Sync: it waits for a disk."""
        try:
            if isinstance(form, HubError):
                raise form
            issued: Response = server.create_token_response(form)
        except HubError as error:
            return token_refusal(error)
        return issued

    @router.get("/.well-known/jwks.json")
    async def keys() -> Response:
        headers = {"cache-control": f"public, max-age={KEYS_MAX_AGE_S}"}
        return Response(orjson.dumps(tokens.public_keys()), headers=headers, media_type="application/jwk-set+json")

    @router.get("/.well-known/oauth-authorization-server")
    async def metadata() -> Response:
        return Response(orjson.dumps(server_metadata(tokens.issuer)), media_type="application/json")

    return router


def caller_with(scope: str) -> Callable[[Request], Coroutine[Any, Any, Caller]]:
    """Make the dependency that lets in agencies whose token has `scope`, and counts one request of theirs.

    It reads `agency_tokens`, `quotas` and `clock` of `app.state.hub`. Raises `HubError` UNAUTHENTICATED (token-missing,
    token-invalid, token-expired), FORBIDDEN (scope-missing), TOO_MANY. Async: it waits for nothing, except for a token
    that may be signed by a key made at another process.
    """

    async def caller(request: Request) -> Caller:
        hub = request.app.state.hub
        tokens: AgencyTokens = hub.agency_tokens
        known = await _caller(tokens, bearer_token(request), hub.clock())
        if scope not in known.scopes:
            raise HubError(
                Kind.FORBIDDEN,
                f"The access token does not have the scope {scope}.",
                remedy=f"Ask for {scope} at the token endpoint; the agency needs the right that it belongs to.",
                code="scope-missing",
            )
        hub.quotas.take(known.agency)
        return known

    return caller


async def _caller(tokens: AgencyTokens, token: str, now_us: int) -> Caller:
    try:
        return tokens.authenticate(token, now_us=now_us)
    except HubError as refused:
        if refused.code != "token-invalid" or tokens.hear is nothing_new or not await to_thread.run_sync(tokens.hear):
            raise
    return tokens.authenticate(token, now_us=now_us)


def bearer_token(request: Request) -> str:
    """Return the token in the Authorization header (RFC 6750 2.1; never from the form or the address)."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise HubError(
            Kind.UNAUTHENTICATED,
            "The request carries no access token.",
            remedy="Send `Authorization: Bearer ...` with a token from the token endpoint.",
            code="token-missing",
        )
    return token.strip()


def server_metadata(issuer: str) -> dict[str, Any]:
    """Describe the authorization server to clients (RFC 8414 section 2)."""
    return {
        "issuer": issuer,
        "token_endpoint": f"{issuer}/oauth/token",
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        "scopes_supported": list(SCOPES),
        "response_types_supported": [],  # there is no authorization endpoint
        "grant_types_supported": [ClientCredentialsGrant.GRANT_TYPE],
        "token_endpoint_auth_methods_supported": [METHOD],
        "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
    }


def token_refusal(error: HubError) -> Response:
    """Answer a refused token request: RFC 6749's members and the problem's, in one object."""
    members = problem(error)
    oauth = {
        "error": OAUTH_ERRORS.get(error.code) or OAUTH_ERRORS.get(error.kind, "invalid_request"),
        "error_description": plain_ascii(error.what),
    }
    return Response(orjson.dumps(oauth | members), members["status"], headers_of(error), "application/json")


async def read_form(request: Request) -> dict[str, str] | HubError:
    """Read a form body of bounded size. Errors are returned, not raised: the token endpoint words them in its way."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM_TYPE:
        return _form_error(f"The body must be {FORM_TYPE}.")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES:
            what, remedy = f"The form is longer than {FORM_BYTES} bytes.", "Send the assertion and the scopes only."
            return HubError(Kind.TOO_LARGE, what, remedy=remedy, code="form-malformed")
    try:
        pairs = parse_qsl(body.decode("ascii"), strict_parsing=bool(body), max_num_fields=FORM_FIELDS, errors="strict")
    except ValueError:
        return _form_error("The body is not a form, or has too many fields.")
    if len({name for name, _ in pairs}) < len(pairs):
        return _form_error("A field of the form is there twice.")  # RFC 6749 3.2
    return dict(pairs)


def _form_error(what: str) -> HubError:
    remedy = "Send grant_type, client_assertion_type, client_assertion and scope, once each, URL-encoded."
    return HubError(Kind.MALFORMED, what, remedy=remedy, code="form-malformed")


class Client(ClientMixin):  # type: ignore[misc]  # Authlib has no types
    """A signed-in agency as Authlib wants to see it."""

    def __init__(self, agency: str) -> None:
        self.agency = agency

    def __repr__(self) -> str:
        return f"Client({self.agency})"

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return (method, endpoint) == (METHOD, "token")

    def check_grant_type(self, grant_type: str) -> bool:
        return bool(grant_type == ClientCredentialsGrant.GRANT_TYPE)


class ClientCredentials(ClientCredentialsGrant):  # type: ignore[misc]  # Authlib has no types
    """The one grant. Authlib's own answer writes the token into its debug log; this one does not."""

    TOKEN_ENDPOINT_AUTH_METHODS = (METHOD,)

    def create_token_response(self) -> tuple[int, dict[str, Any], list[tuple[str, str]]]:
        token = self.generate_token(scope=self.request.payload.scope or "", include_refresh_token=False)
        return 200, token, self.TOKEN_RESPONSE_HEADER


class TokenServer(AuthorizationServer):  # type: ignore[misc]  # Authlib has no types
    """Authlib's server between a form that was read and the response that goes out.

    Only the protocol is Authlib's. Its `private_key_jwt` takes RS256 and an array `aud` and tells which clients exist,
    and its token generator has a clock of its own; so both are registered from `AgencyTokens`.
    """

    def __init__(self, tokens: AgencyTokens) -> None:
        super().__init__(scopes_supported=SCOPES)
        self._tokens = tokens
        self.register_client_auth_method(METHOD, self._authenticated)
        self.register_token_generator(ClientCredentials.GRANT_TYPE, self._token)
        self.register_grant(ClientCredentials)

    def create_oauth2_request(self, form: dict[str, str]) -> OAuth2Request:
        request = OAuth2Request("POST", f"{self._tokens.issuer}/oauth/token")
        request.payload = BasicOAuth2Payload(form)
        return request

    def handle_response(self, status: int, body: dict[str, Any], headers: list[tuple[str, str]]) -> Response:
        return Response(orjson.dumps(body), status, dict(headers))

    def handle_error_response(self, _request: OAuth2Request, error: OAuth2Error) -> Response:
        """Turn Authlib's errors into ours: its texts repeat what the form held."""
        raise _own_words(error) from error

    def query_client(self, client_id: str) -> None:
        """Know no client by name alone."""

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        """Tell nobody."""

    def _authenticated(self, _query_client: object, request: OAuth2Request) -> Client:
        form = request.payload.data
        if form.get("client_assertion_type") != ASSERTION_TYPE or not form.get("client_assertion"):
            raise HubError(
                Kind.UNAUTHENTICATED,
                "The form has no client_assertion, or not the client_assertion_type that agencies sign in with.",
                where="client_assertion_type",
                remedy=f"Send client_assertion_type={ASSERTION_TYPE} and a signed JWT in client_assertion.",
                code="assertion-missing",
            )
        return Client(self._tokens.sign_in(form["client_assertion"], client_id=form.get("client_id", "")))

    def _token(self, *, client: Client, scope: str, **_unused: object) -> dict[str, Any]:
        issued = self._tokens.issue(client.agency, scope)
        return {
            "access_token": issued.token,
            "token_type": "Bearer",
            "expires_in": issued.life_s,
            "scope": " ".join(issued.scopes),
        }


def _own_words(error: OAuth2Error) -> HubError:
    if isinstance(error, UnsupportedGrantTypeError):
        return HubError(
            Kind.MALFORMED,
            "The token endpoint knows the grant type client_credentials only.",
            where="grant_type",
            remedy="Send grant_type=client_credentials.",
            code="grant-type-unsupported",
        )
    if isinstance(error, InvalidClientError):
        return HubError(Kind.UNAUTHENTICATED, "The agency is not signed in.", code="assertion-missing")
    what, remedy = "A requested scope does not exist.", f"Ask for one or more of {', '.join(SCOPES)}."
    return HubError(Kind.MALFORMED, what, where="scope", remedy=remedy, code="scope-unknown")
