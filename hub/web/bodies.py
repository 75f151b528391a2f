"""Read a request's body within its limit, and as JSON. What does not fit is refused before the rest has arrived.

The framework reads a declared form whole, before it looks at who sent it; `FormLimit` bounds what it takes. A door that
reads for itself, after it knows who calls, has a limit of its own in `read_body`.
"""

from typing import Any, TypeVar

import orjson
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub.core.errors import HubError, Kind

Model = TypeVar("Model", bound=BaseModel)
FORM_BYTES = 1_000_000  # the longest form, a grant with every item named, takes a third of it
UNLIMITED = "hub.reads_for_itself"  # in the request's scope: whoever reads the body counts its bytes


class FormLimit:
    """Breaks off a body that is longer than any form. Raises the framework's own 413, which it lets through."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on; count what is received."""
        size = 0

        async def counted() -> Message:
            nonlocal size
            if scope.get(UNLIMITED):
                return await receive()
            if size == 0 and _told_bytes(scope) > FORM_BYTES:
                raise HTTPException(413)
            message = await receive()
            size += len(message.get("body", b""))
            if size > FORM_BYTES:
                raise HTTPException(413)
            return message

        await self._app(scope, counted if scope["type"] == "http" else receive, send)


async def read_body(request: Request, most: int) -> bytes:
    """Return the whole body. Raises HubError(TOO_LARGE) as soon as it is known to have more than `most` bytes."""
    if _told_bytes(request.scope) > most:
        raise _too_large(most)
    request.scope[UNLIMITED] = True
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise _too_large(most)
        chunks.append(chunk)
    return b"".join(chunks)


def read_json(body: bytes) -> Any:
    """Parse UTF-8 JSON (RFC 8259). Raises HubError(MALFORMED)."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as cause:
        what = f"The body is not JSON: something is wrong in line {cause.lineno}, column {cause.colno}."
        remedy = "Send UTF-8 JSON; `python -m json.tool` finds the place."
        raise HubError(Kind.MALFORMED, what, remedy=remedy, code="json-malformed") from cause


def read_model(model: type[Model], body: bytes) -> Model:
    """Read JSON of a declared form. Raises HubError(MALFORMED); RequestValidationError, answered with every error."""
    try:
        return model.model_validate(read_json(body))
    except ValidationError as cause:
        errors = cause.errors(include_url=False, include_input=False)
        raise RequestValidationError([{**error, "loc": ("body", *error["loc"])} for error in errors]) from cause


def media_type(request: Request) -> str:
    """Return the media type without parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def read_items(document: Any, name: str, *, most: int) -> list[Any]:
    """Take the list under `name` out of a JSON object. Raises HubError MALFORMED, TOO_LARGE."""
    items = document.get(name) if isinstance(document, dict) else None
    if not isinstance(items, list):
        what, remedy = f"The body is not an object with a list `{name}`.", f'Send {{"{name}": [...]}}.'
        raise HubError(Kind.MALFORMED, what, where=f"/{name}", remedy=remedy, code="form-malformed")
    if len(items) > most:
        raise HubError(
            Kind.TOO_LARGE,
            f"{len(items)} items are more than {most} in one request.",
            where=f"/{name}",
            remedy=f"Send them in pieces of at most {most}.",
            code="items-too-many",
        )
    return items


def _told_bytes(scope: Scope) -> int:
    """Return what Content-Length says; 0 where it says nothing that a server would have let through."""
    told = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    return int(told) if told.isdigit() and len(told) < 20 else 0


def _too_large(most: int) -> HubError:
    return HubError(
        Kind.TOO_LARGE,
        f"The body has more than {most} bytes.",
        remedy="Send less at once.",
        code="body-too-large",
    )
