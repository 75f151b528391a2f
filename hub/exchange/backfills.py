"""Backfill: a recipient opens one, the provider is told, fills it, notes how far it is, and says when that was all.

What is backfilled comes as events like any other, decided by the same gate; they name the backfill, and are for its
recipient alone. While it is open, what happens now to a person stands behind what is backfilled of that person. How
that ends is `let_go`'s.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hub.core.agreement import Subscription
from hub.core.errors import HubError, Kind
from hub.core.leaf import LeafKind, canonical
from hub.exchange.aimed import ID_BYTES, public_of
from hub.exchange.feed import rfc3339
from hub.exchange.intake import topic
from hub.exchange.notices import tell_backfill
from hub.exchange.standing import Horizon, agreement_state
from hub.exchange.world import World
from hub.identity.keys import backfill_place
from hub.identity.ring import act_salt
from hub.store.audit import add_act
from hub.store.backfills import (
    BackfillRow,
    add_backfill,
    all_backfills,
    backfill_by,
    backfills_of,
    begin_ending,
    note_progress,
)
from hub.store.engine import Tx
from hub.store.facts import AGREEMENT_FENCE, raise_fence, read_rules, rules_of

US_PER_DAY = 86_400_000_000
CURSOR_CHARS = 256  # a key or two of the provider's own tables


@dataclass(frozen=True, slots=True)
class Wish:
    """What a recipient wants backfilled: one line of an agreement."""

    agreement: str
    purpose: str
    dataset: str


def open_backfill(world: World, wish: Wish, *, days: int, recipient: str = "", again: bool = False) -> dict[str, Any]:
    """Open a backfill for at most `days`, and tell the provider. `recipient`: whose the subscription has to be.

    Raises HubError: NOT_FOUND (no such subscription of theirs), CONFLICT (agreement not in force, one is open already,
    one was done before and this is not `again`).
    """
    subscription = _subscription(world, wish, recipient)
    return world.store.write(lambda tx: _open(world, tx, subscription, days=days, again=again))


def list_backfills(world: World, agency: str = "") -> list[dict[str, Any]]:
    """Describe an agency's backfills, both those it gets and those it fills; without an agency all of them."""
    with world.store.read() as tx:
        rows = all_backfills(tx)
    number = world.catalogue.agencies[agency].number if agency else 0
    found = []
    for row in rows:
        line = world.catalogue.subscriptions.get(row.subscription)
        own = row.provider == number
        if not agency or own or (line is not None and line.recipient == agency):
            found.append(describe(world, row, line, cursor=own))
    return found


def keep_progress(world: World, agency: str, public: str, *, cursor: str, persons: int) -> dict[str, Any]:
    """Keep a provider's bookmark, sealed, and how many persons there are in all. Raises HubError as `end_backfill`."""

    def keep(tx: Tx) -> dict[str, Any]:
        row = _own(world, tx, agency, public)
        sealed = world.keys.wrapping.seal(cursor.encode(), backfill_place(row.public))
        note_progress(tx, row.id, cursor=sealed, persons=persons)
        line = world.catalogue.subscriptions.get(row.subscription)
        return describe(world, row._replace(cursor=sealed, persons=persons), line, cursor=True)

    return world.store.write(keep)


def end_backfill(world: World, public: str, *, agency: str = "") -> dict[str, Any]:
    """Say that everything was sent. It closes once that has been decided and has left. Said again it changes nothing.

    Without an agency the operator says so. Raises HubError: NOT_FOUND (none, or another provider's), CONFLICT (closed),
    UNAVAILABLE (the bus does not say what is on it).
    """
    with world.store.read() as tx:
        ends = bus_ends(world, _own(world, tx, agency, public).subscription)

    def end(tx: Tx) -> dict[str, Any]:
        row = _own(world, tx, agency, public)
        if not row.ending:
            row = end_now(world, tx, row, by=agency or "operator", ends=ends)
        return describe(world, row, world.catalogue.subscriptions.get(row.subscription), cursor=bool(agency))

    return world.store.write(end)


def bus_ends(world: World, subscription: int) -> Mapping[str, int]:
    """Say how far the bus reaches for a line. Asked before a transaction, not in it: a cluster may take seconds."""
    line = world.catalogue.subscriptions.get(subscription)
    return {} if line is None else world.bus.ends(topic(line.agreement.provider, line.dataset.name))


def end_now(world: World, tx: Tx, row: BackfillRow, *, by: str, ends: Mapping[str, int]) -> BackfillRow:
    """Begin to end a backfill: what was on the bus a moment ago is decided for it, and later nothing is promised."""
    text = canonical(dict(ends)).decode()
    begin_ending(tx, row.id, ends=text)
    record(world, tx, row, {"act": "end", "by": by})
    return row._replace(ending=1, ends=text)


