"""A record as plain JSON: everything that the person may know of it, from the question to the end, in words too.

Of each event it shows what was done, when, in which capacity, and the hashes that chain it. It leaves out the numbers
under which the store knows persons, and sessions: the event's own bytes hold these and stay sealed, so a hash here is
compared (with a receipt's, with the next one's `prev`) and not computed again.
"""

from collections.abc import Sequence
from typing import NamedTuple

from consent.canonical import Json
from consent.chain import Event, Said
from consent.history import replay
from consent.particulars import Particulars, Party, rfc3339
from consent.record import Record, state_at
from consent.states import State
from consent.terms import Item

NAME = "consent-record"


class Moment(NamedTuple):
    """An event of the record, and the record as it left it."""

    event: Event
    said: Said
    record: Record


def moments(events: Sequence[Event]) -> list[Moment]:
    """Pair each event with the record it made. Raises `ConsentError(CHAIN)`."""
    return [Moment(event, event.said, record) for event, record in zip(events, replay(events), strict=True)]


def shown_items(record: Record) -> list[Item]:
    """Return the items that an export lists: what is given, or what was asked while nothing is; in their order."""
    given = record.items or record.terms.pairs
    return sorted((item for item in record.terms.items if item.pair in given), key=lambda item: item.pair)


def plain(record: Record, events: Sequence[Event], beside: Particulars, *, now_us: int) -> dict[str, Json]:
    """Show a record as its events left it and as it stands at `now_us`. Raises `ConsentError(CHAIN)`."""
    state = state_at(record, now_us)
    ended_us = {State.EXPIRED: record.until_us, State.LAPSED: record.deadline_us}.get(state, record.ended_us)
    return {
        "kind": NAME,
        "v": 1,
        "id": record.id,
        "address": f"{beside.withdrawal}/{record.id}",
        "issuer": beside.issuer,
        "language": beside.language,
        "subject": beside.subject,
        "state": state.value,
        "recipient": _party(beside.party(record.terms.recipient)),
        "purpose": {
            "code": record.terms.purpose,
            "title": beside.purpose,
            "benefit": beside.benefit,
            "not_used_for": [*beside.not_used_for],
        },
        "items": [_item(item, record, beside) for item in shown_items(record)],
        "providers": [_party(beside.party(code)) for code in sorted({item.provider for item in shown_items(record)})],
        "authority": _party(beside.authority),
        "jurisdiction": beside.jurisdiction,
        "retention_days": beside.retention_days,
        "withdrawal": beside.withdrawal,
        "terms": record.terms.digest.hex(),
        "notice": record.notice.as_json() if record.notice else {},
        "stretch": record.stretch,
        "asked": rfc3339(events[0].said.at_us),
        "deadline": rfc3339(record.deadline_us),
        **_instants(given=record.given_us, until=record.until_us, ended=ended_us),
        "continues": record.continues,
        "successor": record.successor,
        "cause": record.cause,
        "events": [_event(one) for one in moments(events)],
        "chain": {"algorithm": "SHA-256", "form": "RFC 8785", "head": record.head.hex(), "events": record.events},
    }


def _instants(**instants_us: int) -> dict[str, Json]:
    """Leave out what has not come to be."""
    return {name: rfc3339(time_us) for name, time_us in instants_us.items() if time_us}


def _party(party: Party) -> dict[str, Json]:
    return {"code": party.code, "name": party.name, "contact": party.contact, "address": party.address}


def _item(item: Item, record: Record, beside: Particulars) -> dict[str, Json]:
    field = beside.field(item.pair)
    return {
        "dataset": item.dataset,
        "dataset_title": beside.dataset(item.dataset),
        "field": item.field,
        "title": field.title,
        "required": item.required,
        "given": item.pair in record.items,
        "special": field.special,
        "sensitive": field.sensitive,
        "provider": item.provider,
    }


def _event(one: Moment) -> dict[str, Json]:
    return {
        "number": one.said.number,
        "action": one.said.action,
        "state": one.record.state.value,
        "moment": rfc3339(one.said.at_us),
        "by": one.said.by.capacity.value,
        "assurance": one.said.by.acr,
        "hash": one.event.hash.hex(),
        "prev": one.said.prev.hex(),
    }
