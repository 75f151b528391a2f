"""Let a withdrawal race the gate and the hand-out: a thousand rounds for `make test`, 100,000 for `make torture`.

In half of the rounds a delivery is ready and the hand-out runs; in the other half its event lies on the bus and the
gate runs. Both sides start together, one of them a moment later; the moment is steered so that each side wins often.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from hub.core.leaf import LeafKind
from hub.exchange.gate import Undecided
from tests.interleaving import PATIENCE_S
from tests.protocol_checks import faults
from tests.protocol_world import Hub, opened

PEOPLE = 20
STEP_S, WIDTH_S = 0.0001, 0.002  # how the head start moves, and by how much it is scattered
SIDES = ("hand-out first", "withdrawal before the hand-out", "gate first", "withdrawal before the gate")


class Rival:
    """A thread that runs what it is given when the other side starts too."""

    def __init__(self) -> None:
        self._start, self._stop = threading.Barrier(2), threading.Barrier(2)
        self._work: Callable[[], object] | None = None
        self._error: BaseException | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def against(self, work: Callable[[], object], mine: Callable[[], object], *, ahead_s: float) -> None:
        """Run `work` there and `mine` here together; `ahead_s` is the head start of `mine`, negative the other way."""
        self._work, self._late_s = work, max(0.0, ahead_s)
        self._start.wait(PATIENCE_S)
        pass_time(max(0.0, -ahead_s))
        mine()
        self._stop.wait(PATIENCE_S)
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self._work = None
        self._start.wait(PATIENCE_S)

    def _run(self) -> None:
        while True:
            self._start.wait()
            if self._work is None:
                return
            pass_time(self._late_s)
            try:
                self._work()
            except BaseException as error:  # noqa: BLE001 - raised by `against`, in the thread that waits
                self._error = error
            self._stop.wait(PATIENCE_S)


def pass_time(seconds: float) -> None:
    """Wait without sleeping: a sleep this short would end when it likes. The other thread may run meanwhile."""
    until_s = time.perf_counter() + seconds
    while time.perf_counter() < until_s:
        time.sleep(0)


def race(directory: Path, *, rounds: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Run the rounds on a fresh store; returns who won how often, and everything that was not as promised."""
    rng, won, wrong = random.Random(seed), Counter[str](), list[str]()
    ahead_s = {"hand-out": 0.0, "gate": 0.0}
    rival = Rival()
    with opened(directory) as hub:
        people = [hub.link(f"K-{number}") for number in range(PEOPLE)]
        for number in range(rounds):
            kind = "hand-out" if number % 2 else "gate"
            start_s = ahead_s[kind] + rng.uniform(-WIDTH_S, WIDTH_S)
            who = number % PEOPLE
            first, broken = one_round(hub, rival, f"e{number}", f"K-{who}", people[who], kind=kind, ahead_s=start_s)
            won[f"{kind} first" if first else f"withdrawal before the {kind}"] += 1
            ahead_s[kind] += STEP_S if first else -STEP_S
            wrong += [f"round {number} of seed {seed}: {fault}" for fault in broken]
        rival.close()
        wrong += [f"after seed {seed}: {fault}" for fault in faults(hub)]
    return won, wrong


def one_round(
    hub: Hub, rival: Rival, event: str, local_id: str, person: int, *, kind: str, ahead_s: float
) -> tuple[bool, list[str]]:
    """Give, publish, race, look. Returns whether the withdrawal came second, and what is wrong."""
    done = hub.granted(person)
    hub.publish(event, local_id)
    if kind == "hand-out":
        decided(hub)
    data: list[int] = []
    named: list[int] = []
    released: list[int] = []

    def handing() -> None:
        data.extend(one.number for one in hub.pull().opened if one.parts and one.kind == 1)

    def deciding() -> None:
        released.append(decided(hub))

    def withdrawing() -> None:
        named.extend(one.number for one in hub.withdraw(person, done.consent).receipt.opened_before)

    rival.against(handing if kind == "hand-out" else deciding, withdrawing, ahead_s=ahead_s)
    late = [event for event in hub.drain()[0] if event["kind"] == "data"]
    broken = []
    if late:
        broken.append(f"{len(late)} deliveries were handed out after the withdrawal had returned")
    if sorted(data) != sorted(named):
        broken.append(f"handed out were {data}, the receipt names {named}")
    stretch = done.receipt.stretch
    rows = hub.rows("SELECT number, audit FROM handout_person WHERE person = ? AND stretch = ?", (person, stretch))
    if sorted(number for number, _ in rows) != sorted(named):
        broken.append(f"opened under the stretch were {rows}, the receipt names {named}")
    (last,) = hub.rows(
        "SELECT max(a.id) FROM history h JOIN audit a ON a.id = h.audit WHERE h.person = ? AND a.kind = ?",
        (person, LeafKind.CONSENT.value),
    )[0]
    if any(audit > last for _, audit in rows):
        broken.append("a hand-out committed after the withdrawal it should have met")
    acknowledge_all(hub)
    return bool(named) if kind == "hand-out" else released == [1], broken


def decided(hub: Hub) -> int:
    """Let the gate decide what there is; returns how much it released."""
    while True:
        try:
            return hub.decide().releases
        except Undecided:  # a verdict that nobody had asked for yet: the batch comes again
            continue


def acknowledge_all(hub: Hub) -> None:
    """Let the recipient have read everything, so that the queues stay short."""
    hub.pass_by(3600)
    while (page := hub.pull()).opened:
        hub.acknowledge(page)
