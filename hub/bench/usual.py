"""The usual design, fairly tuned, against the gate: how much batches, fences and remembered verdicts are worth.

Per event and subscription the usual design makes one policy call, one query, one insert and one commit: what one gets
from a web framework, a table of consents and a policy engine beside it. Tuned: prepared statements, one open
connection, covering keys, the same pragmas and the same compiled policy. It is spared what the gate also does: it seals
nothing, keeps no history and no salts, does not look for repeats, and names everybody as the publisher does.
"""

import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import orjson

from hub.bench.gate import drain
from hub.bench.measure import Figure, Result, Say, Sizes
from hub.bench.synthetic import DATASET, PEOPLE_AT_ONCE, RECIPIENTS, Synthetic, contents, local_id, scope_body
from hub.bench.whole import fresh
from hub.core.agreement import Subscription
from hub.core.derived import FUNCTIONS
from hub.core.question import Question
from hub.exchange.gate import Gate
from hub.ports import Policy
from hub.store.engine import Tx
from hub.store.facts import CHOICE_STATES
from hub.store.sqlite import SqliteStore

GOAL_RATIO = 30
PARTS = (
    20  # the usual design gets a twentieth of the gate's events per round: enough for a rate, and a round stays short
)

# --- the usual design, from here to the next line of dashes -----------------------------------------------------------
SCHEMA = """
CREATE TABLE consent(subject TEXT, agreement TEXT, purpose TEXT, state TEXT, assurance INTEGER, fields TEXT,
    until_us INTEGER, PRIMARY KEY (subject, agreement, purpose)) WITHOUT ROWID;
CREATE TABLE decision(id INTEGER PRIMARY KEY, event TEXT, subject TEXT, agreement TEXT, at_us INTEGER, outcome TEXT,
    payload BLOB);
"""


class UsualGate:
    """Decides one event for one subscription at a time."""

    def __init__(self, connection: sqlite3.Connection, policy: Policy, subscriptions: Sequence[Subscription]) -> None:
        self._connection, self._policy, self._subscriptions = connection, policy, subscriptions
        self.commits = 0

    def decide(self, event: str, subject: str, data: dict[str, Any], now_us: int) -> None:
        for one in self._subscriptions:
            agreement, purpose = one.agreement, one.purpose
            row = self._connection.execute(
                "SELECT state, assurance, fields, until_us FROM consent"
                " WHERE subject = ? AND agreement = ? AND purpose = ?",
                (subject, agreement.code, purpose.code),
            ).fetchone()
            state, assurance, fields = row[:3] if row and row[3] > now_us else ("none", 0, "[]")
            asked = Question(
                agreement.code, agreement.version, purpose.code, DATASET, purpose.basis.value, state, assurance
            )
            [verdict] = self._policy.ask([asked])
            outcome, payload = "refusal", None
            if not verdict.reasons:
                allowed = one.allowed & verdict.fields & frozenset(orjson.loads(fields))
                for derived in one.dataset.derived.values():
                    data[derived.name] = FUNCTIONS[derived.function](data[derived.base], derived.bounds)
                outcome, payload = "release", orjson.dumps({name: data[name] for name in data if name in allowed})
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(
                "INSERT INTO decision(event, subject, agreement, at_us, outcome, payload) VALUES (?, ?, ?, ?, ?, ?)",
                (event, subject, agreement.code, now_us, outcome, payload),
            )
            self._connection.execute("COMMIT")
            self.commits += 1


# ----------------------------------------------------------------------------------------------------------------------


def measure(sizes: Sizes, directory: Path, say: Say) -> Result:
    say(f"making {sizes.people} people, twice")
    events = max(50, sizes.events // PARTS)
    with fresh(directory / "usual", sizes) as made:
        made.warm()
        subscriptions = made.world.catalogue.by_dataset[DATASET]
        ours, seeds = Gate(made.world), count(sizes.seed + 1)
        with closing(
            SqliteStore(directory / "usual" / "other.sqlite", synchronous=getattr(made.world.store, "synchronous", ""))
        ) as other:
            connection = other.connect()  # the same pragmas; its writer is not used
            connection.executescript(SCHEMA)
            connection.execute("BEGIN")
            _fill(connection, made)
            connection.execute("COMMIT")
            usual = UsualGate(connection, made.policy, subscriptions)
            drain(made, ours, sizes.events // 4, seed=next(seeds))
            rates, usual_rates = [], []
            for at in range(sizes.rounds):
                say(f"round {at + 1} of {sizes.rounds}: the gate, then the usual design")
                rates.append(drain(made, ours, sizes.events, seed=next(seeds)))
                usual_rates.append(_usual(usual, made, contents(events, made.people, seed=next(seeds)), events))
            commits = usual.commits
    ratios = tuple(rate / other_rate for rate, other_rate in zip(rates, usual_rates, strict=True))
    return Result(
        "usual",
        (
            Figure("gate against the usual design", "times", ratios, GOAL_RATIO),
            Figure("usual design", "events/s", tuple(usual_rates)),
            Figure("gate, in the same run", "events/s", tuple(rates)),
        ),
        {"usual_commits": commits, "usual_decisions_per_round": events * RECIPIENTS},
    )


def _usual(gate: UsualGate, made: Synthetic, events: Iterable[tuple[str, dict[str, str]]], number: int) -> float:
    began = time.perf_counter()
    for at, (subject, data) in enumerate(events):
        gate.decide(f"e{at}", subject, dict(data), made.world.clock())
    return number / (time.perf_counter() - began)


def _fill(connection: sqlite3.Connection, made: Synthetic) -> None:
    """Give the usual design the same consents, under the publisher's own ids."""
    rows = rows_of_consents(made)
    for at in range(0, len(rows), PEOPLE_AT_ONCE):
        connection.executemany("INSERT INTO consent VALUES (?, ?, ?, ?, ?, ?, ?)", rows[at : at + PEOPLE_AT_ONCE])


def rows_of_consents(made: Synthetic) -> list[tuple[Any, ...]]:
    """Return (subject, agreement, purpose, state, assurance, fields, until) of every consent, sorted."""
    papers = made.world.catalogue
    names = {person: local_id(at) for at, person in enumerate(made.numbers())}
    by_line = {
        (papers.agencies[one.recipient].number, one.purpose.number): (
            one.agreement.code,
            one.purpose.code,
            orjson.dumps([name for _, name in orjson.loads(scope_body(one.purpose))]).decode(),
        )
        for one in papers.by_dataset[DATASET]
    }
    with made.world.store.read() as tx:
        return sorted(_consents(tx, names, by_line))


def _consents(
    tx: Tx, names: dict[int, str], by_line: dict[tuple[int, int], tuple[str, str, str]]
) -> Iterable[tuple[Any, ...]]:
    for person, recipient, purpose, state, until_us, assurance in tx.rows(
        "SELECT person, recipient, purpose, state, until_us, assurance FROM choice"
    ):
        agreement, code, fields = by_line[recipient, purpose]
        yield names[person], agreement, code, CHOICE_STATES[state], assurance, fields, until_us
