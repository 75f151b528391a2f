"""What follows in a hand-out's transaction when a correction, a question or backfill leaves, or may not leave."""

from collections.abc import Sequence

import orjson

from hub.core.leaf import canonical
from hub.exchange.choose import Judged
from hub.exchange.world import World
from hub.store.aims import (
    DELIVERY_AIM,
    AimRow,
    AskState,
    clear_backfilled,
    refuse_question,
    was_opened,
)
from hub.store.asks import answer_lost
from hub.store.deliveries import DELIVERY, QUEUE, DeliveryKind, QueueState, public_id
from hub.store.engine import Tx
from hub.store.interned import intern_id, remember
from hub.store.overdue import STOP_DUE_US, set_due


def settle_aimed(
    world: World, tx: Tx, recipient: int, settled: Sequence[Judged], *, first_delivery: int, audit: int, now_us: int
) -> None:
    """Do what else follows from a page. `first_delivery` is the next free id of a delivery."""
    cancelled = [one for one in settled if one.outcome == "refusal" and one.aim is not None]
    corrections = [one for one in cancelled if one.candidate.kind == DeliveryKind.CORRECTION]
    delivery = first_delivery
    for one in corrections:
        if _delete(world, tx, recipient, one, delivery=delivery, audit=audit, now_us=now_us):
            delivery += 1
    for one in cancelled:
        if one.candidate.kind in (DeliveryKind.QUESTION, DeliveryKind.ANSWER):
            _refuse(tx, one, now_us)
    left = {
        (one.candidate.subscription, one.candidate.person)
        for one in settled
        if one.candidate.state == QueueState.LATER.value
    }
    if left:
        clear_backfilled(tx, sorted(left))


def _delete(
    world: World, tx: Tx, recipient: int, one: Judged, *, delivery: int, audit: int, now_us: int
) -> bool:  # fmt: skip
    """Where a correction may not go any more, have the original deleted by who got it: no data, an id of its own."""
    row, aim = one.candidate, one.aim
    assert aim is not None
    if not was_opened(tx, recipient=recipient, person=row.person, delivery=aim.original):
        return False
    public = public_id(world.keys.delivery, row.public + aim.of, row.subscription)
    text = world.keys.wrapping.seal(canonical({"deletes": [aim.of.hex()]}), public)
    kind = DeliveryKind.DELETE.value
    tx.insert(DELIVERY, [(delivery, public, kind, recipient, row.subscription, row.version, audit, now_us, b"", text)])
    tx.insert(QUEUE, [(recipient, QueueState.READY.value, delivery, row.subscription, row.person, 0, 0)])
    tx.insert(DELIVERY_AIM, [(delivery, *AimRow(aim.of, aim.original, 0, 0, 0)[:5])])
    set_due(tx, [delivery], now_us + STOP_DUE_US)
    return True


def _refuse(tx: Tx, one: Judged, now_us: int) -> None:
    """Close the ask of a question that may not reach its provider any more, or of an answer that may not its asker."""
    assert one.aim is not None
    reasons = canonical(orjson.loads(one.body[1])["reasons"])
    remember(tx, {intern_id(reasons): reasons}, set())
    if one.candidate.kind == DeliveryKind.ANSWER:
        answer_lost(tx, one.aim.of, now_us=now_us, reasons=intern_id(reasons))
        return
    state = AskState.EXPIRED if b"ask.expired" in reasons else AskState.REFUSED
    refuse_question(tx, one.aim.of, state, now_us=now_us, reasons=intern_id(reasons))
