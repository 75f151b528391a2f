"""One agency publishes a flood; another publishes now and then, as always. How long does the other one wait?

The flood's events are published as fast as the hub takes them, over several connections, and its five recipients pull
and acknowledge. The quiet agency's events are due at a steady pace; its recipient waits in a long poll. Counted from
the moment an event was due to be sent until the answer to its acknowledgement. Both share the bus, the gate, the store.
`--events` says how many events the flood has.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hub.bench.engines import Engines
from hub.bench.measure import Figure, Result, Say, Sizes, percentile
from hub.bench.served import Served, served, together
from hub.bench.synthetic import (
    PUBLISHER,
    QUIET_PEOPLE,
    QUIET_PUBLISHER,
    QUIET_RECIPIENT,
    RECIPIENTS,
    recipient,
)

GOAL_P99_S = 2.0
PIECE_EVENTS = 50_000  # of the flood, with one access token: they end after five minutes
BATCH_EVENTS, LINES = 500, 4
QUIET_PER_S = 20
WITHIN_S = 280.0  # for one piece
DRAIN_S = 3.0  # for what is on its way when the quiet publisher stops


def measure(sizes: Sizes, directory: Path, say: Say, engines: Engines) -> Result:
    say(f"making {sizes.people} people")
    window_s = max(4.0, sizes.seconds)
    latencies, windows, flood_s = list[float](), list[float](), 0.0
    with served(directory, sizes, engines=engines) as hub, ThreadPoolExecutor(1) as pool:
        _quiet(hub, sizes, 0, 2.0)  # its first events learn verdicts and open keys
        decided = hub.decided()
        flood = pool.submit(_flood, hub, sizes)
        while not flood.done() or not windows:
            say(f"{hub.decided() - decided:,.0f} of {sizes.events:,} events decided")
            heard = _quiet(hub, sizes, len(windows) + 1, window_s)
            windows.append(percentile(heard, 0.99))
            latencies += heard
        flood_s = flood.result()
        decided_s = (hub.decided() - decided) / sizes.events
    return Result(
        "flood",
        (
            Figure(
                "beside a flood: publish to acknowledged, p99", "s", (percentile(latencies, 0.99),), GOAL_P99_S,
                lower_is_better=True,
            ),
            Figure(
                "beside a flood: publish to acknowledged, p50", "s", (percentile(latencies, 0.5),), lower_is_better=True
            ),
            Figure("the flood, published", "events/s", (sizes.events / flood_s,)),
        ),
        {
            "flood_events": sizes.events,
            "quiet_events": len(latencies),
            "worst_window_p99_s": round(max(windows), 3),
            "longest_s": round(max(latencies), 3),
            "share_of_the_flood_decided_when_it_ended": round(decided_s, 2),
        },
    )  # fmt: skip


def _flood(hub: Served, sizes: Sizes) -> float:
    """Publish it in pieces. Returns the seconds that publishing took."""
    took = 0.0
    for first in range(0, sizes.events, PIECE_EVENTS):
        task = {
            "role": "publish", "address": hub.address, "insists": True, "token": hub.token(PUBLISHER),
            "batch": BATCH_EVENTS, "lines": LINES, "events": min(PIECE_EVENTS, sizes.events - first),
            "people": sizes.people, "seed": sizes.seed + 1_000 + first, "seconds": WITHIN_S,
        }  # fmt: skip
        [found] = together([task])
        took += found["ended"] - found["began"]
    return took


def _quiet(hub: Served, sizes: Sizes, at: int, seconds: float) -> Sequence[float]:
    """Publish and hear the quiet agency's events for a while, with the flood's recipients pulling beside it."""
    shared: Mapping[str, Any] = {"address": hub.address, "seconds": seconds, "insists": hub.room is not None}
    events = int(QUIET_PER_S * seconds)
    send = {
        "role": "publish", "quiet": True, "token": hub.token(QUIET_PUBLISHER), "batch": 1, "lines": 4,
        "events": events, "per_s": QUIET_PER_S, "people": min(QUIET_PEOPLE, sizes.people),
        "seed": sizes.seed + 2_000 + at,
    }  # fmt: skip
    hear = {
        "role": "take", "recipients": [hub.token(QUIET_RECIPIENT)], "deliveries": events, "wait": True,
        "stamped_after_s": 0, "seconds": seconds + DRAIN_S,
    }  # fmt: skip
    take = {
        "role": "take", "recipients": [hub.token(recipient(one)) for one in range(RECIPIENTS)],
        "deliveries": 10**9, "wait": True,
    }  # fmt: skip
    _, heard, _ = together([{**shared, **send}, {**shared, **hear}, {**shared, **take}])
    late = [seconds + DRAIN_S] * (events - heard["done"])  # what did not come counts as at least so long
    return [*heard["latencies_s"], *late]
