"""Cost per decision as consents grow: the same events' worth of work over worlds of 10^4, 10^5, 10^6 consents and more.

All worlds stand at once and take turns, round by round. The largest has more people than the hub keeps opened keys for,
and more rows than its caches hold: that is part of what growth costs.
"""

from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from hub.bench.gate import drain
from hub.bench.measure import Figure, Result, Say, Sizes
from hub.bench.synthetic import CONSENTS, RECIPIENTS
from hub.bench.whole import over
from hub.exchange.gate import Gate

if TYPE_CHECKING:
    from hub.bench.engines import Engines

GOAL_RATIO, GOAL_REAL_RATIO = 1.4, 1.8
SHARE = 4  # a round decides a quarter of the events of a round of `gate`, in each world


def measure(sizes: Sizes, directory: Path, say: Say, engines: "Engines | None" = None) -> Result:
    goal = GOAL_RATIO if engines is None else GOAL_REAL_RATIO
    events, seeds = max(100, sizes.events // SHARE), count(sizes.seed + 1)
    costs: dict[int, list[float]] = {size: [] for size in sizes.consents}
    cpu = {size: dict[str, float]() for size in sizes.consents}
    with ExitStack() as stack:
        worlds = []
        for size in sizes.consents:
            say(f"making a world of {size} consents")
            people = size // CONSENTS
            made = stack.enter_context(over(engines, directory / f"consents-{size}", sizes, people=people))
            made.warm()
            gate = Gate(made.world)
            drain(made, gate, events, seed=next(seeds))
            worlds.append((size, made, gate))
        for at in range(sizes.rounds):
            say(f"round {at + 1} of {sizes.rounds}")
            for size, made, gate in worlds:
                rate = drain(made, gate, events, seed=next(seeds), cpu=cpu[size])
                costs[size].append(1e6 / (rate * RECIPIENTS))
    least, most = min(sizes.consents), max(sizes.consents)
    ratios = tuple(large / small for large, small in zip(costs[most], costs[least], strict=True))
    done = events * RECIPIENTS * sizes.rounds
    return Result(
        "scale",
        (
            Figure("cost per decision, most to fewest consents", "times", ratios, goal, lower_is_better=True),
            *(
                Figure(f"a decision among {size:,} consents", "us", tuple(spent), lower_is_better=True)
                for size, spent in costs.items()
            ),
        ),
        {
            "cpu_us_per_decision": {
                f"{size:,}": round(sum(spent.values()) / done * 1e6, 2) for size, spent in cpu.items()
            }
        },
    )
