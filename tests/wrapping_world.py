"""A hub that holds one of everything that is sealed under the wrapping key, and what production code reads of it.

    python tests/wrapping_world.py DIRECTORY FAILPOINTS

rotates that key in a process of its own, to be killed; what a killed one had begun the next goes on with.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag

from hub.exchange.backfills import keep_progress, list_backfills
from hub.failpoints import arm_from
from hub.identity.day_keys import DayKeys
from hub.identity.keys import OpenKeys, Wrapping, new_key, unseal, wrap_person
from hub.identity.webhook_keys import FOR_EVER_US, new_webhook_key, signer
from hub.identity.wrapping import SEALED, SETTLES_US, progress, rotate_wrapping, wrap_anew
from hub.store import wrapped
from hub.store.engine import Store, Tx
from hub.store.webhooks import add_webhook_key, webhook_keys
from tests.backfill_world import opened as backfill_opened
from tests.protocol_world import CONSENT, LOOK_BACK, Hub, opened

S = 1_000_000
PEOPLE = tuple(f"P-{at}" for at in range(6))


def plant(hub: Hub) -> None:
    """Let one of everything come about by the code that makes it."""
    for name in PEOPLE:
        hub.link(name)
    person = hub.link("A")
    consent = hub.grant(person)
    of = backfill_opened(hub, LOOK_BACK)  # tells its provider and its recipient: two notices
    keep_progress(hub.world, LOOK_BACK.publisher, of, cursor="row 17", persons=3)
    hub.publish("not-linked", "NOBODY-YET")
    hub.publish("one", "A")
    hub.decide()
    hub.pull()
    hub.withdraw(person, consent)  # what was opened is stopped
    now_us = hub.clock()

    def sign_webhooks(tx: Tx) -> None:
        for agency in ("tax", CONSENT.recipient):
            key = new_webhook_key(hub.keys.wrapping, agency, now_us=now_us)
            add_webhook_key(tx, key, former_until_us=FOR_EVER_US)

    hub.store.write(sign_webhooks)


def crowd(hub: Hub, count: int) -> None:
    """Add people, as many as do not fit into one piece."""
    rows = [(at, 1, None, wrap_person(hub.keys.wrapping, at, new_key()), None) for at in range(1, count + 1)]
    hub.store.write(lambda tx: tx.insert("person(id, created_us, erased_us, key, born)", rows))


def readable(hub: Hub) -> dict[str, list[Any]]:
    """Read all of it as production does, with nothing that was opened before."""
    persons = [row[0] for row in hub.rows("SELECT id FROM person WHERE key IS NOT NULL ORDER BY id")]
    keys = OpenKeys(hub.keys.wrapping, hub._wrapped).of(persons)
    days, now_us = DayKeys(hub.store, hub.keys), hub.clock()
    waiting = hub.rows(
        "SELECT w.subject, k.key, w.sealed FROM waiting w JOIN waiting_key k USING (subject) ORDER BY id"
    )
    with hub.store.read() as tx:
        signers = [signer(hub.keys.wrapping, row) for one in ("tax", CONSENT.recipient)
                   for row in webhook_keys(tx, one, now_us)]  # fmt: skip
    texts = hub.rows("SELECT payload, public FROM delivery WHERE length(parts) = 0 AND length(payload) > 0 ORDER BY id")
    return {
        "person": [keys[person].salt for person in persons],
        "waiting_key": [
            unseal(hub.keys.wrapping.unseal(key, b"waiting" + subject), sealed, subject)
            for subject, key, sealed in waiting
        ],
        "day_key": [
            days.of(*row) is not None
            for row in hub.rows("SELECT agency, day FROM day_key WHERE key IS NOT NULL ORDER BY agency, day")
        ],
        "webhook_key": [one.private.private_bytes_raw() for one in signers],
        "backfill": [one["cursor"] for one in list_backfills(hub.world, LOOK_BACK.publisher)],
        "delivery": [hub.keys.wrapping.unseal(payload, public) for payload, public in texts],
    }


def under(hub: Hub, secret: bytes) -> dict[str, int]:
    """Count, per table, what this secret opens by itself."""
    return count_under(hub.store, secret)


def count_under(store: Store, secret: bytes) -> dict[str, int]:
    alone, found = Wrapping(secret), {}
    with store.read() as tx:
        for column, place in SEALED:
            rows = [one for one in wrapped.piece(tx, column, (), 100_000) if one.sealed]
            found[column.table] = sum(_opens(alone, one.sealed, place(*one.bound)) for one in rows)
    return found


def _opens(wrapping: Wrapping, sealed: bytes, bound: bytes) -> bool:
    try:
        wrapping.unseal(sealed, bound)
    except InvalidTag:
        return False
    return True


def rotate(hub: Hub) -> None:
    rotate_wrapping(hub.store, hub.keys, root=hub.root, clock=hub.clock)


def piece(hub: Hub) -> bool:
    return wrap_anew(hub.store, hub.keys, hub.clock, hub.world.way)


def state(hub: Hub) -> dict[str, Any] | None:
    with hub.store.read() as tx:
        return progress(tx)


def to_the_end(hub: Hub) -> None:
    """Let the worker go on, and time pass, until the rotation is over."""
    for _ in range(60):
        while piece(hub):
            pass
        if state(hub) is None:
            return
        hub.pass_by(SETTLES_US / S)
    raise AssertionError(f"it does not end: {state(hub)}")


@contextmanager
def planted(directory: Path) -> Iterator[Hub]:
    with opened(directory) as hub:
        plant(hub)
        yield hub


if __name__ == "__main__":
    with opened(Path(sys.argv[1]), synchronous="FULL") as hub:
        arm_from(sys.argv[2])
        if state(hub) is None:
            rotate(hub)
        to_the_end(hub)