def describe(world: World, row: BackfillRow, line: Subscription | None, *, cursor: bool) -> dict[str, Any]:
    """Say how a backfill stands. Of a line that is not agreed any more only what the row holds."""
    state = "closed" if row.closed_us is not None else "ending" if row.ending else "open"
    said: dict[str, Any] = {"id": row.public.hex(), "state": state}
    if line is not None:
        said |= {"agreement": line.agreement.code, "purpose": line.purpose.code, "dataset": line.dataset.name}
        said |= {"provider": line.agreement.provider, "recipient": line.recipient}
    said |= {"opened": rfc3339(row.opened_us), "until": rfc3339(row.until_us)}
    if row.closed_us is not None:
        said["closed"] = rfc3339(row.closed_us)
    said |= {"persons": row.persons, "done": row.done}
    if cursor:
        kept = world.keys.wrapping.unseal(row.cursor, backfill_place(row.public)).decode() if row.cursor else ""
        said["cursor"] = kept
    return said


def record(world: World, tx: Tx, row: BackfillRow, said: Mapping[str, object]) -> int:
    """Write the act's audit row under the agreement's fence. It names no person, so its detail is in the clear."""
    line = world.catalogue.subscriptions.get(row.subscription)
    fences = None
    if line is not None:
        number = line.agreement.number
        fences = {"agreements": {str(number): raise_fence(tx, AGREEMENT_FENCE, number)}}
    about = {"backfill": row.public.hex(), "subscription": row.subscription}
    return add_act(
        tx, LeafKind.BACKFILL, {**said, **about}, at_us=world.clock(), salt=act_salt(world.keys), name=row.public,
        fences=fences,
    )  # fmt: skip


def tell(world: World, tx: Tx, row: BackfillRow, what: str, to: int, *, audit: int) -> None:
    """Queue a notice for one party of a backfill: that it is `open`, or `closed`."""
    said = {"type": f"backfill.{what}", "backfill": row.public.hex(), "until": rfc3339(row.until_us)}
    line = world.catalogue.subscriptions.get(row.subscription)
    if line is not None:
        said |= {"dataset": line.dataset.name, "purpose": line.purpose.code, "agreement": line.agreement.code}
    tell_backfill(world, tx, said, to, audit=audit)


def _open(world: World, tx: Tx, subscription: Subscription, *, days: int, again: bool) -> dict[str, Any]:
    agencies, now_us = world.catalogue.agencies, world.clock()
    provider = agencies[subscription.agreement.provider].number
    rules = rules_of(read_rules(tx))
    state = agreement_state(
        subscription, rules, provider, agencies[subscription.recipient].number, Horizon(now_us, world.zone)
    )
    phase = "superseded" if rules.superseded(world.catalogue.digest) else state.phase
    if phase != "in_force":
        what = f"the agreement is {phase.replace('_', ' ')}; nothing can be backfilled under it"
        raise HubError(Kind.CONFLICT, what, remedy="Open it once the agreement is in force.", code="agreement-phase")
    former = backfills_of(tx, subscription.number)
    if any(one.closed_us is None for one in former):
        what, remedy = "a backfill of this subscription is open already", "See it in GET /v1/backfills."
        raise HubError(Kind.CONFLICT, what, remedy=remedy, code="backfill-open")
    if former and not again:
        what = "this subscription was backfilled before"
        remedy = "Ask the hub's operator to open another: `hub backfill open`."
        raise HubError(Kind.CONFLICT, what, remedy=remedy, code="backfill-done")
    until_us = min(now_us + days * US_PER_DAY, subscription.agreement.valid_until_us)
    public = secrets.token_bytes(ID_BYTES)
    row = add_backfill(
        tx, public=public, subscription=subscription.number, provider=provider, opened_us=now_us, until_us=until_us
    )
    audit = record(world, tx, row, {"act": "open", "again": bool(former)})
    tell(world, tx, row, "open", provider, audit=audit)
    return describe(world, row, subscription, cursor=False)


def _subscription(world: World, wish: Wish, recipient: str) -> Subscription:
    for one in world.catalogue.by_dataset.get(wish.dataset, ()):
        named = (one.agreement.code, one.purpose.code) == (wish.agreement, wish.purpose)
        if named and recipient in ("", one.recipient):
            return one
    raise HubError(
        Kind.NOT_FOUND,
        "no approved agreement gives you this dataset for this purpose",
        remedy="Name one of the subscriptions in GET /v1/agency.",
        code="subscription-unknown",
    )


def _own(world: World, tx: Tx, agency: str, public: str) -> BackfillRow:
    """Find an open backfill that this agency fills; without an agency any."""
    row = backfill_by(tx, public_of(public))
    if row is None or (agency and row.provider != world.catalogue.agencies[agency].number):
        what, remedy = "no such backfill is yours to fill", "See those that are in GET /v1/backfills."
        raise HubError(Kind.NOT_FOUND, what, remedy=remedy, code="backfill-unknown")
    if row.closed_us is not None:
        remedy = "Its recipient may ask the hub's operator for another."
        raise HubError(Kind.CONFLICT, "this backfill is closed", remedy=remedy, code="backfill-closed")
    return row
