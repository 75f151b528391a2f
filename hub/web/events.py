"""Publishing over HTTP: CloudEvents 1.0.2 HTTP binding, structured, binary and batched; and what became of an event."""

from typing import Annotated, Any, NamedTuple
from urllib.parse import unquote

import orjson
from anyio import to_thread
from fastapi import APIRouter, Depends, Request, Response

from hub.core.errors import HubError, Kind
from hub.exchange.publish import Accepted, Outcome, publish
from hub.exchange.status import event_of, event_state
from hub.identity.agency_tokens import Caller
from hub.web.bodies import media_type, read_body, read_json
from hub.web.outcomes import answer_of_items, refused_item
from hub.web.problems import problem_response
from hub.web.running import Running, hub_of
from hub.web.sign_in import caller_with

STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
JSON = "application/json"
BINARY = "ce-"  # the prefix of an attribute's header (section 3.1.3)
Publisher = Annotated[Caller, Depends(caller_with("events:write"))]


class Posted(NamedTuple):
    """What a request brought: envelopes as parsed JSON. Alone: one event, whose refusal is the answer itself."""

    envelopes: list[Any]
    sizes: list[int]
    alone: bool


def event_routes() -> APIRouter:
    """Serve `POST /v1/events` and `GET /v1/events/{token}`."""
    router = APIRouter()

    @router.post("/v1/events")
    async def post_events(request: Request, caller: Publisher, dry_run: bool = False) -> Response:
        hub = hub_of(request)
        body = await read_body(request, hub.settings.publish_body_bytes)
        posted = _posted(request, body, most=hub.settings.publish_batch_max)
        hub.quotas.take(caller.agency, requests=0, events=len(posted.envelopes))
        outcomes = await to_thread.run_sync(_publish, hub, caller.agency, posted, dry_run, limiter=hub.agency_threads)
        if (refused := _said_of_all(posted, outcomes)) is not None:
            return problem_response(refused)
        return _answer(posted, outcomes, dry_run=dry_run)

    @router.get("/v1/events/{token}")
    async def get_event(request: Request, caller: Publisher, token: str) -> Response:
        world = hub_of(request).world
        event = event_of(world.keys, token, world.catalogue.agencies[caller.agency].number)
        threads = hub_of(request).agency_threads
        state = await to_thread.run_sync(event_state, world.store, event, limiter=threads)
        return Response(orjson.dumps({"state": state}), media_type=JSON)

    return router


def _said_of_all(posted: Posted, outcomes: list[Outcome]) -> HubError | None:
    """Return the refusal that is the whole answer: of an event alone, or where all there is to say is: later."""
    first = outcomes[0] if outcomes else None
    if not isinstance(first, HubError):
        return None
    all_wait = all(isinstance(one, HubError) and one.code == "backfill-waits" for one in outcomes)
    return first if posted.alone or all_wait else None


def _publish(hub: Running, agency: str, posted: Posted, dry_run: bool) -> list[Outcome]:
    desk, began_us = hub.desk, hub.clock()
    outcomes = publish(desk, agency, posted.envelopes, sizes=posted.sizes, dry_run=dry_run)
    if not dry_run:
        accepted = sum(isinstance(outcome, Accepted) for outcome in outcomes)
        label = hub.metrics.agency(agency)
        hub.metrics.published.labels(label).inc(accepted)
        hub.metrics.publish_refused.labels(label).inc(len(outcomes) - accepted)
        if hub.traces is not None:
            events = [event_of(desk.keys, outcome.token) for outcome in outcomes if isinstance(outcome, Accepted)]
            hub.traces.record(
                "publish", began_us, hub.clock(), agency=agency, events=events,
                counts={"accepted": accepted, "refused": len(outcomes) - accepted},
            )  # fmt: skip
    return outcomes


def _posted(request: Request, body: bytes, *, most: int) -> Posted:
    """Tell the three content modes apart (CloudEvents HTTP binding, section 3) and read the envelopes."""
    kind = media_type(request)
    if kind == BATCH:
        envelopes = read_json(body)
        if not isinstance(envelopes, list):
            what = "A batch is a JSON array of CloudEvents."
            raise HubError(Kind.MALFORMED, what, remedy=f"Send one event as {STRUCTURED}.", code="event-malformed")
        if len(envelopes) > most:
            what = f"{len(envelopes)} events are more than {most} in one batch."
            raise HubError(Kind.TOO_LARGE, what, remedy=f"Send at most {most} at once.", code="items-too-many")
        return Posted(envelopes, [_size(one) for one in envelopes], alone=False)
    if kind == STRUCTURED:
        return Posted([read_json(body)], [len(body)], alone=True)
    if BINARY + "specversion" in request.headers:
        return Posted([_binary(request, body, kind)], [len(body)], alone=True)
    raise HubError(
        Kind.MALFORMED,
        "The Content-Type is none that CloudEvents travel in, and there is no ce-specversion header.",
        where="Content-Type",
        remedy=f"Send one event as {STRUCTURED}, several as {BATCH}, or one in binary mode with ce- headers.",
        code="event-content-type",
    )


def _size(envelope: Any) -> int:
    """Return the bytes of one event of a batch; 0 where it nests too deeply to be written, and is refused for that."""
    try:
        return len(orjson.dumps(envelope))
    except orjson.JSONEncodeError:
        return 0


def _binary(request: Request, body: bytes, kind: str) -> dict[str, Any]:
    """Put together an event whose attributes are headers, percent-encoded (section 3.1.3.2), and whose body is data."""
    envelope: dict[str, Any] = {
        name.removeprefix(BINARY): unquote(value, errors="replace")
        for name, value in request.headers.items()
        if name.startswith(BINARY)
    }
    if kind:
        envelope["datacontenttype"] = kind
    envelope["data"] = read_json(body) if kind in ("", JSON) else None
    return envelope


def _answer(posted: Posted, outcomes: list[Outcome], *, dry_run: bool) -> Response:
    """Answer per item, in order; a dry run gives no tokens, for nothing was stored that they could ask about."""
    items: list[dict[str, Any]] = []
    for index, (envelope, outcome) in enumerate(zip(posted.envelopes, outcomes, strict=True)):
        given = envelope.get("id") if isinstance(envelope, dict) else None
        name = {"id": given} if isinstance(given, str) else {}
        if isinstance(outcome, HubError):
            items.append({"index": index, **name, **refused_item(index, outcome)})
        else:
            token = {} if dry_run else {"token": outcome.token}
            items.append({"index": index, **name, "status": "accepted", **token})
    return answer_of_items(items, done="accepted", status=200 if dry_run else 202)
