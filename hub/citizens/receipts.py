"""What a person takes away from every act on a record of theirs, signed: issued in the act's own transaction.

Kept as it was signed, sealed for the person, so asking again gives the same bytes. One that was kept before receipts
were signed is signed when it is asked for, always with the hub's first key: so it too is the same each time.
"""

from collections.abc import Sequence
from typing import NamedTuple

from consent.receipt import Opened, Receipt, scope_of
from consent.record import Record
from consent.states import State
from hub.citizens.desk import CitizenDesk, NotTheirs, key_of, new_public, own_consent
from hub.identity.keys import OpenKey, seal_with, unseal_with
from hub.identity.principal import Principal
from hub.identity.receipt_keys import receipt_key, signing_key
from hub.identity.receipts import payload_of, sign_receipt
from hub.store.consents import (
    ConsentRow,
    ReceiptHead,
    add_receipt,
    choice_after,
    consent_by_number,
    receipt_by_id,
    receipt_head,
    receipt_heads,
    receipt_of,
)
from hub.store.engine import Tx

CHANGED = "changed"  # of an objection: a later act of the same person says what holds now


class Status(NamedTuple):
    """What has become of what a receipt is about. `until_us` is 0 where nothing ends by itself."""

    receipt: str
    state: str
    until_us: int


def issue(
    desk: CitizenDesk,
    tx: Tx,
    key: OpenKey,
    row: ConsentRow,
    record: Record,
    action: str,
    *,
    moment_us: int,
    opened: Sequence[Opened] = (),
) -> Receipt:
    """Issue and keep the receipt for the latest event of a record, which is of `moment_us`."""
    public = new_public()
    receipt = Receipt(
        id=public,
        record=record.id,
        action=action,
        state=record.state,
        stretch=record.stretch,
        moment_us=moment_us,
        event=record.head,
        opened_before=tuple(opened),
        issuer=desk.issuer,
        status=status_address(desk, public),
        scope=scope_of(record),
    )
    keep_signed(
        desk, tx, key, receipt=public, record=row.number, kind=action, at_us=moment_us, person=row.person,
        said=receipt.canonical,
    )  # fmt: skip
    return receipt


def keep_signed(
    desk: CitizenDesk,
    tx: Tx,
    key: OpenKey,
    *,
    receipt: str,
    record: int,
    kind: str,
    at_us: int,
    person: int,
    said: bytes,
) -> None:
    """Sign a receipt's canonical bytes and keep the JWS, sealed for the person."""
    jws = sign_receipt(said, signing_key(tx, desk.keys.receipt))
    sealed = seal_with(key, jws, _place(receipt))
    add_receipt(tx, receipt=receipt, consent=record, kind=kind, at_us=at_us, person=person, sealed=sealed)


def kept_receipt(tx: Tx, key: OpenKey, record: int, kind: str) -> bytes | None:
    """Return the canonical bytes of a record's first receipt of a kind."""
    kept = receipt_of(tx, record, kind)
    return None if kept is None else _said(unseal_with(key, kept[1], _place(kept[0])))


def own_receipt(desk: CitizenDesk, principal: Principal, receipt: str) -> bytes:
    """Return a receipt of this person's own as its canonical bytes. Raises NotTheirs."""
    return _said(_opened(desk, principal, receipt))


def own_receipt_signed(desk: CitizenDesk, principal: Principal, receipt: str) -> bytes:
    """Return a receipt of this person's own as a compact JWS. Raises NotTheirs."""
    kept = _opened(desk, principal, receipt)
    return sign_receipt(kept, receipt_key(desk.keys.receipt, 1)) if _is_unsigned(kept) else kept


def receipts_of_consent(desk: CitizenDesk, principal: Principal, public: str) -> list[ReceiptHead]:
    """List the receipts of a record of this person's own, oldest first. Raises NotTheirs."""
    with desk.store.read() as tx:
        return receipt_heads(tx, own_consent(tx, public, principal.person).number)


def status_address(desk: CitizenDesk, receipt: str) -> str:
    """Return the address that says what has become of what a receipt is about."""
    return f"{desk.issuer}/v1/receipts/{receipt}/status"


def status_of(desk: CitizenDesk, receipt: str) -> Status:
    """Say what has become of what a receipt is about, to whoever holds it: its id has 120 random bits.

    Says neither who nor what. Raises NotTheirs where there is no such receipt, or its person was erased.
    """
    now_us = desk.clock()
    with desk.store.read() as tx:
        head = receipt_head(tx, receipt)
        if head is None:
            raise NotTheirs
        if head.consent < 0:
            return Status(receipt, choice_after(tx, head.person, head.consent) or CHANGED, 0)
        row = consent_by_number(tx, head.consent)
    if row is None:
        raise NotTheirs
    if row.due_us is None or now_us < row.due_us:
        return Status(receipt, row.state, row.due_us or 0)
    over = State.LAPSED if row.state == State.REQUESTED else State.EXPIRED  # nobody has written it down yet
    return Status(receipt, over.value, 0)


def _opened(desk: CitizenDesk, principal: Principal, receipt: str) -> bytes:
    with desk.store.read() as tx:
        kept = receipt_by_id(tx, receipt)
    if kept is None or kept[0] != principal.person:
        raise NotTheirs
    return unseal_with(key_of(desk, principal.person), kept[1], _place(receipt))


def _said(kept: bytes) -> bytes:
    return kept if _is_unsigned(kept) else payload_of(kept)


def _is_unsigned(kept: bytes) -> bool:
    """Tell canonical JSON, as it was kept before receipts were signed, from a JWS."""
    return kept.startswith(b"{")


def _place(receipt: str) -> bytes:
    return b"receipt" + receipt.encode()
