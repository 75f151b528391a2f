"""An operator's acts on record, and what they look at: counts, ages and numbers, never a person."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hub.core.leaf import LeafKind
from hub.store.audit import Salt, add_act
from hub.store.deliveries import QueueState
from hub.store.engine import Tx


def record(tx: Tx, said: dict[str, object], *, now_us: int, salt: Salt) -> int:
    """Write an operator's act; returns the audit row. Its detail is in the clear, for it names nobody."""
    return add_act(tx, LeafKind.OPERATION, said, at_us=now_us, salt=salt)


def fact(tx: Tx, name: str) -> str:
    """Read a single fact; "" where it was never said."""
    row = tx.one("SELECT value FROM fact WHERE name = ?", (name,))
    return "" if row is None else str(row[0])


def put_fact(tx: Tx, name: str, value: str) -> None:
    tx.run(
        "INSERT INTO fact(name, value) VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value",
        (name, value),
    )


HEARD_APART_US = 60_000_000  # a batch a second would write the same page each time, to tell days from days
HEARD_SINCE = "heard_since_us"  # an older store knows of nothing before its upgrade


def heard(tx: Tx, datasets: Iterable[int], now_us: int) -> None:
    """Note that events of these datasets came, once a minute at most. A clock that was set back counts from there."""
    for dataset in sorted(datasets):  # two gates that note the same ones wait for each other in one direction
        tx.run(
            "INSERT INTO last_heard(dataset, at_us) VALUES (?, ?) ON CONFLICT(dataset) DO UPDATE SET at_us ="
            " excluded.at_us WHERE last_heard.at_us < excluded.at_us - ? OR last_heard.at_us > excluded.at_us",
            (dataset, now_us, HEARD_APART_US),
        )


def last_heard(tx: Tx) -> dict[int, int]:
    return dict(tx.rows("SELECT dataset, at_us FROM last_heard"))


def counted_from(tx: Tx) -> dict[str, int]:
    """Return since when the silence of a dataset never heard counts: its approval, or this store's upgrade."""
    since_us = int(fact(tx, HEARD_SINCE) or 0)
    rows = tx.rows("SELECT code, min(approved_us) FROM catalogue_version WHERE kind = 'datasets' GROUP BY code")
    return {code: max(approved_us, since_us) for code, approved_us in rows}


class Outlet(NamedTuple):
    """What one recipient's queue holds. `oldest_us`: when the oldest unacknowledged one was first opened; 0: none."""

    ready: int
    held: int
    opened: int
    oldest_us: int


def outlet(tx: Tx, recipient: int) -> Outlet:
    counts: dict[int, int] = dict(
        tx.rows("SELECT state, count(*) FROM queue WHERE recipient = ? GROUP BY state", (recipient,))
    )
    oldest_us = opened_oldest(tx, recipient) if counts.get(QueueState.OPENED.value) else 0
    ready, held, opened = (
        counts.get(state.value, 0) for state in (QueueState.READY, QueueState.HELD, QueueState.OPENED)
    )
    return Outlet(ready, held, opened, oldest_us)


def opened_oldest(tx: Tx, recipient: int) -> int:
    """Return when the oldest unacknowledged delivery was opened, of the first hundred: events' order is near enough."""
    row = tx.one(
        "SELECT min(h.opened_us) FROM (SELECT number FROM queue WHERE recipient = ? AND state = ? ORDER BY delivery"
        " LIMIT 100) q JOIN handout h ON h.recipient = ? AND h.number = q.number",
        (recipient, QueueState.OPENED.value, recipient),
    )
    return row[0] or 0 if row else 0


def held_oldest(tx: Tx) -> tuple[int, int]:
    """Return how many deliveries are held, and when the oldest was decided (0 where none)."""
    row = tx.one(f"SELECT count(*), min(delivery) FROM queue WHERE state = {QueueState.HELD.value}")
    assert row is not None
    if not row[0]:
        return 0, 0
    decided = tx.one("SELECT a.at_us FROM delivery d JOIN audit a ON a.id = d.audit WHERE d.id = ?", (row[1],))
    return row[0], decided[0] if decided else 0


