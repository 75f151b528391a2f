"""Tell a recipient that a person has stopped something: a `stop` in its feed, acknowledged like any delivery."""

import os
from collections.abc import Mapping

from consent.receipt import Opened
from hub.citizens.desk import CitizenDesk, lines_of
from hub.core.leaf import NONCE_BYTES, canonical
from hub.identity.keys import OpenKey, unseal_with
from hub.identity.people import link_place
from hub.identity.pseudonyms import pseudonym
from hub.store.deliveries import DELIVERY, QUEUE, DeliveryKind, Part, QueueState, pack_parts
from hub.store.engine import Tx
from hub.store.history import deliveries_at, details_at, handed_as, handed_under
from hub.store.interned import intern_id


def queue_stop(
    desk: CitizenDesk,
    tx: Tx,
    key: OpenKey,
    *,
    person: int,
    recipient: str,
    purpose: str,
    public: bytes,
    stretch: int,
    says: Mapping[str, object],
    audit: int,
    at_us: int,
) -> None:
    """Queue a `stop`: about whom, by the recipient's own name of them, for which purpose, and what `says` adds.

    `public` is the stop's own 16-byte name. It goes out whatever is held: it is no data.
    """
    line = min(lines_of(desk.catalogue, recipient, purpose), key=lambda one: one.number)
    number = desk.catalogue.agencies[recipient].number
    share = {**says, "purpose": purpose, "since_us": at_us}
    nonce = os.urandom(NONCE_BYTES)
    plain = canonical([_name(desk, tx, key, person, number, recipient), share])
    box = nonce + key.aead.encrypt(nonce, plain, public)
    shape = canonical({"fields": sorted(share), "role": "person"})
    tx.insert("interned(id, body)", [(intern_id(shape), shape.decode())], or_ignore=True)
    parts = pack_parts([Part(person, intern_id(shape), stretch, 0, len(box))])
    row = tx.one("SELECT coalesce(max(id), 0) + 1 FROM delivery")
    assert row is not None
    kind, version = DeliveryKind.STOP.value, line.agreement.version
    tx.insert(DELIVERY, [(row[0], public, kind, number, line.number, version, audit, at_us, parts, box)])
    tx.insert(QUEUE, [(number, QueueState.READY.value, row[0], line.number, person, 0, 0)])


def opened_under(
    desk: CitizenDesk, tx: Tx, *, person: int, recipient: str, purpose: str, stretch: int
) -> tuple[Opened, ...]:
    """Name exactly the deliveries opened for a recipient's purpose under one stretch. Read under the person's fence.

    One that was stopped since is named all the same, as what it was.
    """
    number = desk.catalogue.agencies[recipient].number
    rows = handed_under(tx, person=person, recipient=number, stretch=stretch)
    pages = details_at(tx, [row.page for row in rows if row.ended])
    first = [handed_as(pages[row.page], row.number)[0] if row.ended else row.delivery for row in rows]
    deliveries = deliveries_at(tx, first)
    lines = {one.number: one for one in lines_of(desk.catalogue, recipient, purpose)}
    return tuple(
        Opened(
            recipient,
            lines[deliveries[at].subscription].dataset.name,
            deliveries[at].public.hex(),
            row.number,
            row.opened_us,
        )
        for row, at in zip(rows, first, strict=True)
        if deliveries[at].subscription in lines
    )


def _name(desk: CitizenDesk, tx: Tx, key: OpenKey, person: int, recipient: int, agency: str) -> str:
    """Name the person towards the recipient: its own id where it is linked, else its pseudonym."""
    own = tx.one(
        "SELECT sealed FROM link WHERE person = ? AND agency = ? AND until_us IS NULL AND disputed = 0 LIMIT 1",
        (person, recipient),
    )
    if own is None:
        return pseudonym(desk.keys.pseudonym, agency, person)
    return unseal_with(key, own[0], link_place(recipient, person)).decode()
