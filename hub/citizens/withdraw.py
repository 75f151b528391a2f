"""Withdraw: the revocation barrier. Once this has returned, no hand-out that relied on the consent commits any more.

In one transaction, in the fast lane:
1. the person's fence, exclusively                       2. the consent's last event, and what decisions read of it
3. what was opened under this stretch, read under the fence, for the receipt
4. a `stop` for the recipient, the audit row, the receipt; commit; only then it returns
Queues are left alone: every hand-out decides again under the same fence, and cancels.
"""

import os

from consent.errors import ConsentError
from consent.receipt import Opened, Receipt, receipt_from_bytes
from consent.record import Record, withdraw
from hub.citizens.choices import Done, keep_receipt
from hub.citizens.desk import (
    CitizenDesk,
    key_of,
    lines_of,
    new_public,
    own_consent,
    project,
    record_of,
    refused,
    save_step,
    write_audit,
)
from hub.core.leaf import LeafKind, canonical
from hub.failpoints import reach
from hub.identity.keys import OpenKey, keyed, unseal_with
from hub.identity.people import link_place
from hub.identity.principal import Principal, by
from hub.identity.pseudonyms import pseudonym
from hub.store.consents import ConsentRow, opened_under, receipt_of
from hub.store.deliveries import DELIVERY, QUEUE, DeliveryKind, Part, QueueState, pack_parts
from hub.store.engine import Lane, Tx
from hub.store.facts import PERSON_FENCE, raise_fence
from hub.store.interned import intern_id


def withdraw_it(desk: CitizenDesk, principal: Principal, public: str) -> Done:
    """End a consent. A second withdrawal answers with the first receipt.

    Raises HubError NOT_FOUND (somebody else's), CONFLICT (never given, or over already by itself), UNAVAILABLE: then
    nothing has changed.
    """

    def transaction(tx: Tx) -> Done:
        reach("withdraw.begun")
        row = own_consent(tx, public, principal.person)
        key = key_of(desk, principal.person)
        earlier = receipt_of(tx, row.number, "withdraw")
        if earlier is not None:
            first = receipt_from_bytes(unseal_with(key, earlier[1], b"receipt" + earlier[0].encode()))
            return Done(public, first.state.value, first)
        raise_fence(tx, PERSON_FENCE, row.person)  # 1.
        record, event = withdraw(record_of(tx, key, row), by=by(principal), at_us=desk.clock())  # 2.
        assert event is not None  # a second withdrawal was answered above
        row = save_step(tx, key, row, record, (event,))
        project(tx, desk.catalogue, row, record)
        opened = _opened(desk, tx, row, record)  # 3.
        reach("withdraw.recorded")
        moment_us = event.said.at_us
        receipt = Receipt(
            new_public(), record.id, "withdraw", record.state, record.stretch, moment_us, record.head, opened
        )
        keep_receipt(tx, key, row, receipt)  # 4.
        detail = {
            "act": "withdraw",
            "consent": row.public,
            "event": record.head.hex(),
            "opened_before": len(opened),
            "purpose": record.terms.purpose,
            "recipient": record.terms.recipient,
            "state": record.state.value,
            "stretch": record.stretch,
        }
        audit = write_audit(tx, key, row.person, LeafKind.CONSENT, detail, at_us=moment_us)
        _stop(desk, tx, key, row, record, audit, moment_us)
        reach("withdraw.before_commit")
        return Done(public, record.state.value, receipt)

    try:
        done = desk.store.write(transaction, lane=Lane.URGENT)
    except ConsentError as error:
        raise refused(error) from error
    reach("withdraw.committed")
    return done


def _opened(desk: CitizenDesk, tx: Tx, row: ConsentRow, record: Record) -> tuple[Opened, ...]:
    """Name exactly the deliveries opened under the stretch that ends."""
    lines = {one.number: one for one in lines_of(desk.catalogue, record.terms.recipient, record.terms.purpose)}
    rows = opened_under(
        tx, person=row.person, recipient=row.recipient, stretch=record.stretch, subscriptions=list(lines)
    )
    return tuple(
        Opened(
            record.terms.recipient, lines[one.subscription].dataset.name, one.public.hex(), one.number, one.opened_us
        )
        for one in rows
    )


def _stop(desk: CitizenDesk, tx: Tx, key: OpenKey, row: ConsentRow, record: Record, audit: int, moment_us: int) -> None:
    """Queue a `stop` for the recipient: whose consent, for what, since when. It is acknowledged like any delivery."""
    line = min(lines_of(desk.catalogue, record.terms.recipient, record.terms.purpose), key=lambda one: one.number)
    last = tx.one("SELECT coalesce(max(id), 0) + 1 FROM delivery")
    assert last is not None
    public = keyed(desk.keys.delivery, "stop", row.public)
    name = _name(desk, tx, key, row, record.terms.recipient)
    share = {"consent": "withdrawn", "purpose": record.terms.purpose, "since_us": moment_us}
    nonce = os.urandom(12)
    box = nonce + key.aead.encrypt(nonce, canonical([name, share]), public)
    shape = canonical({"fields": sorted(share), "role": "person"})
    tx.insert("interned(id, body)", [(intern_id(shape), shape.decode())], or_ignore=True)
    parts = pack_parts([Part(row.person, intern_id(shape), record.stretch, 0, len(box))])
    kind, version = DeliveryKind.STOP.value, line.agreement.version
    tx.insert(DELIVERY, [(last[0], public, kind, row.recipient, line.number, version, audit, moment_us, parts, box)])
    tx.insert(QUEUE, [(row.recipient, QueueState.READY.value, last[0], line.number, row.person, 0, 0)])
    desk.ring(row.recipient)


def _name(desk: CitizenDesk, tx: Tx, key: OpenKey, row: ConsentRow, agency: str) -> str:
    """Name the person towards the recipient: its own id where it is linked, else its pseudonym."""
    own = tx.one(
        "SELECT sealed FROM link WHERE person = ? AND agency = ? AND until_us IS NULL AND disputed = 0 LIMIT 1",
        (row.person, row.recipient),
    )
    if own is None:
        return pseudonym(desk.keys.pseudonym, agency, row.person)
    return unseal_with(key, own[0], link_place(row.recipient, row.person)).decode()