def ready_oldest(tx: Tx, recipients: Iterable[int]) -> int:
    """Return when the oldest delivery that is ready to leave was decided; 0 where none is."""
    firsts = [
        row[0]
        for recipient in recipients
        for row in tx.rows(
            "SELECT min(delivery) FROM queue WHERE recipient = ? AND state = ?", (recipient, QueueState.READY.value)
        )
        if row[0] is not None
    ]
    if not firsts:
        return 0
    row = tx.one("SELECT a.at_us FROM delivery d JOIN audit a ON a.id = d.audit WHERE d.id = ?", (min(firsts),))
    return int(row[0]) if row else 0


def last_opened(tx: Tx, recipients: Iterable[int]) -> int:
    """Return when something left last under a new number; 0 where nothing ever did."""
    last_us = 0
    for recipient in recipients:
        row = tx.one(
            "SELECT h.opened_us FROM recipient_counter c JOIN handout h ON h.recipient = c.recipient"
            " AND h.number = c.number WHERE c.recipient = ?",
            (recipient,),
        )
        last_us = max(last_us, int(row[0]) if row else 0)
    return last_us


class Stuck(NamedTuple):
    """Events of one publisher and dataset that wait: how many, of how many chains, and since when the oldest does."""

    publisher: int
    dataset: int
    events: int
    chains: int
    since_us: int


def waiting_by(tx: Tx, *, poison: bytes, halted: bool) -> list[Stuck]:
    """Count what waits for a link, or (`halted`) what stopped its own chain because its decision met a defect."""
    rows = tx.rows(
        "SELECT publisher, dataset, count(*), count(DISTINCT subject), min(since_us) FROM waiting"
        f" WHERE local {'=' if halted else '<>'} ? GROUP BY publisher, dataset ORDER BY publisher, dataset",
        (poison,),
    )
    return [Stuck._make(row) for row in rows]


def standing(tx: Tx) -> tuple[list[tuple[int, str, int]], list[tuple[int, int]]]:
    """Return agreements that are not in force as (number, phase, since), and suspended agencies as (number, since)."""
    agreements = tx.rows("SELECT number, phase, since_us FROM agreement_state WHERE phase NOT IN ('in_force', 'ended')")
    agencies = tx.rows("SELECT number, since_us FROM agency_state WHERE suspended = 1")
    return [(n, phase, since) for n, phase, since in agreements], [(n, since) for n, since in agencies]


class Ending(NamedTuple):
    """A public key that soon counts no longer, and whose owner has no other that lasts longer."""

    of: str  # agency | officers
    whose: str  # the agency's code: an officer's name is nobody's here
    kid: str
    until_us: int


def ending_keys(tx: Tx, *, before_us: int) -> list[Ending]:
    """Find the agencies' and officers' keys that end before a moment, those that have ended lately included."""
    found = []
    for table, of in (("agency_key", "agency"), ("officer_key", "officers")):
        if tx.has_table(table):
            rows = tx.rows(
                f"SELECT agency, kid, until_us FROM {table} k WHERE until_us < ? AND NOT EXISTS (SELECT 1"
                f" FROM {table} o WHERE o.agency = k.agency AND (o.until_us, o.kid) > (k.until_us, k.kid))",
                (before_us,),
            )
            found += [Ending(of, str(whose), str(kid), until_us) for whose, kid, until_us in rows]
    return found


def newest_us(tx: Tx) -> int:
    """Return the time of the newest audit row; 0 where there is none."""
    row = tx.one("SELECT at_us FROM audit ORDER BY id DESC LIMIT 1")
    return int(row[0]) if row else 0


def roots(tx: Tx) -> Sequence[tuple[bytes, int]]:
    """Return the names of the roots that open this store, with since when, oldest first."""
    return [(bytes(root), since_us) for root, since_us in tx.rows(
        "SELECT root, max(since_us) FROM hub_key GROUP BY root ORDER BY 2, 1"
    )]  # fmt: skip
