"""Publishing from an outbox: rows read, mapped, sent to the hub as shipped and marked, against the plain client.

In turns, over one connection in batches of 500, as `hub-agency sql publish` does it; the gate decides meanwhile.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hub.bench.measure import Figure, Result, Say, Sizes
from hub.bench.served import Served, served, together
from hub.bench.synthetic import PUBLISHER

GOAL_ROWS = 3_000  # per second
WITHIN_S = 120.0
ROLES = ("outbox", "plain")


def measure(sizes: Sizes, directory: Path, say: Say) -> Result:
    say(f"making {sizes.people} people")
    rates: dict[str, list[float]] = {role: [] for role in ROLES}
    cpu, done = (dict.fromkeys(ROLES, 0.0) for _ in range(2))
    with served(directory, sizes) as hub:
        for role in ROLES:
            _turn(hub, sizes, role, directory, events=max(500, sizes.events // 8), seed=sizes.seed)
        for at in range(sizes.rounds):
            say(f"round {at + 1} of {sizes.rounds}")
            for role in ROLES:
                hub.settle()
                seed = sizes.seed + 1 + at * len(ROLES) + ROLES.index(role)
                found = _turn(hub, sizes, role, directory, events=sizes.events, seed=seed)
                rates[role].append(found["done"] / (found["ended"] - found["began"]))
                cpu[role] += found["cpu_s"]
                done[role] += found["done"]
    figures = (
        Figure("SQL outbox, published and marked", "rows/s", tuple(rates["outbox"]), GOAL_ROWS),
        Figure("the plain client, the same events", "events/s", tuple(rates["plain"])),
    )
    return Result("sql", figures, {"client_cpu_us_per_event": {r: round(cpu[r] / done[r] * 1e6, 1) for r in ROLES}})


def _turn(hub: Served, sizes: Sizes, role: str, directory: Path, *, events: int, seed: int) -> Mapping[str, Any]:
    task = {
        "role": role,
        "address": hub.address,
        "key": hub.keys[PUBLISHER].as_pem(private=True).decode(),
        "database": str(directory / f"agency-{role}-{seed}.sqlite"),
        "events": events,
        "people": sizes.people,
        "seed": seed,
        "seconds": WITHIN_S,
    }
    [found] = together([task])
    return found
