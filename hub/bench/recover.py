"""PostgreSQL killed under load: how long after it is back the first delivery is released.

Events come in at a steady pace and five recipients pull and acknowledge, all of them asking again what was refused.
Then every process of PostgreSQL gets a SIGKILL, and some seconds later it is started again. Counted from the moment it
answers a client again (its own recovery lies before that) until the first page of deliveries after it has arrived.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from hub.bench.engines import Engines
from hub.bench.measure import Figure, Result, Say, Sizes
from hub.bench.served import Served, served, together
from hub.bench.synthetic import PUBLISHER, RECIPIENTS, recipient
from hub.demo.engines import POSTGRES

GOAL_S = 10.0
EVENTS_PER_S, BATCH_EVENTS, LINES = 500, 10, 4
UP_S, DOWN_S = 3.0, 2.0  # under load before the kill; and how long nothing is there to be started
LEAST_AFTER_S = 5.0


def measure(sizes: Sizes, directory: Path, say: Say, engines: Engines) -> Result:
    say(f"making {sizes.people} people")
    after_s = max(LEAST_AFTER_S, sizes.seconds / 2)
    took, back_after = list[float](), list[float]()
    with served(directory, sizes, engines=engines) as hub, ThreadPoolExecutor(1) as pool:
        for at in range(sizes.rounds):
            say(f"round {at + 1} of {sizes.rounds}: load, then SIGKILL")
            load = pool.submit(_load, hub, sizes, at, UP_S + DOWN_S + after_s)
            killed_s, back_s = _break(engines, load)
            first_s = _first_after(load.result(), back_s)
            took.append(first_s - back_s)
            back_after.append(back_s - killed_s - DOWN_S)
        hub.settle()
    return Result(
        "recover",
        (
            Figure("PostgreSQL killed: first release after it is back", "s", tuple(took), GOAL_S, lower_is_better=True),
            Figure("PostgreSQL's own recovery", "s", tuple(back_after), lower_is_better=True),
        ),
        {"events_per_s": EVENTS_PER_S, "killed": sizes.rounds, "longest_s": round(max(took), 2)},
    )


def _load(hub: Served, sizes: Sizes, at: int, seconds: float) -> Sequence[Mapping[str, Any]]:
    shared = {"address": hub.address, "seconds": seconds, "insists": True}
    send = {
        "role": "publish", "token": hub.token(PUBLISHER), "batch": BATCH_EVENTS, "lines": LINES,
        "events": int(EVENTS_PER_S * seconds), "per_s": EVENTS_PER_S, "people": sizes.people,
        "seed": sizes.seed + at,
    }  # fmt: skip
    hear = {
        "role": "take", "recipients": [hub.token(recipient(one)) for one in range(RECIPIENTS)],
        "deliveries": 10**9, "wait": True,
    }  # fmt: skip
    return together([shared | send, shared | hear])


def _break(engines: Engines, load: "Future[Any]") -> tuple[float, float]:
    """Kill PostgreSQL once the load runs, and start it. Returns when it was killed, and when it answered again."""
    sleep(UP_S)
    if load.done():
        load.result()
        raise RuntimeError("the load ended before PostgreSQL was killed")
    killed_s = monotonic()
    engines.held.kill(POSTGRES)
    sleep(DOWN_S)
    engines.held.start(POSTGRES)
    return killed_s, monotonic()


def _first_after(found: Sequence[Mapping[str, Any]], back_s: float) -> float:
    later = [at for at in found[1]["pages_at"] if at > back_s]
    if not later:
        raise RuntimeError("nothing was released after PostgreSQL was back, while the load ran")
    return float(min(later))
