"""Linking over HTTP, for agencies with that right: which local id of which agency is which person. JSON or CSV.

A link can be undone, or disputed until somebody knows; settled, it holds again.
"""

import csv
import io
import re
from collections.abc import Callable, Mapping
from datetime import date
from itertools import islice
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Request, Response

from hub.core.errors import HubError, Item, Kind
from hub.exchange.publish import TEXT_MAX
from hub.identity.agency_tokens import Caller
from hub.identity.people import NewLink, Register, dispute, link, settle, unlink
from hub.web.bodies import media_type, read_body, read_items, read_json
from hub.web.outcomes import answer_of_items, refused_item
from hub.web.running import hub_of
from hub.web.sign_in import caller_with

LINKS_AT_ONCE = 5_000
LINK_BYTES = 4_000_000
COLUMNS = ("agency", "local_id", "mine", "level", "born")
NAMES = {"link": frozenset(COLUMNS), "existing": frozenset({"agency", "local_id"})}
DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
DIGIT = re.compile(r"\d", re.ASCII)
LEVELS = (1, 2, 3)  # P1 to P3
Linker = Annotated[Caller, Depends(caller_with("links:write"))]


def link_routes() -> APIRouter:
    """Serve `POST /v1/links`, and `undo`, `dispute` and `settle` below it."""
    router = APIRouter()

    @router.post("/v1/links")
    async def post_links(request: Request, caller: Linker) -> Response:
        hub = hub_of(request)
        rows = await _rows(request)
        hub.quotas.take(caller.agency, requests=0, events=len(rows))
        items = await to_thread.run_sync(_link, hub.register, caller.agency, rows, limiter=hub.agency_threads)
        return answer_of_items(items, done="linked", status=200)

    @router.post("/v1/links/undo")
    async def post_undo(request: Request, caller: Linker) -> Response:
        return await _of_each(request, caller, unlink, done="undone")

    @router.post("/v1/links/dispute")
    async def post_dispute(request: Request, caller: Linker) -> Response:
        return await _of_each(request, caller, dispute, done="disputed")

    @router.post("/v1/links/settle")
    async def post_settle(request: Request, caller: Linker) -> Response:
        return await _of_each(request, caller, settle, done="settled")

    return router


async def _of_each(request: Request, caller: Caller, act: Callable[..., str], *, done: str) -> Response:
    """Do one thing to links that there are, one by one."""
    hub = hub_of(request)
    rows = await _rows(request)
    hub.quotas.take(caller.agency, requests=0, events=len(rows))
    items = await to_thread.run_sync(_each, hub.register, rows, act, limiter=hub.agency_threads)
    return answer_of_items(items, done=done, status=200)


async def _rows(request: Request) -> list[Any]:
    body = await read_body(request, LINK_BYTES)
    if media_type(request) == "text/csv":
        return _csv_rows(body)
    return read_items(read_json(body), "links", most=LINKS_AT_ONCE)


def _csv_rows(body: bytes) -> list[dict[str, Any]]:
    """Read CSV (RFC 4180) whose first line names the columns; an empty cell is left out."""
    try:
        reader = csv.DictReader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        rows = list(islice(reader, LINKS_AT_ONCE + 1))  # four megabytes could hold two million
    except (UnicodeDecodeError, csv.Error) as cause:
        raise _not_csv("The body is not CSV in UTF-8.") from cause
    if not set(reader.fieldnames or ()) <= set(COLUMNS) or any(None in row or None in row.values() for row in rows):
        raise _not_csv("The first line does not name the columns, or a row has more or fewer cells than it.")
    if len(rows) > LINKS_AT_ONCE:
        what = f"The file has more than {LINKS_AT_ONCE} rows, which is what one request may bring."
        raise HubError(Kind.TOO_LARGE, what, remedy="Send the file in pieces.", code="items-too-many")
    return [
        {name: int(cell) if name == "level" and DIGIT.fullmatch(cell) else cell for name, cell in row.items() if cell}
        for row in rows
    ]


def _not_csv(what: str) -> HubError:
    remedy = f"Name the columns {', '.join(COLUMNS)} in the first line; `born` may be left out."
    return HubError(Kind.MALFORMED, what, remedy=remedy, code="form-malformed")


def _link(register: Register, linker: str, rows: list[Any]) -> list[dict[str, Any]]:
    """Link what is well-formed, in order; say of each row what became of it."""
    outcomes: list[str | HubError] = []
    good: list[NewLink] = []
    for row in rows:
        read = _read_link(row)
        if isinstance(read, NewLink):
            good.append(read)
            outcomes.append("")
        else:
            outcomes.append(read)
    done = iter(link(register, linker, good))
    return [_item(index, next(done) if outcome == "" else outcome) for index, outcome in enumerate(outcomes)]


def _each(register: Register, rows: list[Any], act: Callable[..., str]) -> list[dict[str, Any]]:
    items = []
    for index, row in enumerate(rows):
        outcome: str | HubError
        try:
            texts = _texts(row, "existing")
            outcome = act(register, agency=texts["agency"], local_id=texts["local_id"])
        except HubError as refused:
            outcome = refused
        items.append(_item(index, outcome))
    return items


def _item(index: int, outcome: str | HubError) -> dict[str, Any]:
    if isinstance(outcome, HubError):
        return {"index": index, **refused_item(index, outcome)}
    return {"index": index, "status": outcome}


def _read_link(row: Any) -> NewLink | HubError:
    try:
        texts = _texts(row, "link")
        level, born = row.get("level"), row.get("born")
        if isinstance(level, bool) or level not in LEVELS:
            raise _malformed([Item("/level must be 1, 2 or 3 (P1 to P3)", "/level")])
        return NewLink(texts["agency"], texts["local_id"], texts["mine"], level, _day(born))
    except HubError as refused:
        return refused


def _texts(row: Any, act: str) -> Mapping[str, str]:
    """Check names and texts of one row, without repeating a value: they name people."""
    if not isinstance(row, dict):
        raise _malformed([Item("a link is an object", "")])
    wanted = [name for name in ("agency", "local_id", "mine") if name in NAMES[act]]
    items = [
        Item(f"/{name} must be text of 1 to {TEXT_MAX} characters", f"/{name}")
        for name in wanted
        if not isinstance(row.get(name), str) or not 0 < len(row[name]) <= TEXT_MAX
    ]
    if row.keys() - NAMES[act]:
        items.append(
            Item("it has a member that a link does not have", "", f"Known are {', '.join(sorted(NAMES[act]))}.")
        )
    if items:
        raise _malformed(items)
    return row


def _day(text: Any) -> date | None:
    if text is None:
        return None
    if not isinstance(text, str) or not DAY.fullmatch(text):
        raise _malformed([Item("/born must be YYYY-MM-DD", "/born")])
    try:
        return date.fromisoformat(text)
    except ValueError as cause:
        raise _malformed([Item("/born must be a day of the calendar", "/born")]) from cause


def _malformed(items: list[Item]) -> HubError:
    what = f"this is not a link: {len(items)} {'errors' if len(items) > 1 else 'error'}"
    return HubError(Kind.INVALID, what, remedy="Mend the members listed.", code="link-malformed", items=tuple(items))
