"""Rebuild a record from its events, believing none of them before it was checked."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType

from consent.canonical import sha256
from consent.chain import START, Event, Said
from consent.errors import Code, ConsentError
from consent.notice import notice_from_json
from consent.record import (
    Record,
    Step,
    expire,
    extend,
    followed,
    given,
    invalidate,
    lapse,
    narrow,
    pause,
    refuse,
    request,
    resume,
    terminate,
    withdraw,
)
from consent.states import Action
from consent.terms import Pair, terms_from_json


def fold(events: Iterable[Event], *, head: bytes | None = None) -> Record:
    """Replay the events, oldest first, into the record they make. Raises `ConsentError(CHAIN)` naming the event.

    1. the bytes have their hash        2. the event names the hash of the one before
    3. what it says could happen to the record as it stood, and writing it again gives the same bytes
    `head` is the hash of the latest event, kept elsewhere: without it nobody can notice that the last events are gone.
    """
    record: Record | None = None
    count = 0
    for count, record in enumerate(replay(events), start=1):  # noqa: B007 - both are read after the last one
        pass
    if record is None:
        raise _broken(0, "there is no event at all")
    if head is not None and record.head != head:
        raise _broken(count, "the latest event is missing, or the chain is not the one that was kept")
    return record


def replay(events: Iterable[Event]) -> Iterator[Record]:
    """Yield the record as each event left it, checked as `fold` does. Raises `ConsentError(CHAIN)`."""
    record: Record | None = None
    for index, event in enumerate(events):
        if sha256(event.canonical) != event.hash:
            raise _broken(index, "its bytes do not have its hash")
        record = _replayed(record, event, index)
        yield record


def _replayed(record: Record | None, event: Event, index: int) -> Record:
    try:
        said = event.said
        if said.prev != (record.head if record else START):
            raise _broken(index, "it does not follow the event before it")
        after, again = _again(record, said)
    except ConsentError as error:
        if error.code is Code.CHAIN:
            raise
        raise _broken(index, f"what it says could not happen: {error.code}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _broken(index, "its bytes are not an event") from error
    if again != event:
        raise _broken(index, "its bytes are not canonical, or say more than an event does")
    return after


# What needs nothing but the record, who and when.
_PLAIN: Mapping[Action, Callable[..., tuple[Record, Event | None]]] = MappingProxyType(
    {
        Action.REFUSE: refuse,
        Action.LAPSE: lapse,
        Action.PAUSE: pause,
        Action.RESUME: resume,
        Action.WITHDRAW: withdraw,
        Action.EXPIRE: expire,
    }
)


def _again(record: Record | None, said: Said) -> tuple[Record, Event | None]:
    """Do once more what the event says was done."""
    if record is None:
        return _requested(said)
    action, body, by, at_us = Action(said.action), said.body, said.by, said.at_us
    if plain := _PLAIN.get(action):
        return plain(record, by=by, at_us=at_us)
    match action:
        case Action.GIVE:
            return _given(record, said)
        case Action.NARROW:
            return narrow(record, items=_pairs(body["items"]), by=by, at_us=at_us)
        case Action.EXTEND:
            return extend(record, until_us=body["until_us"], by=by, at_us=at_us)
        case Action.RENEW | Action.SUPERSEDE:
            return followed(record, action, body["successor"], by, at_us)
        case Action.TERMINATE:
            return terminate(record, cause=body["cause"], by=by, at_us=at_us)
        case Action.INVALIDATE:
            return invalidate(record, cause=body["cause"], by=by, at_us=at_us)
    raise ConsentError(Code.ILLEGAL, "a record is requested once")


def _given(record: Record, said: Said) -> Step:
    body = said.body
    return given(
        record,
        _pairs(body["items"]),
        body["until_us"],
        notice_from_json(body["notice"]),
        said.by,
        said.at_us,
        stretch=body["stretch"],
        continues=body["continues"],
    )


def _requested(said: Said) -> Step:
    if said.action != Action.REQUEST:
        raise ConsentError(Code.ILLEGAL, "a record begins with a request")
    return request(
        record_id=said.record,
        person=said.by.person,
        terms=terms_from_json(said.body["terms"]),
        deadline_us=said.body["deadline_us"],
        stretch_before=said.body["stretch_before"],
        by=said.by,
        at_us=said.at_us,
    )


def _pairs(said: list[list[str]]) -> frozenset[Pair]:
    return frozenset((dataset, field) for dataset, field in said)


def _broken(index: int, what: str) -> ConsentError:
    return ConsentError(Code.CHAIN, f"event {index}: {what}", index=index)
