"""The usual design over the same real engines, fairly tuned, against the gate.

It reads events from Kafka in large polls, and per event and subscription makes one call to OPA, one query, and one
insert that is a transaction of its own. Tuned: connections that stay open to all three, the barest HTTP client of the
standard library, prepared statements with binary parameters, covering keys, no wait but for the commit itself. It is
spared what the gate also does: it seals nothing, keeps no history and no salts, does not look for repeats, and names
everybody as the publisher does.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import psycopg
from kafka import KafkaConsumer
from kafka.structs import TopicPartition

from hub.bench.engines import PARTITIONS, Engines, Room, open_consumer, open_producer
from hub.bench.gate import drain
from hub.bench.measure import Figure, Result, Say, Sizes
from hub.bench.synthetic import DATASET, RECIPIENTS, Synthetic, contents
from hub.bench.usual import rows_of_consents
from hub.bench.whole import filled
from hub.bus.kafka import partition_of
from hub.core.agreement import Subscription
from hub.core.derived import FUNCTIONS
from hub.core.question import Question
from hub.exchange.gate import Gate

GOAL_RATIO = 40
PARTS = 20  # the usual design gets a twentieth of the gate's events per round: enough for a rate
TOPIC = "usual"

# --- the usual design, from here to the next line of dashes -----------------------------------------------------------
SCHEMA = """
CREATE TABLE usual_consent(subject TEXT, agreement TEXT, purpose TEXT, state TEXT, assurance INTEGER, fields TEXT,
    until_us BIGINT, PRIMARY KEY (subject, agreement, purpose) INCLUDE (state, assurance, fields, until_us));
CREATE TABLE usual_decision(id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event TEXT, subject TEXT,
    agreement TEXT, at_us BIGINT, outcome TEXT, payload BYTEA);
"""
POLL_RECORDS = 500


class Opa:
    """Asks one question at a time over a connection that stays open."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = HTTPConnection(parts.hostname or "", parts.port)

    def ask(self, question: Question) -> tuple[list[str], frozenset[str]]:
        """Return (reasons against, permitted fields)."""
        body = orjson.dumps({"input": {"items": [question._asdict()]}})
        self._connection.request("POST", "/v1/data/hub/release/answer", body, {"content-type": "application/json"})
        [verdict] = orjson.loads(self._connection.getresponse().read())["result"]["verdicts"]
        return verdict["reasons"], frozenset(verdict["fields"])


class UsualGate:
    """Decides one event for one subscription at a time."""

    def __init__(
        self, connection: psycopg.Connection, opa: Opa, consumer: KafkaConsumer, subscriptions: Sequence[Subscription]
    ) -> None:
        self._connection, self._opa, self._consumer = connection, opa, consumer
        self._subscriptions = subscriptions

    def decide_all(self, events: int, now_us: int) -> None:
        done = 0
        while done < events:
            polled: dict[TopicPartition, list[Any]] = self._consumer.poll(timeout_ms=100, max_records=POLL_RECORDS)
            for records in polled.values():
                for record in records:
                    self.decide(f"{record.partition}-{record.offset}", orjson.loads(record.value), now_us)
                done += len(records)
            self._consumer.commit()

    def decide(self, event: str, data: dict[str, Any], now_us: int) -> None:
        subject = data["person_id"]
        for one in self._subscriptions:
            agreement, purpose = one.agreement, one.purpose
            row = self._connection.execute(
                b"SELECT state, assurance, fields, until_us FROM usual_consent"
                b" WHERE subject = $1 AND agreement = $2 AND purpose = $3",
                (subject, agreement.code, purpose.code),
            ).fetchone()
            state, assurance, fields = row[:3] if row and row[3] > now_us else ("none", 0, "[]")
            reasons, permitted = self._opa.ask(
                Question(
                    agreement.code, agreement.version, purpose.code, DATASET, purpose.basis.value, state, assurance
                )
            )
            outcome, payload = "refusal", None
            if not reasons:
                allowed = one.allowed & permitted & frozenset(orjson.loads(fields))
                for derived in one.dataset.derived.values():
                    data[derived.name] = FUNCTIONS[derived.function](data[derived.base], derived.bounds)
                outcome, payload = "release", orjson.dumps({name: data[name] for name in data if name in allowed})
            self._connection.execute(  # autocommit: the insert is its transaction
                b"INSERT INTO usual_decision(event, subject, agreement, at_us, outcome, payload)"
                b" VALUES ($1, $2, $3, $4, $5, $6)",
                (event, subject, agreement.code, now_us, outcome, payload),
            )


# ----------------------------------------------------------------------------------------------------------------------


def measure(sizes: Sizes, directory: Path, say: Say, engines: Engines) -> Result:
    del directory
    say(f"making {sizes.people} people, twice")
    events, seeds = max(50, sizes.events // PARTS), count(sizes.seed + 1)
    rates, usual_rates = list[float](), list[float]()
    with engines.room() as room, filled(room, sizes) as made, _usual(room, made) as usual:
        made.warm()
        ours = Gate(made.world)
        drain(made, ours, max(200, sizes.events // 4), seed=next(seeds))
        _turn(usual, room, made, events, seed=next(seeds))
        for at in range(sizes.rounds):
            say(f"round {at + 1} of {sizes.rounds}: the gate, then the usual design")
            rates.append(drain(made, ours, sizes.events, seed=next(seeds)))
            usual_rates.append(_turn(usual, room, made, events, seed=next(seeds)))
    ratios = tuple(rate / other for rate, other in zip(rates, usual_rates, strict=True))
    return Result(
        "usual",
        (
            Figure("gate against the usual design", "times", ratios, GOAL_RATIO),
            Figure("usual design", "events/s", tuple(usual_rates)),
            Figure("gate, in the same run", "events/s", tuple(rates)),
        ),
        {"usual_decisions_per_round": events * RECIPIENTS},
    )


@contextmanager
def _usual(room: Room, made: Synthetic) -> Iterator[UsualGate]:
    """Open the usual design over tables of its own beside the hub's, with the same consents, and a topic of its own."""
    room.make_topics([TOPIC])
    with psycopg.connect(room.owner_dsn, autocommit=True, cursor_factory=psycopg.RawCursor) as connection:
        connection.prepare_threshold = 0
        for statement in SCHEMA.split(";")[:-1]:
            connection.execute(statement.encode())
        with connection.cursor().copy(b"COPY usual_consent FROM STDIN") as copy:
            for row in rows_of_consents(made):
                copy.write_row(row)
        connection.execute(b"VACUUM ANALYZE usual_consent")
        consumer = open_consumer(room.access, TOPIC)
        consumer.assign([TopicPartition(room.prefix + TOPIC, one) for one in range(PARTITIONS)])
        with closing(consumer):
            lines = made.world.catalogue.by_dataset[DATASET]
            yield UsualGate(connection, Opa(room.opa_url), consumer, lines)


def _turn(usual: UsualGate, room: Room, made: Synthetic, events: int, *, seed: int) -> float:
    """Publish events as the usual design has them, as plain JSON; then decide them. Returns events per second."""
    producer = open_producer(room.access)
    for name, data in contents(events, made.people, seed=seed):
        at = partition_of(name.encode().ljust(8)[-8:], PARTITIONS)
        producer.send(room.prefix + TOPIC, orjson.dumps(data), key=name.encode(), partition=at)
    producer.flush()
    producer.close()
    began = time.perf_counter()
    usual.decide_all(events, made.world.clock())
    return events / (time.perf_counter() - began)
