"""A withdrawal while everything else is busy: batches pour in, the gate decides, five recipients pull and acknowledge.

Each withdrawn consent was given through the citizens' desk beforehand, with its record, chain and receipt; each person
has a session. Measured is the whole request, from before it is sent until its receipt has been read: over the loopback,
on connections that stand, some a second all through the load.
"""

from pathlib import Path

from hub.bench.gate import drain
from hub.bench.measure import Figure, Result, Say, Sizes, percentile
from hub.bench.served import served, together
from hub.bench.synthetic import PUBLISHER, RECIPIENTS, Synthetic, recipient
from hub.citizens.choices import grant_unasked
from hub.citizens.desk import CitizenDesk
from hub.citizens.notices import notice_of_purpose
from hub.exchange.gate import Gate
from hub.identity.sessions import sign_in

GOAL_P99_MS = 50.0
PER_S, LINES = 20, 4
BEFORE_S, AFTER_S = 1.5, 1.0  # the load runs before the first withdrawal and after the last
BATCH_EVENTS, BATCH_LINES = 100, 2
LATE = 1.25  # withdrawals that fall behind their times have this much longer, still under load
SESSION_US = 3_600_000_000
ASSURANCE = 2
WITHDRAWN = "BENCH-0"  # the purpose whose consents are given and withdrawn; its recipient is the first


def measure(sizes: Sizes, directory: Path, say: Say) -> Result:
    consents: list[tuple[str, str, str]] = []

    def prepare(made: Synthetic) -> None:
        say(f"giving {sizes.withdrawals} consents")
        consents.extend(_give(made, sizes.withdrawals))
        say("deciding some events beforehand")
        drain(made, Gate(made.world), sizes.events, seed=sizes.seed + 1)

    say(f"making {sizes.people} people")
    with served(directory, sizes, prepare=prepare) as hub:
        seconds = BEFORE_S + sizes.withdrawals / PER_S * LATE + AFTER_S
        shared = {"address": hub.address, "seconds": seconds}
        pour = {
            "role": "publish", "token": hub.token(PUBLISHER), "batch": BATCH_EVENTS, "lines": BATCH_LINES,
            "events": 10**9, "people": sizes.people, "seed": sizes.seed + 2,
        }  # fmt: skip
        take = {
            "role": "take", "recipients": [hub.token(recipient(one)) for one in range(RECIPIENTS)],
            "deliveries": 10**9, "wait": True,
        }  # fmt: skip
        end = {"role": "withdraw", "consents": consents, "per_s": PER_S, "lines": LINES, "after_s": BEFORE_S}
        say(f"{sizes.withdrawals} withdrawals under load")
        before, cpu_s = hub.metric("hub_gate_events_total"), hub.cpu_s()
        sent, taken, ended = together([shared | pour, shared | take, shared | end])
        took_s = taken["ended"] - taken["began"]
        decided, cpu_s = hub.metric("hub_gate_events_total") - before, hub.cpu_s() - cpu_s
    took = [value * 1_000 for value in ended["latencies_s"]]
    figures = (
        Figure("withdraw under full load, p99", "ms", (percentile(took, 0.99),), GOAL_P99_MS, lower_is_better=True),
        Figure("withdraw under full load, p50", "ms", (percentile(took, 0.5),), lower_is_better=True),
    )
    notes = {
        "withdrawals": len(took),
        "longest_ms": round(max(took), 1),
        "meanwhile_per_s": {
            "published": round(sent["done"] / took_s),
            "decided": round(decided / took_s),
            "acknowledged": round(taken["done"] / took_s),
        },
        "hub_cpu_share_of_one_core": round(cpu_s / took_s, 2),
    }
    return Result("withdraw", figures, notes)


def _give(made: Synthetic, count: int) -> list[tuple[str, str, str]]:
    """Have people who had not given it consent to `WITHDRAWN`, and sign them in; returns consent, cookie, csrf."""
    world = made.world
    desk = CitizenDesk(world.store, world.keys, world.open_keys, world.catalogue, world.clock)
    purpose = world.catalogue.purposes[WITHDRAWN].number
    with world.store.read() as tx:
        given = {row[0] for row in tx.rows("SELECT person FROM choice WHERE purpose = ?", (purpose,))}
    notice = notice_of_purpose(desk, recipient=recipient(0), purpose=WITHDRAWN, language="en")
    found = []
    for person in [number for number in made.numbers() if number not in given][:count]:
        session = sign_in(
            world.store,
            world.keys,
            person=person,
            actor=person,
            acr=ASSURANCE,
            now_us=world.clock(),
            life_us=SESSION_US,
        )
        done = grant_unasked(
            desk, session.principal, recipient=recipient(0), purpose=WITHDRAWN, items=None, notice=notice
        )
        found.append((done.consent, session.cookie, session.csrf))
    return found
