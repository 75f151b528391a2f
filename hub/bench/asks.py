"""Asks: from asked to the answer in the asker's hands, 50 a second, while the gate does half of what it can.

Both sides wait in long polls over HTTP; the asker hears of the stream's events too, and takes and acknowledges all.
What the gate can is measured first, on the same hub, with a stream that does not wait.
"""

from pathlib import Path

from hub.bench.measure import Figure, Result, Say, Sizes, percentile
from hub.bench.served import Served, served, together
from hub.bench.synthetic import PUBLISHER, Synthetic, contents, local_id, recipient
from hub.identity.keys import seal_with
from hub.identity.people import link_place, local_of

GOAL_P99_S = 2.0
PER_S, LINES = 50, 8
ASKED_ABOUT = 1_000  # people whom the asker knows, and who consented
BATCH_EVENTS, BATCH_LINES = 100, 2
POUR_S = 2.0  # how long the gate's own pace is looked at
WARM_SHARE = 0.2  # of a round's time: what was due in it is not counted
DRAIN_S = 3.0  # for what is on its way when the last question was put
ASKER, PURPOSE = recipient(0), "BENCH-0"


def measure(sizes: Sizes, directory: Path, say: Say) -> Result:
    subjects: list[str] = []
    say(f"making {sizes.people} people")
    p99, p50, asked, unanswered, hub_cpu, seconds = [], [], 0, 0, 0.0, sizes.seconds / 2
    with served(directory, sizes, prepare=lambda made: subjects.extend(_know(made))) as hub:
        say("looking what the gate can")
        half = max(BATCH_EVENTS, int(_pace(hub, sizes) / 2))
        [(_, data)] = contents(1, 1, seed=sizes.seed)
        for at in range(sizes.rounds):
            say(f"round {at + 1} of {sizes.rounds}: {PER_S} asks/s beside {half} events/s")
            hub.settle()
            shared = {"address": hub.address, "seconds": seconds + DRAIN_S}
            stream = {
                "role": "publish", "token": hub.token(PUBLISHER), "batch": BATCH_EVENTS, "lines": BATCH_LINES,
                "events": int(half * seconds), "per_s": half, "people": sizes.people, "seed": sizes.seed + 10 + at,
            }  # fmt: skip
            ask = {
                "role": "ask", "token": hub.token(ASKER), "subjects": subjects, "purpose": PURPOSE, "per_s": PER_S,
                "lines": LINES, "asks_s": seconds, "after_s": seconds * WARM_SHARE,
            }  # fmt: skip
            answer = {"role": "answer", "token": hub.token(PUBLISHER), "data": data}
            before_s = hub.cpu_s()
            _, found, _ = together([shared | stream, shared | ask, shared | answer])
            hub_cpu += hub.cpu_s() - before_s
            if found["refused"]:
                raise RuntimeError(f"{found['refused']} questions of {found['done']} were refused")
            asked, unanswered = asked + found["done"], unanswered + found["unanswered"]
            late = [seconds + DRAIN_S] * found["unanswered"]
            p99.append(percentile(found["latencies_s"] + late, 0.99))
            p50.append(percentile(found["latencies_s"] + late, 0.5))
    figures = (
        Figure("asked to answered, p99", "s", tuple(p99), GOAL_P99_S, lower_is_better=True),
        Figure("asked to answered, p50", "s", tuple(p50), lower_is_better=True),
    )
    notes = {
        "asks": asked,
        "unanswered": unanswered,
        "stream_events_per_s": half,
        "hub_cpu_share_of_one_core": round(hub_cpu / ((seconds + DRAIN_S) * sizes.rounds), 2),
    }
    return Result("asks", figures, notes)


def _pace(hub: Served, sizes: Sizes) -> float:
    """Return how many events a second the gate decides while batches pour in and one recipient takes its own."""
    shared = {"address": hub.address, "seconds": POUR_S}
    pour = {
        "role": "publish", "token": hub.token(PUBLISHER), "batch": BATCH_EVENTS, "lines": BATCH_LINES,
        "events": 10**9, "people": sizes.people, "seed": sizes.seed + 1,
    }  # fmt: skip
    take = {"role": "take", "recipients": [hub.token(ASKER)], "deliveries": 10**9, "wait": True}
    before = hub.metric("hub_gate_events_total")
    sent, taken = together([shared | pour, shared | take])
    decided = hub.metric("hub_gate_events_total") - before
    took_s = float(max(sent["ended"], taken["ended"]) - min(sent["began"], taken["began"]))
    hub.settle()
    _drain(hub)
    return decided / took_s


def _drain(hub: Served) -> None:
    """Let the asker take what the first stream left it."""
    together(
        [
            {
                "role": "take", "address": hub.address, "seconds": POUR_S, "recipients": [hub.token(ASKER)],
                "deliveries": 10**9, "wait": False,
            }
        ]
    )  # fmt: skip


def _know(made: Synthetic) -> list[str]:
    """Give the asker ids of its own of people who consented; returns them."""
    world = made.world
    number = world.catalogue.agencies[ASKER].number
    purpose = world.catalogue.purposes[PURPOSE].number
    with world.store.read() as tx:
        given = {row[0] for row in tx.rows("SELECT person FROM choice WHERE purpose = ?", (purpose,))}
    people = [(at, person) for at, person in enumerate(made.numbers()) if person in given][:ASKED_ABOUT]
    keys = world.open_keys.of([person for _, person in people])
    rows = []
    for at, person in people:
        name = f"asker-{local_id(at)}"
        sealed = seal_with(keys[person], name.encode(), link_place(number, person))
        rows.append((local_of(world.keys, ASKER, name), number, 0, None, person, 2, 0, sealed))
    into = "link(local, agency, from_us, until_us, person, level, disputed, sealed)"
    world.store.write(lambda tx: tx.insert(into, sorted(rows)))
    return [f"asker-{local_id(at)}" for at, _ in people]
