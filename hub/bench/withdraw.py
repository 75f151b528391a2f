"""A withdrawal while everything else is busy: batches pour in, the gate decides, five recipients pull and acknowledge.

Each withdrawn consent was given through the citizens' desk beforehand, with its record, chain and receipt; each person
has a session. Measured is the whole request, from before it is sent until its receipt has been read: over the loopback,
on connections that stand, some a second all through the load.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hub.bench.gate import drain
from hub.bench.measure import Figure, Result, Say, Sizes, percentile
from hub.bench.served import Served, served, together
from hub.bench.synthetic import PUBLISHER, RECIPIENTS, Synthetic, recipient
from hub.citizens.choices import grant_unasked
from hub.citizens.desk import CitizenDesk
from hub.citizens.notices import notice_of_purpose
from hub.exchange.gate import Gate
from hub.identity.sessions import sign_in

if TYPE_CHECKING:
    from hub.bench.engines import Engines

GOAL_P99_MS = 50.0
GOAL_REAL_P99_MS = {1: 60.0, 2: 100.0}  # by how many gates decide
PER_S, LINES = 20, 4
BEFORE_S, AFTER_S = 1.5, 1.0  # the load runs before the first withdrawal and after the last
BATCH_EVENTS, BATCH_LINES = 100, 2
LATE = 1.25  # withdrawals that fall behind their times have this much longer, still under load
SESSION_US = 3_600_000_000
ASSURANCE = 2
WITHDRAWN = "BENCH-0"  # the purpose whose consents are given and withdrawn; its recipient is the first


class Measured(NamedTuple):
    took_ms: list[float]
    notes: dict[str, Any]

    def figures(self, what: str, goal_ms: float) -> tuple[Figure, Figure]:
        p99, p50 = (percentile(self.took_ms, part) for part in (0.99, 0.5))
        return (
            Figure(f"withdraw under full load{what}, p99", "ms", (p99,), goal_ms, lower_is_better=True),
            Figure(f"withdraw under full load{what}, p50", "ms", (p50,), lower_is_better=True),
        )


def measure(sizes: Sizes, directory: Path, say: Say) -> Result:
    found = _under_load(sizes, directory, say)
    return Result("withdraw", found.figures("", GOAL_P99_MS), found.notes)


def measure_real(sizes: Sizes, directory: Path, say: Say, engines: "Engines") -> Result:
    """Measure with the hub's own gate, and with another one beside it in a process of its own."""
    figures, notes = list[Figure](), dict[str, Any]()
    for gates, words in ((1, "one gate"), (2, "two gates")):
        found = _under_load(sizes, directory / str(gates), say, engines, gates=gates)
        figures += found.figures(f", {words}", GOAL_REAL_P99_MS[gates])
        notes |= {f"{words}: {name}": value for name, value in found.notes.items()}
    return Result("withdraw", tuple(figures), notes)


def _under_load(
    sizes: Sizes, directory: Path, say: Say, engines: "Engines | None" = None, *, gates: int = 1
) -> Measured:
    consents: list[tuple[str, str, str]] = []

    def prepare(made: Synthetic) -> None:
        say(f"giving {sizes.withdrawals} consents")
        consents.extend(_give(made, sizes.withdrawals))
        say("deciding some events beforehand")
        drain(made, Gate(made.world), sizes.events, seed=sizes.seed + 1)

    say(f"making {sizes.people} people")
    with ExitStack() as stack:
        hub = stack.enter_context(served(directory, sizes, prepare=prepare, engines=engines))
        if gates > 1:
            stack.enter_context(_another_gate(hub, sizes))
        seconds = BEFORE_S + sizes.withdrawals / PER_S * LATE + AFTER_S
        shared = {"address": hub.address, "seconds": seconds, "insists": hub.room is not None}
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
        before, cpu_s = hub.decided(), hub.cpu_s()
        sent, taken, ended = together([shared | pour, shared | take, shared | end])
        took_s = taken["ended"] - taken["began"]
        decided, cpu_s = hub.decided() - before, hub.cpu_s() - cpu_s
    took = [value * 1_000 for value in ended["latencies_s"]]
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
    return Measured(took, notes)


@contextmanager
def _another_gate(hub: Served, sizes: Sizes) -> Iterator[None]:
    """Have a second gate decide beside the hub's own, from when it has its share of the partitions."""
    from hub.bench.engines import PARTITIONS
    from hub.bench.two_gates import gate_process

    assert hub.room is not None
    before = hub.room.epochs()
    with gate_process(hub.room, hub.key_file, sizes) as gate:
        gate.decide()
        hub.room.await_taken_over(before, least=PARTITIONS // 2)
        yield
        gate.pause()


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
