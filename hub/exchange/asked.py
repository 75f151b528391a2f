"""What becomes of an ask: what either side sees of it, a provider without an answer, a deadline that passes."""

import os
from collections.abc import Sequence
from typing import Any

from hub.core.agreement import Basis
from hub.core.errors import HubError, Kind
from hub.core.leaf import NONCE_BYTES, LeafKind, leaf, merkle_root
from hub.exchange.aimed import public_of
from hub.exchange.asks import Asked
from hub.exchange.feed import rfc3339
from hub.exchange.notices import tell_ask_closed
from hub.exchange.world import World
from hub.identity.questions import end_asks
from hub.store.aims import AskState, close_ask
from hub.store.asks import NOBODY, THE_PERSON, AskRow, ask_by_public, drop_answers, overdue_asks
from hub.store.audit import add_audit
from hub.store.engine import Tx

PIECE = 200  # asks of one transaction: a withdrawal waits for a few milliseconds at most


def find_ask(world: World, agency: str, text: str) -> AskRow:
    """Return an ask that this agency put, or is asked. Raises HubError(NOT_FOUND): any other does not exist for it."""
    with world.store.read() as tx:
        row = ask_by_public(tx, public_of(text))
    if row is None or world.catalogue.agencies[agency].number not in (row.asker, row.provider):
        raise _unknown()
    return row


def ask_as_json(world: World, agency: str, row: AskRow) -> dict[str, Any]:
    """Say what `agency` may see: the asker also why not, the provider only what it was asked."""
    datasets = {one.number: one.name for one in world.catalogue.datasets.values()}
    line = world.catalogue.subscriptions.get(row.subscription)
    said = {
        "id": row.public.hex(),
        "state": row.word,
        "dataset": datasets.get(row.dataset, ""),
        "purpose": line.purpose.code if line else "",
        "fields": list(row.fields),
        "asked": rfc3339(row.asked_us),
        "deadline": rfc3339(row.deadline_us),
        "closed": rfc3339(row.closed_us) if row.closed_us is not None else None,
    }
    if world.catalogue.agencies[agency].number == row.asker:
        hidden = row.state == AskState.NO_ANSWER.value  # whoever said so: the provider, or the lack of a link there
        said["reasons"] = [] if hidden else list(row.reasons)
    return said


def no_answer(world: World, agency: str, text: str) -> Asked:
    """Let the provider say that it has no answer. Said again it changes nothing.

    Raises HubError: NOT_FOUND where this agency is not asked so, CONFLICT where the ask was closed otherwise.
    """
    row = find_ask(world, agency, text)
    if row.provider != world.catalogue.agencies[agency].number:
        raise _unknown()
    return world.store.write(lambda tx: _no_answer(world, tx, row.public), group=True, rows=3)


def _no_answer(world: World, tx: Tx, public: bytes) -> Asked:
    row, now_us = ask_by_public(tx, public), world.clock()
    if row is None:  # forgotten since
        raise _unknown()
    if row.state == AskState.NO_ANSWER.value:
        return Asked(row)
    if row.state != AskState.ASKED.value:
        raise HubError(
            Kind.CONFLICT,
            f"this ask is {row.word} already",
            remedy="Nothing was changed; acknowledge its question.",
            code="ask-closed",
        )
    audit = _closing(tx, [row], now_us)
    close_ask(tx, row.id, AskState.NO_ANSWER, now_us=now_us, reasons=None, answer=None)
    tell_asker(world, tx, row, "no_answer", audit=audit, now_us=now_us)
    return Asked(row._replace(state=AskState.NO_ANSWER.value, closed_us=now_us), row.asker)


def asked_freely(world: World) -> list[int]:
    """Number the subscriptions on which one grant is good for any number of answers."""
    lines = world.catalogue.subscriptions.values()
    return [one.number for one in lines if one.purpose.basis is not Basis.EXPLICIT_REQUEST]


def expire_asks(world: World) -> int:
    """End up to `PIECE` asks whose deadline has passed, and forget answers to persons' own; returns how many."""
    now_us = world.clock()
    with world.store.read() as tx:
        overdue = bool(overdue_asks(tx, now_us, 1))
        kept = tx.one(
            "SELECT 1 FROM ask INDEXED BY ask_answer WHERE answer IS NOT NULL AND deadline_us <= ? LIMIT 1", (now_us,)
        )
    if not overdue and kept is None:
        return 0
    return world.store.write(lambda tx: _expire(world, tx, now_us))


def _expire(world: World, tx: Tx, now_us: int) -> int:
    rows = overdue_asks(tx, now_us, PIECE)
    if rows:
        audit = _closing(tx, rows, now_us)
        end_asks(world.keys, tx, rows, AskState.EXPIRED, "ask.expired", audit=audit, now_us=now_us)
        for row in rows:
            tell_asker(world, tx, row, "expired", audit=audit, now_us=now_us)
    return len(rows) + drop_answers(tx, now_us, PIECE)


def _closing(tx: Tx, rows: Sequence[AskRow], now_us: int) -> int:
    """Write one audit row over asks that end without an answer, and its place in their persons' histories."""
    nonce = os.urandom(NONCE_BYTES)
    root = merkle_root([nonce + row.public for row in rows])
    row_leaf = leaf(LeafKind.EXPIRY, at_us=now_us, nonce=nonce, commitments=[root])
    detail = b"".join([row.public for row in rows])
    audit = add_audit(tx, LeafKind.EXPIRY, at_us=now_us, leaf=row_leaf, detail=detail)
    persons = sorted({row.person for row in rows if row.person != NOBODY})
    tx.insert("history(person, audit)", [(person, audit) for person in persons])
    return audit


def tell_asker(world: World, tx: Tx, row: AskRow, state: str, *, audit: int, now_us: int) -> None:
    """Queue a notice for an agency whose ask ended without an answer."""
    if row.asker != THE_PERSON:
        tell_ask_closed(world, tx, row.public, row.asker, state, audit=audit, now_us=now_us)


def _unknown() -> HubError:
    return HubError(
        Kind.NOT_FOUND,
        "there is no such ask of yours",
        remedy="Use the id that POST /v1/asks, or the question in your feed, gave you.",
        code="ask-unknown",
    )
