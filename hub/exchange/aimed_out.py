"""What follows in a hand-out's transaction when a correction, a question or backfill leaves, or may not leave."""

from collections.abc import Sequence

import orjson

from hub.core.leaf import canonical
from hub.exchange.choose import Judged
from hub.exchange.world import World
from hub.identity.stops import delete_originals
from hub.store.aims import AskState, clear_backfilled, refuse_question
from hub.store.asks import answer_lost
from hub.store.deliveries import DeliveryKind, QueueState
from hub.store.engine import Tx
from hub.store.interned import intern_id, remember


def settle_aimed(world: World, tx: Tx, recipient: int, settled: Sequence[Judged], *, audit: int, now_us: int) -> None:
    """Do what else follows from a page."""
    cancelled = [one for one in settled if one.outcome == "refusal" and one.aim is not None]
    corrections = [one.candidate for one in cancelled if one.candidate.kind == DeliveryKind.CORRECTION]
    delete_originals(world.keys, tx, recipient, corrections, audit=audit, now_us=now_us)
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
