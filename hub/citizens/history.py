"""Who got a person's data, and who was refused it: their own part of the log, newest first.

A decision says what was to go to each recipient; a hand-out says what went, decided again at that moment. Both are
shown, because they may differ: what was narrowed or withdrawn in between never went.
"""

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from hub.citizens.desk import CitizenDesk, key_of
from hub.core.agreement import Catalogue
from hub.core.leaf import LeafKind
from hub.identity.keys import OpenKey, unseal_with
from hub.identity.principal import Principal
from hub.store.deliveries import unpack_parts
from hub.store.engine import Tx
from hub.store.facts import scopes
from hub.store.history import (
    OUTCOME,
    AuditRow,
    DeliveryHead,
    HandedRow,
    audits_of,
    deliveries_at,
    details_at,
    details_of_person,
    handed_as,
    handed_of,
)
from hub.store.overdue import due_of

PAGE = 50  # audit rows; an event that goes to five recipients is one of them
NEWEST = 2**62
_DECIDED = frozenset({LeafKind.DECISION, LeafKind.ASK})  # whose details have the same form
_OWN = {LeafKind.CONSENT: "consent", LeafKind.LINK: "link"}  # whose detail is the person's alone


@dataclass(frozen=True, slots=True)
class HandedOut:
    """A delivery that left: what was in it of this person, when, and whether the recipient has it for certain."""

    number: int  # the recipient's own running number
    delivery: str
    opened_us: int
    acknowledged_us: int | None
    stopped: bool  # stopped under its number before it was acknowledged
    fields: tuple[str, ...]
    used: tuple[str, ...] | None  # of these, as the recipient said when it acknowledged; None: it did not say
    confirmed_us: int | None = None  # stopped: when the recipient said that it knows
    overdue_since_us: int | None = None  # stopped, and the recipient was to say so by then


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided about one event, or one question, for one recipient, in one role of the person's.

    Of a question `fields` are what was asked for, and `handed_out` says when it reached the provider: it held no value.
    """

    kind: str  # decision | ask | own-ask: the person's own question, about what this recipient would get
    audit: int
    moment_us: int
    provider: str
    dataset: str
    recipient: str
    purpose: str
    agreement: str
    version: int
    role: str
    outcome: str  # release | hold | refusal
    fields: tuple[str, ...]
    withheld: tuple[str, ...]
    reasons: tuple[str, ...]
    case: str  # the publisher's own opaque tags
    actor: str
    handed_out: tuple[HandedOut, ...]


@dataclass(frozen=True, slots=True)
class Acted:
    """Something that was done: to a consent or an objection by the person, or to a link by a register."""

    audit: int
    moment_us: int
    kind: str  # consent | link, or the leaf's kind where it has nothing to show this person
    said: Mapping[str, Any]


Entry = Decided | Acted


@dataclass(frozen=True, slots=True)
class HistoryPage:
    entries: tuple[Entry, ...]
    after: int | None  # ask on with this; None: there is no more


def history(desk: CitizenDesk, principal: Principal, *, after: int = NEWEST, limit: int = PAGE) -> HistoryPage:
    """Return a person's entries older than `after`, newest first, of up to `limit` audit rows."""
    person = principal.person
    key = key_of(desk, person)
    with desk.store.read() as tx:
        rows = audits_of(tx, person, before=after, limit=limit + 1)
        shown, more = rows[:limit], len(rows) > limit
        if not shown:
            return HistoryPage((), None)
        own = {row.id: own_details(row, person, key) for row in shown if row.kind in _DECIDED}
        handed = _handed(tx, person, {audit for audit, details in own.items() if details}, desk.clock())
        bodies = scopes(tx, sorted({number for details in own.values() for one in details for _, number in one[0]}))
    entries: list[Entry] = []
    for row in shown:
        if row.kind in _DECIDED:
            for outcomes, tags in own[row.id]:
                entries += [
                    _decided(desk.catalogue, row, bodies[number], tags, handed.get((row.id, subscription), ()))
                    for subscription, number in outcomes
                ]
        else:
            entries.append(_acted(row, key))
    return HistoryPage(tuple(entries), shown[-1].id if more else None)


Detail = tuple[list[tuple[int, int]], tuple[str, str]]
"""Of one role in one event: (subscription, interned outcome) per recipient; the publisher's case and actor."""


