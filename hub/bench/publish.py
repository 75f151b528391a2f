"""Publishing over HTTP, to the hub as shipped: its gate decides what arrives while more arrives.

In turns: batches of 100 over two connections, then events one by one over several. Every 202 is durable.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub.bench.measure import Figure, Result, Say, Sizes
from hub.bench.served import Served, served, together
from hub.bench.synthetic import PUBLISHER

if TYPE_CHECKING:
    from hub.bench.engines import Engines

GOAL_BATCHES, GOAL_SINGLES = 8_000, 800  # events per second
BATCH_EVENTS, BATCH_LINES, SINGLE_LINES = 100, 2, 8
SINGLES_SHARE = 10  # one by one a round takes a tenth of the events
WITHIN_S = 60.0


def measure(sizes: Sizes, directory: Path, say: Say, engines: "Engines | None" = None) -> Result:
    say(f"making {sizes.people} people")
    rates: dict[int, list[float]] = {BATCH_EVENTS: [], 1: []}
    cpu, client_cpu, events, decided = ({BATCH_EVENTS: 0.0, 1: 0.0} for _ in range(4))
    with served(directory, sizes, engines=engines) as hub:
        _turn(hub, sizes, batch=BATCH_EVENTS, events=max(BATCH_EVENTS, sizes.events // 4), seed=sizes.seed)
        for at in range(sizes.rounds):
            say(f"round {at + 1} of {sizes.rounds}")
            for batch, many in ((BATCH_EVENTS, sizes.events), (1, max(50, sizes.events // SINGLES_SHARE))):
                hub.settle()
                cpu_s, gate_events = hub.cpu_s(), hub.metric("hub_gate_events_total")
                found = _turn(hub, sizes, batch=batch, events=many, seed=sizes.seed + 1 + at * 2 + (batch == 1))
                cpu[batch] += hub.cpu_s() - cpu_s
                decided[batch] += hub.metric("hub_gate_events_total") - gate_events
                rates[batch].append(found["done"] / (found["ended"] - found["began"]))
                client_cpu[batch] += found["cpu_s"]
                events[batch] += found["done"]
    figures = (
        Figure("publish, batches of 100", "events/s", tuple(rates[BATCH_EVENTS]), GOAL_BATCHES),
        Figure("publish, one by one", "events/s", tuple(rates[1]), GOAL_SINGLES),
    )
    names = {"batches": BATCH_EVENTS, "one by one": 1}
    notes = {
        "connections": {"batches": BATCH_LINES, "one by one": SINGLE_LINES},
        "decided_meanwhile_per_published": {n: round(decided[b] / events[b], 2) for n, b in names.items()},
        "hub_cpu_us_per_event_gate_included": {n: round(cpu[b] / events[b] * 1e6, 1) for n, b in names.items()},
        "client_cpu_us_per_event": {n: round(client_cpu[b] / events[b] * 1e6, 1) for n, b in names.items()},
    }
    return Result("publish", figures, notes)


def _turn(hub: Served, sizes: Sizes, *, batch: int, events: int, seed: int) -> Mapping[str, Any]:
    task = {
        "role": "publish",
        "address": hub.address,
        "insists": hub.room is not None,
        "token": hub.token(PUBLISHER),
        "batch": batch,
        "lines": SINGLE_LINES if batch == 1 else BATCH_LINES,
        "events": events,
        "people": sizes.people,
        "seed": seed,
        "seconds": WITHIN_S,
    }
    [found] = together([task])
    return found
