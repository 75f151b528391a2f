"""Asks as they are kept: who asked whom about which person, for what, until when, and what became of it."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from hub.store.aims import AskState
from hub.store.engine import Tx, loads, marks

THE_PERSON = 0  # as an asker: numbers of agencies begin at 1
NOBODY = 0  # as a person: the asker's id is linked to none; persons' numbers begin at 1
ASK = (
    "ask(public, asker, provider, dataset, subscription, person, fields, asks, question, state, stretch, asked_us,"
    " deadline_us, closed_us, reasons, tags, answer)"
)


class AskRow(NamedTuple):
    id: int
    public: bytes
    asker: int
    provider: int
    dataset: int
    subscription: int
    person: int
    fields: tuple[str, ...]
    asks: int
    question: int
    state: int
    stretch: int
    asked_us: int
    deadline_us: int
    closed_us: int | None
    reasons: tuple[str, ...]
    answer: bytes | None

    @property
    def word(self) -> str:
        """Name the state as the API does."""
        return AskState(self.state).name.lower()


_ROW = (
    "SELECT a.id, a.public, a.asker, a.provider, a.dataset, a.subscription, a.person, f.body, a.asks, a.question,"
    " a.state, a.stretch, a.asked_us, a.deadline_us, a.closed_us, r.body, a.answer FROM ask a"
    " JOIN interned f ON f.id = a.fields LEFT JOIN interned r ON r.id = a.reasons"
)


def ask_by_public(tx: Tx, public: bytes) -> AskRow | None:
    found = tx.rows(f"{_ROW} WHERE a.public = ? AND a.state <> {AskState.FORGOTTEN.value}", (public,))
    return _row(found[0]) if found else None


def overdue_asks(tx: Tx, now_us: int, limit: int) -> list[AskRow]:
    """Return open asks whose deadline has passed, the longest overdue first."""
    rows = tx.rows(f"{_ROW} WHERE a.state = 1 AND a.deadline_us <= ? ORDER BY a.deadline_us LIMIT ?", (now_us, limit))
    return [_row(row) for row in rows]


class OpenAsks(NamedTuple):
    """What one provider is asked and has not answered. `asked_us`, `deadline_us`: the earliest of them."""

    provider: int
    open: int
    overdue: int  # their deadline has passed
    asked_us: int
    deadline_us: int


def open_asks_by_provider(tx: Tx, now_us: int) -> list[OpenAsks]:
    rows = tx.rows(
        "SELECT provider, count(*), sum(CASE WHEN deadline_us <= ? THEN 1 ELSE 0 END), min(asked_us), min(deadline_us)"
        " FROM ask INDEXED BY ask_open WHERE state = 1 GROUP BY provider ORDER BY provider",
        (now_us,),
    )
    return [OpenAsks._make(row) for row in rows]


def open_asks_of(tx: Tx, *, person: int, agency: int, lines: Collection[int] | None = None) -> list[AskRow]:
    """Return what an agency asks, or is asked, about a person; where `lines` are given, what it asks on these only."""
    sql, values = f"{_ROW} WHERE a.person = ? AND a.state = 1 AND ", [person]
    if lines is None:
        return [_row(row) for row in tx.rows(sql + "(a.asker = ? OR a.provider = ?)", [*values, agency, agency])]
    rows = tx.rows(f"{sql}a.asker = ? AND a.subscription IN ({marks(len(lines))})", [*values, agency, *sorted(lines)])
    return [_row(row) for row in rows]


def _row(row: Sequence[object]) -> AskRow:
    whole = list(row)
    whole[7], whole[15] = tuple(loads(str(row[7]))), tuple(loads(str(row[15]))) if row[15] is not None else ()
    return AskRow._make(whole)


def is_grant_used(tx: Tx, *, person: int, subscription: int, stretch: int, now_us: int) -> bool:
    """Say whether a question is open, or was answered, under this very grant. Read it under the person's fence."""
    return (
        tx.one(
            "SELECT 1 FROM ask INDEXED BY ask_person WHERE person = ? AND subscription = ? AND stretch = ?"
            " AND asker > ? AND (state = ? OR (state = ? AND deadline_us > ?)) LIMIT 1",
            (person, subscription, stretch, THE_PERSON, AskState.ANSWERED.value, AskState.ASKED.value, now_us),
        )
        is not None
    )


def own_asks_since(tx: Tx, *, person: int, since_us: int) -> int:
    """Count what a person has asked about themselves."""
    row = tx.one(
        "SELECT count(*) FROM ask INDEXED BY ask_person WHERE person = ? AND asker = ? AND asked_us > ?",
        (person, THE_PERSON, since_us),
    )
    assert row is not None
    return int(row[0])


def answer_lost(tx: Tx, public: bytes, *, now_us: int, reasons: int) -> None:
    """Note that an answer may not leave any more: what was answered is refused after all."""
    tx.run(
        "UPDATE ask SET state = ?, closed_us = ?, reasons = ? WHERE public = ? AND state = ?",
        (AskState.REFUSED.value, now_us, reasons, public, AskState.ANSWERED.value),
    )


def drop_answers(tx: Tx, now_us: int, limit: int) -> int:
    """Forget answers to persons' own questions whose time is over. Returns how many."""
    return tx.run(
        "UPDATE ask SET answer = NULL WHERE id IN (SELECT id FROM ask INDEXED BY ask_answer"
        " WHERE answer IS NOT NULL AND deadline_us <= ? LIMIT ?)",
        (now_us, limit),
    )
