"""A whole exchange under load, to be killed: publishers, gate, recipient and citizens in one process, until it dies.

    python tests/kill_runner.py DIRECTORY RUN SEED FAILPOINTS

After each call that returned, a line goes to standard output before anything else: what was promised from then on.
`P event`, `H number delivery`, `A number`, `W person stretch numbers`. The same directory may be used again: a restart.
"""

import os
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from hub.clock import system_clock
from hub.core.errors import HubError
from hub.exchange.gate import Undecided
from hub.exchange.world import Limits
from hub.failpoints import arm_from
from tests.protocol_world import Hub

PEOPLE = 12
LIFE_S = 6.0  # of a process whose failpoint is never reached; the caller kills it before
LIMITS = Limits(batch_events=20, redeliver_us=30_000, page=10)


def promise(*words: object) -> None:
    """Write one line, past every buffer of this process."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def publishing(hub: Hub, run: str, rng: random.Random) -> None:
    for number in range(100_000):
        event, person = f"{run}-{number}", f"K-{rng.randrange(PEOPLE)}"
        hub.publish(event, person)
        promise("P", event)
        if rng.random() < 0.1:
            hub.publish(event, person)  # a repeat
        time.sleep(rng.random() * 0.004)


def gating(hub: Hub) -> None:
    while True:
        try:
            hub.gate.step(0.01)
        except Undecided:  # a verdict that nobody had asked for: the batch comes again
            continue


def pulling(hub: Hub, rng: random.Random) -> None:
    while True:
        page = hub.pull()
        for one in page.opened:
            promise("H", one.number, one.public.hex())
        if page.opened and rng.random() < 0.7:
            hub.acknowledge(page)
            for one in page.opened:
                promise("A", one.number)
        if not page.opened:
            time.sleep(0.002)


def changing(hub: Hub, rng: random.Random) -> None:
    """Citizens say yes and no to and fro."""
    while True:
        person = hub.person(f"K-{rng.randrange(PEOPLE)}")
        given = hub.rows("SELECT public FROM consent WHERE person = ? AND state = 'given'", (person,))
        if given:
            receipt = hub.withdraw(person, given[0][0]).receipt
            promise("W", person, receipt.stretch, *[one.number for one in receipt.opened_before])
        else:
            hub.grant(person)
        time.sleep(rng.random() * 0.01)


def kept_going(work: Callable[[], None]) -> None:
    """Run a thread's work; whatever it raises ends the process, and is seen by whoever started it."""
    try:
        work()
    except HubError as error:
        print(f"{error.code}: {error.what}", file=sys.stderr, flush=True)
        os._exit(3)
    except BaseException as error:  # noqa: BLE001 - the last line of a thread: it must not end silently
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(3)


def main() -> None:
    directory, run, seed, failpoints = sys.argv[1:]
    hub = Hub(Path(directory), clock=system_clock, limits=LIMITS, synchronous="FULL")
    for number in range(PEOPLE):
        hub.link(f"K-{number}")
    arm_from(failpoints)
    rngs = [random.Random(f"{seed}/{run}/{part}") for part in range(3)]
    for work in (
        lambda: publishing(hub, run, rngs[0]),
        lambda: gating(hub),
        lambda: pulling(hub, rngs[1]),
        lambda: changing(hub, rngs[2]),
    ):
        threading.Thread(target=kept_going, args=(work,), daemon=True).start()
    promise("R")  # under load from here on
    time.sleep(LIFE_S)


if __name__ == "__main__":
    main()
