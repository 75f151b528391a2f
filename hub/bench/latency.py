"""From publish to acknowledged: 1,000 events a second for five recipients, each waiting in a long poll.

Counted from the moment an event was due to be sent until the answer to its acknowledgement has arrived; a publisher
that falls behind is therefore counted as waiting. Times travel in whole milliseconds, rounded down: at most 1 ms is
counted too much.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from hub.bench.measure import Figure, Result, Say, Sizes, percentile
from hub.bench.served import served, together
from hub.bench.synthetic import PUBLISHER, RECIPIENTS, recipient

if TYPE_CHECKING:
    from hub.bench.engines import Engines

GOAL_P99_S = 1.0
EVENTS_PER_S = 1_000
BATCH_EVENTS, LINES = 10, 4  # a batch every 10 ms
WARM_SHARE = 0.2  # of a round's time: what was due in it is not counted
DRAIN_S = 2.0  # for what is on its way when the publisher stops


def measure(sizes: Sizes, directory: Path, say: Say, engines: "Engines | None" = None) -> Result:
    say(f"making {sizes.people} people")
    middle, worst, published, acknowledged, hub_cpu, seconds = [], [], 0, 0, 0.0, sizes.seconds / 2
    with served(directory, sizes, engines=engines) as hub:
        for at in range(sizes.rounds):
            say(f"round {at + 1} of {sizes.rounds}")
            hub.settle()
            shared = {"address": hub.address, "seconds": seconds, "insists": hub.room is not None}
            send = {
                "role": "publish", "token": hub.token(PUBLISHER), "batch": BATCH_EVENTS, "lines": LINES,
                "events": int(EVENTS_PER_S * seconds), "per_s": EVENTS_PER_S, "people": sizes.people,
                "seed": sizes.seed + at,
            }  # fmt: skip
            hear = {
                "role": "take", "recipients": [hub.token(recipient(one)) for one in range(RECIPIENTS)],
                "deliveries": 10**9, "wait": True, "stamped_after_s": seconds * WARM_SHARE,
            }  # fmt: skip
            before_s = hub.cpu_s()
            sent, heard = together([shared | send, shared | hear | {"seconds": seconds + DRAIN_S}])
            hub_cpu += hub.cpu_s() - before_s
            published, acknowledged = published + sent["done"], acknowledged + heard["done"]
            if not heard["latencies_s"]:
                raise RuntimeError(f"nothing was acknowledged within {seconds + DRAIN_S:.0f} s")
            middle.append(percentile(heard["latencies_s"], 0.5))
            worst.append(percentile(heard["latencies_s"], 0.99))
    figures = (
        Figure("publish to acknowledged, p99", "s", tuple(worst), GOAL_P99_S, lower_is_better=True),
        Figure("publish to acknowledged, p50", "s", tuple(middle), lower_is_better=True),
    )
    notes = {
        "events_per_s_sent": round(published / (seconds * sizes.rounds)),
        "deliveries_acknowledged": acknowledged,
        "hub_cpu_share_of_one_core": round(hub_cpu / ((seconds + DRAIN_S) * sizes.rounds), 2),
    }
    return Result("latency", figures, notes)
