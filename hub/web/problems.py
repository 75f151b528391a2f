"""The one place where what went wrong becomes an answer: RFC 9457 problems with a stable `type`.

A problem says what is wrong (`detail`), where (a JSON pointer), and what to do (`remedy`); several errors are listed in
`items`. It never holds a stack trace, nor a value that the request brought. `install` sets it up for an application.
"""

import secrets
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub.core.errors import HubError, Item, Kind
from hub.logs import Log
from hub.web.input_words import input_items
from hub.web.problem_titles import TITLES

TYPE_PREFIX = "https://hub.example/problems/"
MEDIA_TYPE = "application/problem+json"
UNFORESEEN = "request.failed"  # what the log calls it, whether a program or a browser was answered
REALM = 'Bearer realm="hub"'
RETRY_UNAVAILABLE_S = 2  # an engine that restarts is back in seconds; agencies' clients back off by themselves
STATUS = {
    Kind.MALFORMED: 400,
    Kind.INVALID: 422,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.GONE: 410,
    Kind.TOO_LARGE: 413,
    Kind.TOO_MANY: 429,
    Kind.UNAVAILABLE: 503,
    Kind.STARTUP: 500,  # never met in a request; if it is, the hub should not have been running
}
CODE_OF_STATUS = {STATUS[kind]: kind.value for kind in Kind if kind is not Kind.STARTUP} | {
    405: "method-not-allowed",
    415: "media-type-unsupported",
}


def problem(error: HubError) -> dict[str, Any]:
    """Shape an error as the members of a problem. Empty members are left out; order is for the reader."""
    members = {
        "type": TYPE_PREFIX + error.code,
        "title": TITLES.get(error.code) or TITLES[error.kind.value],
        "status": STATUS[error.kind],
        "detail": error.what,
        "where": error.where,
        "remedy": error.remedy,
        "items": [_item(item) for item in error.items],
        "retry_after_s": retry_after_s(error),
    }
    return {name: value for name, value in members.items() if value}


def problem_response(error: HubError) -> Response:
    """Answer a request with one problem, and the headers that go with it."""
    return _response(problem(error), headers_of(error))


def headers_of(error: HubError) -> dict[str, str]:
    """Return the headers that go with this error: never cached; Retry-After; the challenge of RFC 6750 section 3."""
    headers = {"cache-control": "no-store"}
    if retry_after_s(error):
        headers["retry-after"] = str(retry_after_s(error))
    if error.kind is Kind.UNAUTHENTICATED or error.code == "scope-missing":
        headers["www-authenticate"] = _challenge(error)
    return headers


def retry_after_s(error: HubError) -> int:
    """Return after how many seconds it makes sense to send the same again; 0 where it never does."""
    return error.retry_after_s or (RETRY_UNAVAILABLE_S if error.kind is Kind.UNAVAILABLE else 0)


def plain_ascii(text: str) -> str:
    """Keep what an error_description may hold (RFC 6749 section 5.2): printable ASCII without quote and backslash."""
    return "".join(character if " " <= character <= "~" and character not in '"\\' else "'" for character in text)


def install(app: FastAPI, log: Log) -> None:
    """Make `app` answer every failure with a problem. Call it once, before routes are called."""
    app.add_exception_handler(HubError, _on_hub_error)
    app.add_exception_handler(RequestValidationError, _on_bad_input)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_middleware(UnexpectedErrors, log=log)


class UnexpectedErrors:
    """Catches what nobody expected, inside the framework's own handler, which would log the message with its values.

    The answer is a problem with a random reference; the log has the same under `request`, with the error's class and
    the line that raised it, and neither its message nor its arguments.
    """

    def __init__(self, app: ASGIApp, log: Log) -> None:
        self._app, self._log = app, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on; answer 500 if nothing was sent yet. If something was, returning makes the server break it off."""
        begun = False

        async def noting_send(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        except Exception as error:  # noqa: BLE001  # the last line of defence: logged with a reference, never swallowed
            reference = secrets.token_hex(8)
            self._log.error(UNFORESEEN, request=reference, exc_info=error)
            if scope["type"] == "http" and not begun:
                await _unexpected(reference)(scope, receive, send)


async def _on_hub_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HubError)
    return problem_response(error)


async def _on_bad_input(_request: Request, error: Exception) -> Response:
    """Answer input that does not fit the declared types: 400 where it is no JSON at all, else 422 with every error."""
    assert isinstance(error, RequestValidationError)
    errors: Sequence[Mapping[str, Any]] = error.errors()
    if any(each["type"] == "json_invalid" for each in errors):
        what, remedy = "The body is not JSON.", "Send UTF-8 JSON; `python -m json.tool` finds the place."
        return problem_response(HubError(Kind.MALFORMED, what, remedy=remedy, code="json-malformed"))
    items = input_items(errors)
    where = items[0].where if len(items) == 1 else ""
    what = "The request does not have the form that this address takes; values are not repeated here."
    return problem_response(HubError(Kind.INVALID, what, where=where, items=items, code="request-form"))


async def _on_http_exception(_request: Request, error: Exception) -> Response:
    """Answer the framework's own refusals. Its texts are dropped: they may repeat the address, which may hold ids."""
    assert isinstance(error, HTTPException)
    code = CODE_OF_STATUS.get(error.status_code, "http-refused")
    detail = {
        404: "There is nothing at this address, or it is not yours to see.",
        405: "This address does not take this method; the header Allow lists those it takes.",
        413: "The body is longer than any that this address takes.",
    }.get(error.status_code, HTTPStatus(error.status_code).phrase + ".")
    members = {"type": TYPE_PREFIX + code, "title": TITLES[code], "status": error.status_code, "detail": detail}
    allow = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
    challenge = {"www-authenticate": REALM} if error.status_code == HTTPStatus.UNAUTHORIZED else {}
    return _response(members, {"cache-control": "no-store", **allow, **challenge})


def _unexpected(reference: str) -> Response:
    members = {
        "type": TYPE_PREFIX + "unexpected",
        "title": TITLES["unexpected"],
        "status": 500,
        "detail": f"The hub failed in a way it did not foresee. Its log knows this failure as {reference}.",
        "remedy": "Send it again once; if it fails again, give the reference to the hub's operator.",
        "reference": reference,
    }
    return _response(members, {"cache-control": "no-store"})


def _response(members: Mapping[str, Any], headers: Mapping[str, str]) -> Response:
    return Response(orjson.dumps(members), int(members["status"]), dict(headers), MEDIA_TYPE)


def _item(item: Item) -> dict[str, str]:
    members = {"detail": item.what, "where": item.where, "remedy": item.remedy}
    return {name: value for name, value in members.items() if value}


def _challenge(error: HubError) -> str:
    """Write WWW-Authenticate. Without any credentials the request gets no error code (RFC 6750 section 3.1)."""
    if error.code.startswith("assertion-"):
        code = "invalid_client"  # RFC 6749 section 5.2
    else:
        code = {
            "token-invalid": "invalid_token",
            "token-expired": "invalid_token",
            "scope-missing": "insufficient_scope",
        }.get(error.code, "")
    if not code:
        return REALM
    return f'{REALM}, error="{code}", error_description="{plain_ascii(error.what)}"'
