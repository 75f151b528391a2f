"""The proof of a webhook's endpoint: it repeats a random challenge, and only then anything is posted to it.

Where this process may not call agencies another one does: it finds in the store what is asked for, and whoever asked
waits a while for what comes of it.
"""

import secrets
from hmac import compare_digest
from time import monotonic, sleep
from typing import Any

import orjson

from hub.core.errors import HubError, Kind
from hub.exchange.feed import rfc3339
from hub.exchange.post import Unanswered
from hub.exchange.ways_out import note_act
from hub.exchange.webhooks import MEDIA_TYPE, WebhookDesk, absent, connect, failure_of, register, show, signers_of
from hub.exchange.world import World
from hub.identity.webhook_keys import signed_headers
from hub.store.engine import Fences, Tx
from hub.store.webhooks import (
    Proof,
    WebhookRow,
    ask_proof,
    begin_proof,
    end_proof,
    proof_of,
    proofs_to_begin,
    put_webhook,
    webhook_of,
)

US = 1_000_000
CHALLENGE_BYTES = 32
WAIT_S = 10.0  # for a process that proves: it looks each second, and most endpoints answer within another
LOOK_S = 0.2
BEGUN_US = 60 * US  # longer than any proof takes: who began it has died

WORKING = ("active", "failing")


def register_and_prove(desk: WebhookDesk, agency: str, url: str) -> dict[str, Any]:
    """Take an endpoint and have it prove itself; returns what `show` says then. Raises as `register` and `prove` do."""
    return prove(desk, agency) if register(desk, agency, url) else show(desk, agency)


def prove(desk: WebhookDesk, agency: str) -> dict[str, Any]:
    """Post a challenge to an endpoint that is not active; it becomes active by repeating it. Returns what `show` says.

    Where another process proves, this says after a while how far it is. Raises HubError: NOT_FOUND, CONFLICT while a
    proof of this agency's is under way.
    """
    if not desk.calls:
        _wait_for_proof(desk, agency)
        return show(desk, agency)
    with desk.lock:
        if agency in desk.proving:
            raise HubError(
                Kind.CONFLICT,
                "the endpoint is being proven at this moment",
                remedy="Ask for its state in a moment.",
                code="webhook-proving",
            )
        desk.proving.add(agency)
    try:
        _prove(desk, agency)
    finally:
        with desk.lock:
            desk.proving.discard(agency)
    return show(desk, agency)


def _prove(desk: WebhookDesk, agency: str) -> None:
    world = desk.world()
    with world.store.read() as tx:
        row = webhook_of(tx, agency)
    if row is None:
        raise absent()
    if row.state in WORKING:
        return
    challenge = secrets.token_urlsafe(CHALLENGE_BYTES)
    reason, now_us = _ask(desk, world, row, challenge), world.clock()

    def transaction(tx: Tx) -> bool:
        present = webhook_of(tx, agency)
        if present is None or (present.url, present.state, present.since_us) != (row.url, row.state, row.since_us):
            return False  # another one was registered meanwhile: this proof says nothing of it
        if reason:
            put_webhook(tx, present._replace(reason=reason))
            return False
        put_webhook(tx, WebhookRow(agency, row.url, "active", since_us=now_us))
        note_act(tx, desk.salt, {"act": "webhook.proven", "agency": agency}, now_us=now_us)
        return True

    if world.store.write(transaction):
        desk.log.info("webhook.proven", agency=agency)
    desk.changed.set()


def _ask(desk: WebhookDesk, world: World, row: WebhookRow, challenge: str) -> str:
    """Post the challenge; returns why it proves nothing, "" where it does."""
    now_us, message = world.clock(), secrets.token_hex(16)
    body = orjson.dumps(
        {
            "specversion": "1.0", "id": message, "source": "urn:hub", "type": "hub.webhook.verification",
            "time": rfc3339(now_us), "data": {"challenge": challenge},
        }
    )  # fmt: skip
    headers = signed_headers(signers_of(desk, row.agency), message, body, now_us=now_us)
    try:
        line = connect(desk, row.url)
    except (HubError, Unanswered) as failure:
        return failure.code if isinstance(failure, HubError) else failure.reason
    try:
        answer = line.post(headers, MEDIA_TYPE, body)
    except Unanswered as failure:
        return failure.reason
    finally:
        line.close()
    if why := failure_of(answer):
        return why
    try:
        said = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return "challenge"
    repeated = said.get("challenge") if isinstance(said, dict) else None
    if not isinstance(repeated, str) or not compare_digest(repeated.encode(), challenge.encode()):
        return "challenge"
    return ""


def proofs_wanted(desk: WebhookDesk) -> list[Proof]:
    """List what other processes ask for and nobody has begun."""
    world = desk.world()
    with world.store.read() as tx:
        return proofs_to_begin(tx, world.clock() - BEGUN_US)


def prove_for(desk: WebhookDesk, proof: Proof) -> None:
    """Prove what another process asks for, unless somebody else has begun."""
    world = desk.world()
    if not world.store.write(lambda tx: begin_proof(tx, proof, world.clock()), fences=Fences()):
        return
    try:
        _prove(desk, proof.agency)
    except HubError as error:
        if error.kind is not Kind.NOT_FOUND:  # removed meanwhile: there is nothing to prove
            raise
    world.store.write(lambda tx: end_proof(tx, proof), fences=Fences())


def _wait_for_proof(desk: WebhookDesk, agency: str) -> None:
    world = desk.world()

    def transaction(tx: Tx) -> bool:
        row = webhook_of(tx, agency)
        if row is None:
            raise absent()
        if row.state not in WORKING:
            ask_proof(tx, agency, world.clock())
        return row.state not in WORKING

    asked, until_s = world.store.write(transaction), monotonic() + WAIT_S
    while asked and monotonic() < until_s:
        sleep(LOOK_S)
        with world.store.read() as tx:
            asked = proof_of(tx, agency) is not None
