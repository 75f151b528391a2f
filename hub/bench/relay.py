"""The gate against a relay without one: what looking costs, beside the same client, broker and records.

The relay reads every event and writes one record for each delivery that the gate releases of it, then commits its
offsets: what a platform does that forwards whatever comes. Round by round both take the very same records of the very
same topic. The gate's deliveries are rows, for each of them has a state; the relay's are records.
"""

from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

from kafka.structs import TopicPartition

from hub.bench.engines import PARTITIONS, Engines, Room, open_consumer, open_producer
from hub.bench.gate import decide_all, drain
from hub.bench.measure import Figure, Result, Say, Sizes
from hub.bench.synthetic import CONSENTS, DATASET, PUBLISHER
from hub.bench.whole import filled
from hub.exchange.gate import Gate

GOAL_SHARE = 0.5  # of the relay's rate; 0.6 is the stretch
POLL_RECORDS = 500
OUT = "relayed"
RELEASED = CONSENTS  # deliveries of an event: so many of its recipients have the person's consent


class Relay:
    """Forwards the intake topic of a room. Use as a context manager."""

    def __init__(self, room: Room) -> None:
        self._out = room.prefix + OUT
        self._producer = open_producer(room.access)
        self._consumer = open_consumer(room.access, "relay")
        intake = f"{room.prefix}in.{PUBLISHER}.{DATASET}"
        self._consumer.assign([TopicPartition(intake, one) for one in range(PARTITIONS)])

    def __enter__(self) -> "Relay":
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close(autocommit=False)
        self._producer.close()

    def forward(self, events: int) -> float:
        """Forward so many events, which are there. Returns events per second."""
        began, done = perf_counter(), 0
        while done < events:
            polled: dict[TopicPartition, list[Any]] = self._consumer.poll(timeout_ms=100, max_records=POLL_RECORDS)
            for at, records in polled.items():
                for record in records:
                    for _ in range(RELEASED):
                        self._producer.send(self._out, record.value, key=record.key, partition=at.partition)
                done += len(records)
            self._producer.flush()
            self._consumer.commit()
        return events / (perf_counter() - began)


def measure(sizes: Sizes, directory: Path, say: Say, engines: Engines) -> Result:
    del directory
    say(f"making {sizes.people} people")
    seeds = count(sizes.seed + 1)
    warm = max(200, sizes.events // 4)
    with engines.room() as room, filled(room, sizes) as made:
        room.make_topics([OUT])
        made.warm()
        gate, gated, ungated = Gate(made.world), list[float](), list[float]()
        with Relay(room) as relay:
            drain(made, gate, warm, seed=next(seeds))
            relay.forward(warm)
            for at in range(sizes.rounds):
                say(f"round {at + 1} of {sizes.rounds}: the gate and the relay, over the same records")
                made.publish(sizes.events, seed=next(seeds))
                if at % 2:  # who goes first finds the records as warm as who goes second
                    ungated.append(relay.forward(sizes.events))
                began = perf_counter()
                decide_all(gate, sizes.events)
                gated.append(sizes.events / (perf_counter() - began))
                if not at % 2:
                    ungated.append(relay.forward(sizes.events))
    shares = tuple(ours / theirs for ours, theirs in zip(gated, ungated, strict=True))
    return Result(
        "relay",
        (
            Figure("gate against a relay without one", "times", shares, GOAL_SHARE),
            Figure("relay", "events/s", tuple(ungated)),
            Figure("gate, beside the relay", "events/s", tuple(gated)),
        ),
        {"records_per_event": {"read": 1, "written": RELEASED}},
    )
