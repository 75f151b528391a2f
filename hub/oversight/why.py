"""Why somebody got something, or did not: the log's decisions opened for the operator, with every reason.

Persons are "person 1 (child)": no id and no value of theirs comes out of here. Reasons are codes; who shows them has
the words. A decision's details are sealed per person, so what an erased person was decided on is gone, and said to be.
"""

from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
from cryptography.exceptions import InvalidTag

from hub.core.leaf import LeafKind, commitment, salts
from hub.identity.keys import OpenKey, OpenKeys, unseal_with
from hub.store.engine import Store, Tx, marks
from hub.store.facts import scopes
from hub.store.history import HANDED, OUTCOME, PERSON

PAGES_READ = 5_000  # audit rows looked through, from a decision on, for what became of its deliveries
SEARCHED_ROWS = 200_000  # newest audit rows looked through for one event: some seconds
_CHUNK_ROWS = 1_000
_DECIDED = (LeafKind.DECISION.value, LeafKind.ASK.value)  # whose details have the same form
_RUN_DELIVERIES = 1_000  # one decision's deliveries follow one another; no dataset has as many subscriptions
_COUNT_BYTES = 2  # at the head of a person's detail: how many outcomes follow


class Log(NamedTuple):
    """What opening the log takes."""

    store: Store
    open_keys: OpenKeys


@dataclass(frozen=True, slots=True)
class Share:
    """What was decided about one person's part, for one recipient. `person` is as shown: "person 1 (child)"."""

    person: str
    released: tuple[str, ...]
    withheld: tuple[str, ...]
    reasons: tuple[str, ...]  # codes


@dataclass(frozen=True, slots=True)
class Answer:
    """One recipient's outcome. `then` is what the hand-out did with it, with its own reasons; empty: nothing yet."""

    recipient: str
    purpose: str
    agreement: str
    version: int
    outcome: str  # release | hold | refusal
    reasons: tuple[str, ...]  # for the whole of it
    shares: tuple[Share, ...]
    then: str = ""  # release | hold | refusal
    then_reasons: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "recipient": self.recipient,
            "purpose": self.purpose,
            "agreement": self.agreement,
            "version": self.version,
            "outcome": self.outcome,
            "reasons": list(self.reasons),
            "persons": [
                {
                    "person": one.person,
                    "released": list(one.released),
                    "withheld": list(one.withheld),
                    "reasons": list(one.reasons),
                }
                for one in self.shares
            ],
            "then": self.then,
            "then_reasons": list(self.then_reasons),
        }


@dataclass(frozen=True, slots=True)
class Decided:
    """One event's decision. `entry` is its place in the log; `erased` counts persons of whom nothing is kept."""

    entry: int
    at: str  # RFC 3339, UTC
    dataset: str  # empty where nobody subscribes to it
    persons: tuple[str, ...]
    erased: int
    answers: tuple[Answer, ...]
    asked: bool = False  # no event: one recipient's question, and whether it was put

    def as_json(self) -> dict[str, Any]:
        return {
            "entry": self.entry,
            "at": self.at,
            "dataset": self.dataset,
            "asked": self.asked,
            "persons": list(self.persons),
            "erased": self.erased,
            "recipients": [one.as_json() for one in self.answers],
        }


class _Row(NamedTuple):
    entry: int
    at_us: int
    leaf: bytes
    detail: bytes
    kind: int


class _Opened(NamedTuple):
    """One person's detail of a row: per recipient (subscription, interned outcome). `rows` is None: erased."""

    person: int
    key: OpenKey | None
    rows: tuple[tuple[int, int], ...] | None


def last_decisions(log: Log, count: int = 1) -> tuple[Decided, ...]:
    """Return the latest decisions, the oldest of them first."""
    with log.store.read() as tx:
        rows = tx.rows(
            "SELECT id, at_us, leaf, detail, kind FROM audit WHERE kind IN (?, ?) ORDER BY id DESC LIMIT ?",
            (*_DECIDED, count),
        )
    return tuple(_decided(log, _Row._make(row)) for row in reversed(rows))


