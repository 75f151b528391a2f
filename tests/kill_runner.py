"""A whole exchange under load, to be killed: publishers, gate, recipient and citizens in one process, until it dies.

    python tests/kill_runner.py DIRECTORY RUN SEED FAILPOINTS

After each call that returned, a line goes to standard output before anything else: what was promised from then on.
`P event`, `H number delivery`, `A number`, `S count numbers` (so many of these were acknowledged),
`W person stretch numbers`, `E person`, `Q ask`, `V event ask`. The same directory may be used again: a restart.
"""

import io
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from hub.clock import system_clock
from hub.core.errors import HubError
from hub.exchange.erase import erase_again
from hub.exchange.gate import Undecided
from hub.exchange.world import Limits
from hub.failpoints import arm_from
from hub.logs import open_log
from tests.asks_world import BY_LAW, known, put
from tests.protocol_world import Hub

PEOPLE = 12
ASKED = 3  # people who are asked about
LIFE_S = 6.0  # of a process whose failpoint is never reached; the caller kills it before
LIMITS = Limits(batch_events=20, redeliver_us=10_000, page=5)  # so short that one pull opens again what it opened


def promise(*words: object) -> None:
    """Write one line, past every buffer of this process."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def publishing(hub: Hub, run: str, rng: random.Random) -> None:
    """Publish news, and now and then a correction of what was published last about the same person."""
    latest: dict[str, str] = {}
    for number in range(100_000):
        event, person = f"{run}-{number}", f"K-{rng.randrange(PEOPLE)}"
        aim = {"corrects": latest[person]} if person in latest and rng.random() < 0.1 else {}
        hub.publish(event, person, aim=aim)
        promise("P", event)
        latest[person] = event
        if rng.random() < 0.1:
            hub.publish(event, person, aim=aim)  # a repeat
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
            numbers = {one.number for one in page.opened}
            settled = hub.acknowledge(page).acknowledged
            if settled == len(numbers):
                for number in numbers:
                    promise("A", number)
            else:  # before this came a stop took some over: their own ids settle nothing, and the stop comes
                promise("S", settled, *numbers)
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


def erasing(hub: Hub, run: str) -> None:
    """One person after the other says yes, is published about, and is erased while that is on its way."""
    for number in range(100_000):
        local_id = f"E-{run}-{number}"
        person = hub.link(local_id)
        hub.grant(person)
        for at in range(3):
            hub.publish(f"{local_id}-{at}", local_id)
            promise("P", f"{local_id}-{at}")
        time.sleep(0.03)
        hub.publish(f"{local_id}-late", local_id)
        hub.erase(person)
        promise("E", person)


def asking(hub: Hub, run: str, rng: random.Random) -> None:
    """Ask, answer, and take question and answer."""
    for number in range(100_000):
        name = f"L-{rng.randrange(ASKED)}"
        ask = put(hub, name, id=f"{run}-{number}").row.public.hex()
        promise("Q", ask)
        if rng.random() < 0.7:
            hub.publish(f"answer-{run}-{number}", name, BY_LAW, aim={"answers": ask})
            promise("V", f"answer-{run}-{number}", ask)
            if rng.random() < 0.3:
                hub.publish(f"again-{run}-{number}", name, BY_LAW, aim={"answers": ask})  # too late: it is for nobody
                promise("V", f"again-{run}-{number}", ask)
        for matter in (BY_LAW, BY_LAW._replace(recipient=BY_LAW.publisher)):
            hub.acknowledge(hub.pull(matter), matter)
        time.sleep(0.01)


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
    erase_again(hub.eraser, open_log(clock=system_clock, level="error", stream=io.StringIO()))  # as every start does
    for number in range(PEOPLE):
        hub.link(f"K-{number}")
    for number in range(ASKED):
        known(hub, f"L-{number}")
    arm_from(failpoints)
    rngs = [random.Random(f"{seed}/{run}/{part}") for part in range(4)]
    for work in (
        lambda: publishing(hub, run, rngs[0]),
        lambda: gating(hub),
        lambda: pulling(hub, rngs[1]),
        lambda: changing(hub, rngs[2]),
        lambda: erasing(hub, run),
        lambda: asking(hub, run, rngs[3]),
    ):
        threading.Thread(target=kept_going, args=(work,), daemon=True).start()
    promise("R")  # under load from here on
    time.sleep(LIFE_S)


if __name__ == "__main__":
    main()
