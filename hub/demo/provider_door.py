"""The embedded provider over HTTP: a WSGI application of five addresses, and a small server for it on loopback.

`/authorize` shows a form and takes it; whoever signs in chooses the level of assurance that the provider then vouches
for. Production settings refuse to have it, and so does `serving`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlencode
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import orjson
from authlib.common.urls import add_params_to_uri
from authlib.oauth2 import OAuth2Error

from hub.core.errors import HubError, Kind
from hub.demo.provider import LEVELS, Answer, Asked, Provider

FORM_BYTES = 16_384
HOST = "127.0.0.1"
JSON, HTML = "application/json", "text/html; charset=utf-8"
CSP = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"
Pairs = Sequence[tuple[str, str]]
Environ = dict[str, Any]
Start = Callable[[str, list[tuple[str, str]]], object]
App = Callable[[Environ, Start], Iterable[bytes]]
OWN = ("user", "password", "chosen_acr")  # fields of the form that the client's request does not have


def provider_app(provider: Provider) -> App:
    """Make the WSGI application (PEP 3333)."""

    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        try:
            answer = _answer(provider, environ)
        except ValueError:
            answer = Answer(400, {"error": "invalid_request"}, [])
        text = isinstance(answer.body, str)
        content = answer.body.encode() if text else orjson.dumps(answer.body)
        headers = {name.lower(): value for name, value in answer.headers}
        headers |= {"content-type": HTML if text else JSON, "content-length": str(len(content))}
        headers |= {"cache-control": "no-store", "content-security-policy": CSP, "referrer-policy": "no-referrer"}
        start(f"{answer.status} -", list(headers.items()))
        return [content]

    return app


def _answer(provider: Provider, environ: Environ) -> Answer:
    method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "/")
    query = parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    authorization = environ.get("HTTP_AUTHORIZATION", "")
    match method, path:
        case "GET", "/.well-known/openid-configuration":
            return Answer(200, provider.metadata(), [])
        case "GET", "/keys":
            return Answer(200, provider.keys(), [])
        case "GET", "/authorize":
            return _authorize(provider, query, [])
        case "POST", "/authorize":
            return _authorize(provider, query, _form(environ))
        case "POST", "/token":
            token: Answer = provider.create_token_response(Asked(method, path, _form(environ), authorization))
            return token
        case "GET", "/userinfo":
            said = provider.user_info(authorization.removeprefix("Bearer "))
            return Answer(401, {"error": "invalid_token"}, []) if said is None else Answer(200, said, [])
    return Answer(404, {"error": "not_found"}, [])


def _authorize(provider: Provider, query: Pairs, form: Pairs) -> Answer:
    """Show the form, or take it. What the client asked for stands in the address both times, and is checked both times.

    An error goes to the client only where its return address is known to be its own (RFC 6749 section 4.1.2.1).
    """
    asked = [one for one in query if one[0] not in OWN]
    sent = dict(form)
    request = Asked("GET", "/authorize", [*asked, *[one for one in form if one[0] == "chosen_acr"]])
    try:
        grant = provider.get_consent_grant(request)
    except OAuth2Error as error:
        return _refused(provider, error)
    if not form:
        return Answer(200, _page(asked, ""), [])
    if "stop" in sent:
        return _with_issuer(provider, provider.create_authorization_response(request, None, grant))
    user = provider.user(sent.get("user", ""), sent.get("password", ""))
    if user is None or sent.get("chosen_acr") not in LEVELS:
        return Answer(200, _page(asked, "That is no user with this password, or no level was chosen."), [])
    return _with_issuer(provider, provider.create_authorization_response(request, user, grant))


def _refused(provider: Provider, error: OAuth2Error) -> Answer:
    said = {"error": str(error.error), "error_description": str(error.description or "")}
    if not error.redirect_uri:
        return Answer(400, said, [])
    more = {**said, "iss": provider.issuer} | ({"state": error.state} if error.state else {})
    return Answer(302, "", [("location", add_params_to_uri(error.redirect_uri, list(more.items())))])


def _with_issuer(provider: Provider, answer: Answer) -> Answer:
    """Say who answers (RFC 9207 section 2)."""
    headers = [
        (name, add_params_to_uri(value, [("iss", provider.issuer)]) if name.lower() == "location" else value)
        for name, value in answer.headers
    ]
    return Answer(answer.status, answer.body, headers)


def _page(asked: Pairs, wrong: str) -> str:
    given = dict(asked)
    wanted = next((one for one in given.get("acr_values", "").split() if one in LEVELS), LEVELS[1])
    options = "".join(
        f'<option value="{one}"{" selected" if one == wanted else ""}>{one.rpartition("/")[2]}</option>'
        for one in LEVELS
    )
    said = f"<p role=alert>{escape(wrong)}</p>" if wrong else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Sign in (invented people)</title></head>'
        f"<body><main><h1>Sign in</h1><p>All people here are invented.</p>{said}"
        f'<form method="post" action="/authorize?{escape(urlencode(asked))}">'
        '<p><label>User <input name="user" autocomplete="username"></label></p>'
        '<p><label>Password <input name="password" type="password" autocomplete="current-password"></label></p>'
        f'<p><label>Level of assurance <select name="chosen_acr">{options}</select></label></p>'
        '<p><button>Sign in</button> <button name="stop" value="1">Stop</button></p></form></main></body></html>'
    )


def _form(environ: Environ) -> Pairs:
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length > FORM_BYTES:
        raise ValueError("too long")
    return parse_qsl(environ["wsgi.input"].read(length).decode("ascii"), keep_blank_values=True, errors="strict")


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_said: object) -> None:
        """Write nothing: a line would hold codes and states."""


@contextmanager
def serving(port: int, make: Callable[[str], Provider], *, mode: str) -> Iterator[Provider]:
    """Serve a provider on this port of loopback, 0 for a free one, until the block ends. `make` gets its issuer.

    Raises HubError(STARTUP) in production, whatever the settings say, or when the port is taken.
    """
    if mode == "production":
        raise HubError(
            Kind.STARTUP,
            "a provider of invented people does not run in production",
            where="dev_provider_port",
            remedy="Unset HUB_DEV_PROVIDER_PORT.",
            code="provider-refused",
        )
    try:
        server = make_server(HOST, port, _nothing, _Server, _Quiet)
    except OSError as cause:
        raise HubError(
            Kind.STARTUP,
            f"the provider cannot listen on port {port}",
            where="dev_provider_port",
            remedy="Stop what uses it, or set HUB_DEV_PROVIDER_PORT.",
            code="address-unusable",
        ) from cause
    with server:
        provider = make(f"http://{HOST}:{server.server_port}")
        server.set_app(provider_app(provider))
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()


def _nothing(_environ: Environ, start: Start) -> Iterable[bytes]:
    start("503 -", [])
    return []