def decision_of(log: Log, public_of: Callable[[int], bytes]) -> Decided | None:
    """Find an event's decision: `public_of` names its delivery for a subscription (16 bytes).

    The log does not say which event a row is about, so each row is asked whether it commits to this name: newest first,
    at most SEARCHED_ROWS. None: not decided yet, longer ago than that, or of a dataset that nobody subscribes to.
    """
    for rows in _newest(log):
        asked = [(row, _leaf(row.leaf), _first_open(log, row)) for row in rows]
        numbers = {opened.rows[0][1] for _, _, opened in asked if opened and opened.rows}
        with log.store.read() as tx:
            bodies = _bodies(tx, sorted(numbers))
        for row, (nonce, commitments), opened in asked:
            if opened and opened.rows and opened.key:
                subscription, number = opened.rows[0]
                salt = salts(opened.key.salt, nonce, len(opened.rows))[0]
                if commitment(salt, public_of(subscription), bodies[number]) in commitments:
                    return _decided(log, row)
    return None


def decision_of_delivery(log: Log, public: bytes) -> Decided | None:
    """Find the decision that made a delivery, by the name its recipient knows it under. None: no decision made it."""
    with log.store.read() as tx:
        rows = tx.rows(
            "SELECT a.id, a.at_us, a.leaf, a.detail, a.kind FROM delivery d JOIN audit a ON a.id = d.audit"
            " WHERE d.public = ? AND a.kind IN (?, ?) LIMIT 1",
            (public, *_DECIDED),
        )
    return _decided(log, _Row._make(rows[0])) if rows else None


def _newest(log: Log) -> Iterator[list[_Row]]:
    """Yield decisions in pieces, newest first."""
    below, seen = 2**62, 0
    while seen < SEARCHED_ROWS:
        with log.store.read() as tx:
            rows = tx.rows(
                "SELECT id, at_us, leaf, detail, kind FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?",
                (below, _CHUNK_ROWS),
            )
        if not rows:
            return
        seen, below = seen + len(rows), rows[-1][0]
        yield [_Row._make(row) for row in rows if row[4] == LeafKind.DECISION.value]


def _bodies(tx: Tx, numbers: Sequence[int]) -> dict[int, bytes]:
    rows = tx.rows(f"SELECT id, body FROM interned WHERE id IN ({marks(len(numbers))})", numbers)
    return {number: body.encode() for number, body in rows}


def _leaf(leaf: bytes) -> tuple[bytes, frozenset[bytes]]:
    """Read a leaf's nonce and commitments."""
    said = orjson.loads(leaf)
    return b64decode(said["n"]), frozenset(b64decode(one) for one in said["c"])


def _first_open(log: Log, row: _Row) -> _Opened | None:
    return next((one for one in _open_all(log, row) if one.rows is not None), None)


def _open_all(log: Log, row: _Row) -> Iterator[_Opened]:
    """Open each person's detail of a decision, in the order of its roles. Not inside a read: keys are read by it."""
    nonce, _ = _leaf(row.leaf)
    sealed: list[tuple[int, bytes]] = []
    at = 0
    while at < len(row.detail):
        person, length = PERSON.unpack_from(row.detail, at)
        at += PERSON.size
        sealed.append((person, row.detail[at : at + length]))
        at += length
    keys = log.open_keys.of(sorted({person for person, _ in sealed}))
    for person, box in sealed:
        key = keys.get(person)
        yield _Opened(person, key, _outcomes(key, box, nonce) if key and box else None)


def _outcomes(key: OpenKey, box: bytes, nonce: bytes) -> tuple[tuple[int, int], ...] | None:
    try:
        plain = unseal_with(key, box, nonce)
    except InvalidTag:  # sealed under a key that was destroyed; the person came back under a new one
        return None
    count = int.from_bytes(plain[:_COUNT_BYTES])
    packed = plain[_COUNT_BYTES : _COUNT_BYTES + count * OUTCOME.size]
    return tuple((subscription, number) for subscription, number, _ in OUTCOME.iter_unpack(packed))


