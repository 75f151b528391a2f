"""Take questions back that their providers need not answer any more, and tell those who have them already."""

from collections.abc import Sequence
from typing import NamedTuple

from hub.core.agreement import Catalogue
from hub.core.leaf import canonical
from hub.identity.keys import Keyring
from hub.identity.stops import stop_opened
from hub.store.aims import AskState, close_ask
from hub.store.asks import AskRow
from hub.store.deliveries import QueueState
from hub.store.engine import Tx
from hub.store.interned import intern_id, remember


class _Question(NamedTuple):
    public: bytes
    subscription: int
    version: int
    person: int
    number: int


def asked_on_level(catalogue: Catalogue, *, agency: str, above: int) -> list[int]:
    """Number the lines on which an agency asks by law, for purposes that need a better link of its own than `above`."""
    return [
        one.number
        for one in catalogue.subscriptions.values()
        if one.recipient == agency and not one.purpose.basis.needs_consent and one.purpose.assurance > above
    ]


def end_asks(
    keys: Keyring, tx: Tx, rows: Sequence[AskRow], state: AskState, reason: str, *, audit: int, now_us: int
) -> None:
    """Close open asks, and take their questions off the queues: a `stop` for each that was opened."""
    reasons = canonical([reason])
    if rows:
        remember(tx, {intern_id(reasons): reasons}, set())
    for row in rows:
        _stop(keys, tx, row, audit=audit, now_us=now_us)
        close_ask(tx, row.id, state, now_us=now_us, reasons=intern_id(reasons), answer=None)


def _stop(keys: Keyring, tx: Tx, row: AskRow, *, audit: int, now_us: int) -> None:
    """Queue a `stop` where the provider has the question and has not acknowledged it."""
    place = (row.provider, QueueState.OPENED.value, row.question)
    found = tx.one(
        "SELECT d.public, d.subscription, d.version, q.person, q.number FROM queue q JOIN delivery d"
        " ON d.id = q.delivery WHERE q.recipient = ? AND q.state = ? AND q.delivery = ?",
        place,
    )
    if found is not None:
        tx.run("DELETE FROM queue WHERE recipient = ? AND state = ? AND delivery = ?", place)
        question = _Question._make(found)
        stop_opened(keys, tx, row.provider, [question], audit=audit, now_us=now_us)
