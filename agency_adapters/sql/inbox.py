"""Receive deliveries into the table `hub_inbox`: inserted in one transaction, acknowledged after its commit.

Killed in between, the same deliveries come again and are acknowledged without being inserted twice. A kind that is not
known here is neither inserted nor acknowledged: it waits for a newer hub-agency.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from agency_adapters.client import KNOWN_KINDS, NOTICE, PAGE_DELIVERIES, HubClient
from agency_adapters.clock import Clock, system_clock
from agency_adapters.errors import AgencyError
from agency_adapters.results import Delivery
from agency_adapters.sql.database import table_columns, told
from agency_adapters.sql.tables import INBOX

KINDS = KNOWN_KINDS | {NOTICE}
_PLACED = {"id", "kind", "number", "type", "subject", "purpose", "agreement", "time", "data", "specversion", "source"}


def receive(
    client: HubClient,
    engine: sa.Engine,
    *,
    wait_s: int = 0,
    tell: Callable[[str], None] = lambda _kind: None,
    clock: Clock = system_clock,
) -> Counter[str]:
    """Take what is there, waiting up to `wait_s` (0..30) for the first; `tell` hears of kinds that are not known.

    Returns how many were `received`, `repeated` and `unknown`. Raises `AgencyError` where the table is not there.
    """
    if missing := {one.name for one in INBOX.columns} - table_columns(engine, INBOX.name).keys():
        remedy = "Make the table with `hub-agency sql ddl inbox`."
        raise AgencyError(f"table hub_inbox has no column {', '.join(sorted(missing))}", remedy=remedy)
    counts: Counter[str] = Counter(received=0, repeated=0, unknown=0)
    while True:
        page = client.pull(PAGE_DELIVERIES, wait_s)
        wait_s = 0  # the wait is for the first
        known = [one for one in page.deliveries if one.kind in KINDS]
        for one in page.deliveries:
            if one.kind not in KINDS:
                counts["unknown"] += 1
                tell(one.kind)
        inserted = keep(engine, known, clock)
        counts["received"] += inserted
        counts["repeated"] += len(known) - inserted
        if known:
            client.acknowledge(known)
        if not (page.more and known):
            return counts


def keep(engine: sa.Engine, deliveries: Sequence[Delivery], clock: Clock) -> int:
    """Insert those that are not there yet, all or none. Returns how many were."""
    with told("insert into hub_inbox"):
        try:
            return _insert(engine, deliveries, clock)
        except IntegrityError:  # another receiver was quicker with one of them: look again
            return _insert(engine, deliveries, clock)


def _insert(engine: sa.Engine, deliveries: Sequence[Delivery], clock: Clock) -> int:
    if not deliveries:
        return 0
    with engine.begin() as connection:
        ids = sa.select(INBOX.c.delivery_id, INBOX.c.kind)
        ids = ids.where(INBOX.c.delivery_id.in_({one.id for one in deliveries}))
        there = {(row.delivery_id, row.kind) for row in connection.execute(ids)}
        fresh = {(one.id, one.kind): one for one in deliveries if (one.id, one.kind) not in there}
        if fresh:
            connection.execute(sa.insert(INBOX), [row_of(one, clock()) for one in fresh.values()])
    return len(fresh)


def row_of(delivery: Delivery, now_us: int) -> dict[str, Any]:
    """Make the row of a delivery."""
    told_of = delivery.document
    rest = {name: value for name, value in told_of.items() if name not in _PLACED}
    return {
        "delivery_id": delivery.id,
        "kind": delivery.kind,
        "number": delivery.number,
        "dataset": delivery.type,
        "subject": delivery.subject or None,
        "purpose": told_of.get("purpose"),
        "agreement": told_of.get("agreement"),
        "happened_at": told_of.get("time"),
        "data": json.dumps(told_of["data"], ensure_ascii=False, sort_keys=True) if "data" in told_of else None,
        "attributes": json.dumps(rest, ensure_ascii=False, sort_keys=True),
        "received_at": datetime.fromtimestamp(now_us // 1_000_000, UTC).replace(tzinfo=None),
    }