def _decided(log: Log, row: _Row) -> Decided:
    opened = list(_open_all(log, row))
    with log.store.read() as tx:
        bodies = scopes(tx, sorted({number for one in opened for _, number in one.rows or ()}))
        handed = _handed(tx, row.entry)
    names = _names(opened, bodies)
    kept = [(name, one.rows) for name, one in zip(names, opened, strict=True) if one.rows is not None]
    order = kept[0][1] if kept else ()
    answers = tuple(
        _answer([(name, bodies[rows[at][1]]) for name, rows in kept], handed.get(subscription, ("", ())))
        for at, (subscription, _) in enumerate(order)
    )
    dataset = next((body["dataset"] for body in bodies.values()), "")
    at = datetime.fromtimestamp(row.at_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    asked = row.kind == LeafKind.ASK
    return Decided(row.entry, at, dataset, names, len(opened) - len(kept), answers, asked)


def _names(opened: Sequence[_Opened], bodies: Mapping[int, Any]) -> tuple[str, ...]:
    """Call the persons 1, 2, ... in the order of their roles; the same person in two roles keeps the number."""
    numbers: dict[int, int] = {}
    names = []
    for one in opened:
        number = numbers.setdefault(one.person, len(numbers) + 1)
        if one.rows is None:
            role = "erased"
        else:
            role = bodies[one.rows[0][1]]["role"] if one.rows else ""
        names.append(f"person {number} ({role})" if role else f"person {number}")
    return tuple(names)


def _answer(parts: Sequence[tuple[str, Any]], then: tuple[str, tuple[str, ...]]) -> Answer:
    """Put together what each person's detail says of the same recipient."""
    first = parts[0][1]
    shares = tuple(
        Share(name, tuple(body["fields"]), tuple(body["withheld"]), tuple(body["reasons"])) for name, body in parts
    )
    return Answer(
        first["recipient"], first["purpose"], first["agreement"], first["version"], first["outcome"],
        tuple(first["overall"]), shares, *then,
    )  # fmt: skip


def _handed(tx: Tx, entry: int) -> dict[int, tuple[str, tuple[str, ...]]]:
    """Say per subscription what the hand-out made, last, of the deliveries of a decision."""
    first = _first_delivery(tx, entry)
    deliveries: dict[int, int] = dict(
        tx.rows(
            "SELECT id, subscription FROM delivery WHERE id >= ? AND id < ? AND audit = ?",
            (first, first + _RUN_DELIVERIES, entry),
        )
    )
    if not deliveries:
        return {}
    pages = tx.rows(
        "SELECT kind, detail FROM audit WHERE id > ? ORDER BY id LIMIT ?",
        (entry, PAGES_READ),
    )
    last: dict[int, int] = {}
    for kind, detail in pages:
        if kind == LeafKind.HANDOUT.value:
            last.update({one: body for one, _, body, _ in HANDED.iter_unpack(detail) if one in deliveries})
    bodies = scopes(tx, sorted(set(last.values())))
    return {deliveries[one]: (bodies[body]["outcome"], tuple(bodies[body]["reasons"])) for one, body in last.items()}


def _first_delivery(tx: Tx, entry: int) -> int:
    """Find where a decision's deliveries begin, by halving: deliveries and audit rows are numbered in one order."""
    row = tx.one("SELECT coalesce(min(id), 1), coalesce(max(id), 0) + 1 FROM delivery")
    assert row is not None
    low, high = row
    while low < high:
        middle = (low + high) // 2
        found = tx.one("SELECT audit FROM delivery WHERE id >= ? ORDER BY id LIMIT 1", (middle,))
        if found is not None and found[0] < entry:
            low = middle + 1
        else:
            high = middle
    return int(low)
