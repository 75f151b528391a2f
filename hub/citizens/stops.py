"""Tell a recipient that a person has stopped something: a `stop` in its feed, acknowledged like any delivery."""

import os
from collections.abc import Mapping

from consent.receipt import Opened
from hub.citizens.desk import CitizenDesk, lines_of
from hub.citizens.history import own_details
from hub.core.leaf import NONCE_BYTES, LeafKind, canonical
from hub.identity.keys import OpenKey, unseal_with
from hub.identity.people import link_place
from hub.identity.pseudonyms import pseudonym
from hub.store.deliveries import DeliveryKind, NewDelivery, Part, pack_parts, put_ready
from hub.store.engine import Tx
from hub.store.facts import scopes
from hub.store.history import DeliveryHead, audits_at, deliveries_at, details_at, handed_as, handed_under
from hub.store.interned import intern_id
from hub.store.overdue import STOP_DUE_US, set_due


def queue_stop(
    desk: CitizenDesk,
    tx: Tx,
    key: OpenKey,
    *,
    person: int,
    recipient: str,
    number: int,
    purpose: str,
    public: bytes,
    stretch: int,
    says: Mapping[str, object],
    audit: int,
    at_us: int,
) -> None:
    """Queue a `stop`: about whom, by the recipient's own name of them, for which purpose, and what `says` adds.

    `number` is the recipient's as the store has it: it may have left the catalogue. `public` is the stop's own 16-byte
    name. It goes out whatever is held: it is no data.
    """
    lines = lines_of(desk.catalogue, recipient, purpose)  # none where the agreement has ended: it is told all the same
    line = min(lines, key=lambda one: one.number, default=None)
    at, version = (line.number, line.agreement.version) if line else (0, 0)
    share = {**says, "purpose": purpose, "since_us": at_us}
    nonce = os.urandom(NONCE_BYTES)
    plain = canonical([_name(desk, tx, key, person, number, recipient), share])
    box = nonce + key.aead.encrypt(nonce, plain, public)
    shape = canonical({"fields": sorted(share), "role": "person"})
    tx.insert("interned(id, body)", [(intern_id(shape), shape.decode())], or_ignore=True)
    parts = pack_parts([Part(person, intern_id(shape), stretch, 0, len(box))])
    new = NewDelivery(public, DeliveryKind.STOP, number, audit, at_us, box, at, version, parts, person)
    set_due(tx, [put_ready(tx, new)], at_us + STOP_DUE_US)


def opened_under(
    desk: CitizenDesk, tx: Tx, key: OpenKey, *, person: int, recipient: str, number: int, purpose: str, stretch: int
) -> tuple[Opened, ...]:
    """Name exactly the deliveries opened for a recipient's purpose under one stretch. Read under the person's fence.

    One that was stopped since is named all the same, as what it was; one whose agreement has ended, as its decision
    has it.
    """
    rows = handed_under(tx, person=person, recipient=number, stretch=stretch)
    pages = details_at(tx, [row.page for row in rows if row.ended])
    first = [handed_as(pages[row.page], row.number)[0] if row.ended else row.delivery for row in rows]
    deliveries = deliveries_at(tx, first)
    known = desk.catalogue.subscriptions
    lines = {one.number: one.dataset.name for one in lines_of(desk.catalogue, recipient, purpose)}
    opened = []
    for row, at in zip(rows, first, strict=True):
        head = deliveries[at]
        dataset = lines.get(head.subscription)
        if dataset is None and head.subscription not in known:
            dataset = _dataset_of(tx, key, head, person, purpose)
        if dataset is not None:
            opened.append(Opened(recipient, dataset, head.public.hex(), row.number, row.opened_us))
    return tuple(opened)


def _dataset_of(tx: Tx, key: OpenKey, head: DeliveryHead, person: int, purpose: str) -> str | None:
    """Name what a delivery was of, as the person's own part of its decision has it; None where for another purpose."""
    (row,) = audits_at(tx, [head.audit])
    if row.kind != LeafKind.DECISION:
        return None
    for outcomes, _tags in own_details(row, person, key):
        for line, body in outcomes:
            said = scopes(tx, [body])[body]
            if line == head.subscription and said["purpose"] == purpose:
                return str(said["dataset"])
    return None


def _name(desk: CitizenDesk, tx: Tx, key: OpenKey, person: int, recipient: int, agency: str) -> str:
    """Name the person towards the recipient: its own id where it is linked, else its pseudonym."""
    own = tx.one(
        "SELECT sealed FROM link WHERE person = ? AND agency = ? AND until_us IS NULL AND disputed = 0 LIMIT 1",
        (person, recipient),
    )
    if own is None:
        return pseudonym(desk.keys.pseudonym, agency, person)
    return unseal_with(key, own[0], link_place(recipient, person)).decode()