def own_details(row: AuditRow, person: int, key: OpenKey) -> list[Detail]:
    """Open a person's own part of a decision: one detail per role of theirs."""
    nonce, details = _nonce(row), []
    for sealed in details_of_person(row.detail, person):
        plain = unseal_with(key, sealed, nonce)
        end = 2 + int.from_bytes(plain[:2]) * OUTCOME.size
        case, actor = orjson.loads(plain[end:]) if plain[end:] else ("", "")
        details.append(([(line, body) for line, body, _ in OUTCOME.iter_unpack(plain[2:end])], (case, actor)))
    return details


def _nonce(row: AuditRow) -> bytes:
    """Return what a row's detail is bound to: the nonce that stands in its leaf."""
    return b64decode(orjson.loads(row.leaf)["n"])


def _handed(tx: Tx, person: int, decisions: set[int], now_us: int) -> dict[tuple[int, int], tuple[HandedOut, ...]]:
    """Find what was opened of these decisions, by (decision, subscription)."""
    if not decisions:
        return {}
    rows = handed_of(tx, person, first=min(decisions), last=max(decisions))
    pages = details_at(tx, sorted({row.page for row in rows}))
    first = [handed_as(pages[row.page], row.number) for row in rows]
    heads = deliveries_at(tx, sorted({delivery for delivery, _ in first}))
    due = due_of(tx, [row.delivery for row in rows if row.ended])
    said = {row.used for row in rows if row.used is not None}
    bodies = scopes(tx, sorted(said.union(outcome for _, outcome in first)))
    found: dict[tuple[int, int], tuple[HandedOut, ...]] = {}
    for row, (delivery, outcome) in zip(rows, first, strict=True):
        head = heads[delivery]
        if head.audit in decisions:
            used = None if row.used is None else bodies[row.used]  # a stop has no fields, so none is ever said of one
            one = _handed_out(row, head, person, bodies[outcome]["fields"], used)
            if row.ended:
                one = _confirmed(one, row.acked_us, due.get(row.delivery, NEWEST), now_us)
            place = head.audit, head.subscription  # opened anew under another stretch, it is still one hand-out
            found[place] = (*(other for other in found.get(place, ()) if other.number != one.number), one)
    return found


def _confirmed(one: HandedOut, acked_us: int | None, due_us: int, now_us: int) -> HandedOut:
    """Say of a stopped delivery whether the recipient has confirmed the stop, or should have."""
    late = acked_us is None and due_us <= now_us
    return replace(one, confirmed_us=acked_us, overdue_since_us=due_us if late else None)


def _handed_out(
    row: HandedRow, head: DeliveryHead, person: int, fields: list[list[str]], used: list[str] | None
) -> HandedOut:
    parts = unpack_parts(head.parts)
    went = {name for part, names in zip(parts, fields, strict=True) if part.person == person for name in names}
    acked_us = None if row.ended else row.acked_us  # once stopped, what is acknowledged is the stop
    mine = None if used is None else tuple(sorted(went.intersection(used)))
    return HandedOut(row.number, head.public.hex(), row.opened_us, acked_us, row.ended, tuple(sorted(went)), mine)


def _decided(
    catalogue: Catalogue, row: AuditRow, said: Mapping[str, Any], tags: tuple[str, str], handed: tuple[HandedOut, ...]
) -> Decided:
    dataset = catalogue.datasets.get(said["dataset"])
    asked = row.kind == LeafKind.ASK
    kind = "decision" if not asked else "own-ask" if said.get("asker") == "person" else "ask"
    return Decided(
        kind,
        row.id,
        row.at_us,
        dataset.provider if dataset else "",
        said["dataset"],
        said["recipient"],
        said["purpose"],
        said["agreement"],
        said["version"],
        said["role"],
        said["outcome"],
        tuple(said["fields"]),
        tuple(said["withheld"]),
        tuple(sorted({*said["reasons"], *said["overall"]})),
        *tags,
        tuple(replace(one, fields=(), used=None) for one in handed) if asked else handed,
    )


def _acted(row: AuditRow, key: OpenKey) -> Acted:
    kind = LeafKind(row.kind)
    if kind not in _OWN:
        return Acted(row.id, row.at_us, kind.name.lower(), {})
    return Acted(row.id, row.at_us, _OWN[kind], orjson.loads(unseal_with(key, row.detail, _nonce(row))))
