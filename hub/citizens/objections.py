"""Object to a use that the law allows with a right to object, and take it back. Holds the barrier like a withdrawal.

The choice's row is all there is of it: its state says objected or not, its stretch counts the runs without objection,
and its `consent` is minus the id of the audit row of the latest act, under which the act's receipt is kept as well.
"""

from consent.objection import Objection
from consent.receipt import Opened
from hub.citizens.desk import (
    CitizenDesk,
    NotTheirs,
    key_of,
    key_within,
    lines_of,
    new_public,
)
from hub.citizens.inbox import objection_id
from hub.citizens.receipts import keep_signed, kept_receipt, status_address
from hub.citizens.stops import opened_under, queue_stop
from hub.core.agreement import Basis, Purpose
from hub.core.errors import HubError, Kind
from hub.core.leaf import LeafKind
from hub.failpoints import reach
from hub.identity.acts import write_audit
from hub.identity.keys import keyed
from hub.identity.principal import Principal
from hub.store.consents import ChoiceRow, choice_of, save_choice
from hub.store.engine import Fences, Lane, Tx
from hub.store.facts import NEVER_US, PERSON_FENCE, of_persons, raise_fence
from hub.store.outside import Act


def object_to(desk: CitizenDesk, principal: Principal, *, recipient: str, purpose: str) -> bytes:
    """Object; returns the receipt's canonical bytes. Objecting again answers with the first receipt.

    Once this has returned, nothing more is handed out for the purpose. Raises HubError: NOT_FOUND where no agreement
    lets this recipient have anything for it, INVALID where the basis knows no objection.
    """
    wanted = _objectable(desk, recipient, purpose)

    def transaction(tx: Tx) -> bytes:
        reach("objection.begun")
        choice = _choice(desk, tx, principal, recipient, wanted)
        if choice.state == "objected":
            return _kept(desk, tx, principal, choice, "object")
        key, number = key_within(desk, tx, principal.person), desk.catalogue.agencies[recipient].number
        opened = opened_under(
            desk, tx, key, person=principal.person, recipient=recipient, number=number, purpose=purpose,
            stretch=choice.stretch,
        )  # fmt: skip
        said, audit, moment_us = _write(
            desk, tx, principal, recipient, wanted, "object", stretch=choice.stretch, opened=opened
        )
        queue_stop(
            desk, tx, key, person=principal.person, recipient=recipient, number=number, purpose=purpose,
            public=keyed(desk.keys.delivery, "objection", str(audit)), stretch=choice.stretch,
            says={"objection": "recorded"}, audit=audit, at_us=moment_us,
        )  # fmt: skip
        reach("objection.before_commit")
        return said

    said = desk.store.write(transaction, lane=Lane.URGENT, fences=Fences(changes=of_persons([principal.person])))
    desk.ring(desk.catalogue.agencies[recipient].number)
    return said


def take_back(desk: CitizenDesk, principal: Principal, objection: str) -> bytes:
    """Take an objection back; returns the receipt. Again: the first one. What was refused meanwhile stays refused.

    Raises NotTheirs where this person never objected to such a use.
    """
    recipient, _, code = objection.partition(":")
    wanted = desk.catalogue.purposes.get(code)
    if wanted is None or wanted.basis.needs_consent or not lines_of(desk.catalogue, recipient, code):
        raise NotTheirs

    def transaction(tx: Tx) -> bytes:
        choice = _choice(desk, tx, principal, recipient, wanted)
        if not choice.consent:
            raise NotTheirs
        if choice.state != "objected":
            return _kept(desk, tx, principal, choice, "take-back")
        return _write(desk, tx, principal, recipient, wanted, "take-back", stretch=choice.stretch + 1)[0]

    return desk.store.write(transaction, fences=Fences(changes=of_persons([principal.person])))


def _objectable(desk: CitizenDesk, recipient: str, code: str) -> Purpose:
    purpose = desk.catalogue.purposes.get(code)
    if purpose is None or not lines_of(desk.catalogue, recipient, code):
        raise HubError(
            Kind.NOT_FOUND,
            "this recipient gets nothing for a purpose of this name",
            where="/purpose",
            remedy="See what the law allows in GET /v1/me/consents.",
            code="use-unknown",
        )
    if purpose.basis is Basis.LAW_WITH_OBJECTION:
        return purpose
    if purpose.basis.needs_consent:
        what, remedy = f"{code} needs your consent, so there is nothing to object to", "Refuse it, or withdraw it."
    else:
        what, remedy = f"{purpose.law} allows {code} without a right to object", "Turn to the recipient."
    raise HubError(Kind.INVALID, what, where="/purpose", remedy=remedy, code="objection-not-possible")


def _choice(desk: CitizenDesk, tx: Tx, principal: Principal, recipient: str, purpose: Purpose) -> ChoiceRow:
    number = desk.catalogue.agencies[recipient].number
    found = choice_of(tx, person=principal.person, recipient=number, purpose=purpose.number)
    return found or ChoiceRow("none", 0, 0)


def _kept(desk: CitizenDesk, tx: Tx, principal: Principal, choice: ChoiceRow, kind: str) -> bytes:
    said = kept_receipt(tx, key_of(desk, principal.person), choice.consent, kind)
    assert said is not None  # written with the choice, in one transaction
    return said


def _write(
    desk: CitizenDesk,
    tx: Tx,
    principal: Principal,
    recipient: str,
    purpose: Purpose,
    act: str,
    *,
    stretch: int,
    opened: tuple[Opened, ...] = (),
) -> tuple[bytes, int, int]:
    """Write an act's rows under the person's fence; return the receipt, the audit row's id and the moment."""
    raise_fence(tx, PERSON_FENCE, principal.person)
    now_us, key = desk.clock(), key_within(desk, tx, principal.person)
    state, number = "objected" if act == "object" else "none", desk.catalogue.agencies[recipient].number
    if act == "object":
        tx.outside.note(Act("objected", str(principal.person), now_us, number, purpose.number))
    detail = {
        "act": act,
        "acr": principal.acr,
        "capacity": principal.capacity,
        "opened_before": len(opened),
        "purpose": purpose.code,
        "recipient": recipient,
        "session": principal.session,
        "state": state,
        "stretch": stretch,
    }
    audit = write_audit(tx, key, principal.person, LeafKind.CONSENT, detail, at_us=now_us)
    save_choice(
        tx,
        person=principal.person,
        recipient=number,
        purpose=purpose.number,
        state=state,
        stretch=stretch,
        scope=0,
        until_us=NEVER_US,
        assurance=0,
        consent=-audit,
    )
    public, matter = new_public(), objection_id(recipient, purpose.code)
    address = status_address(desk, public)
    receipt = Objection(public, matter, act, state, now_us, opened, issuer=desk.issuer, status=address)
    keep_signed(
        desk, tx, key, receipt=receipt.id, record=-audit, kind=act, at_us=now_us, person=principal.person,
        said=receipt.canonical,
    )  # fmt: skip
    return receipt.canonical, audit, now_us
