"""Let what stops releases race a hand-out: an officer's suspension of the agreement, the operator's stop of an agency.

In each round a delivery is ready. Both sides start together, one of them a moment later, steered so that each wins
often. Whoever stops looks at once, on its return, how many hand-outs there are: no more may come.
"""

import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from hub.core.errors import HubError
from hub.exchange.agreements import AgreementDesk, move
from hub.operations.stopping import change
from hub.stop_flag import STOP_FLAG, Stop, read_stops
from tests.protocol_checks import faults
from tests.protocol_world import CONSENT, Hub, opened
from tests.racing import STEP_S, WIDTH_S, Rival, acknowledge_all, decided

SUSPENSION, STOP = "suspension", "stop"
STOPS_SIDES = tuple(f"{first} first, then {then}" for kind in (SUSPENSION, STOP) for first, then in (
    ("hand-out", kind), (kind, "hand-out"))
)  # fmt: skip
AGENCY = Stop("agency", CONSENT.recipient, 1)


def reading_the_flag(hub: Hub) -> Hub:
    """Let an exchange read the operator's flag, as a running hub does."""
    hub.world = replace(hub.world, stopped=partial(read_stops, str(hub.directory / STOP_FLAG)))
    hub.gate = type(hub.gate)(hub.world)
    return hub


def officers_desk(hub: Hub) -> AgreementDesk:
    return AgreementDesk(hub.store, lambda: hub.catalogue, hub.clock, lambda nonce: nonce[:16], lambda: None)


def code_of(hub: Hub) -> str:
    """Name the agreement of `CONSENT`."""
    return next(
        one.agreement.code
        for one in hub.catalogue.by_dataset[CONSENT.dataset]
        if (one.recipient, one.purpose.code) == (CONSENT.recipient, CONSENT.purpose)
    )


def suspend(hub: Hub, act: str = "suspend") -> None:
    """Do what an officer of the recipient does by `hub-agency agreement suspend`."""
    move(officers_desk(hub), code_of(hub), act, agency=CONSENT.recipient)


def stop(hub: Hub, *, on: bool = True) -> None:
    """Do what a running hub does for `hub stop-release --agency`."""
    flag = hub.directory / STOP_FLAG
    change(hub.store, flag, AGENCY, on=on, catalogue=hub.catalogue, clock=hub.clock, salt=lambda nonce: nonce[:16])


STOPPING: dict[str, Callable[[Hub], None]] = {SUSPENSION: suspend, STOP: stop}
RESUMING: dict[str, Callable[[Hub], None]] = {SUSPENSION: partial(suspend, act="resume"), STOP: partial(stop, on=False)}


def race_stops(directory: Path, *, rounds: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Run the rounds on a fresh store; returns who won how often, and everything that was not as promised."""
    rng, won, wrong = random.Random(seed), Counter[str](), list[str]()
    ahead_s = dict.fromkeys(STOPPING, 0.0)
    rival = Rival()
    with opened(directory) as hub:
        reading_the_flag(hub)
        hub.grant(hub.link("A"))
        for number in range(rounds):
            kind = (SUSPENSION, STOP)[number % 2]
            start_s = ahead_s[kind] + rng.uniform(-WIDTH_S, WIDTH_S)
            opened_first, broken = one_round(hub, rival, f"e{number}", kind=kind, ahead_s=start_s)
            won[f"hand-out first, then {kind}" if opened_first else f"{kind} first, then hand-out"] += 1
            ahead_s[kind] += STEP_S if opened_first else -STEP_S
            wrong += [f"round {number} of seed {seed}: {fault}" for fault in broken]
        rival.close()
        wrong += [f"after seed {seed}: {fault}" for fault in faults(hub)]
    return won, wrong


def one_round(hub: Hub, rival: Rival, event: str, *, kind: str, ahead_s: float) -> tuple[bool, list[str]]:
    """Publish, race, look, resume, look. Returns whether the hand-out came first, and what is wrong."""
    hub.publish(event)
    decided(hub)
    before, then, data = handed_out(hub), list[int](), list[int]()

    def handing() -> None:
        with suppress(HubError):  # releases are stopped
            data.extend(one.number for one in hub.pull().opened if one.parts and one.kind == 1)

    def stopping() -> None:
        STOPPING[kind](hub)
        then.append(handed_out(hub))

    rival.against(handing, stopping, ahead_s=ahead_s)
    with suppress(HubError):
        late = [one for one in hub.drain()[0] if one["kind"] == "data"]
        data.extend(one["number"] for one in late)
    broken = []
    if handed_out(hub) != then[0]:
        broken.append(f"{handed_out(hub) - then[0]} hand-outs committed after the {kind} had returned")
    if len(data) != then[0] - before:
        broken.append(f"handed out were {data}, on record are {then[0] - before}")
    RESUMING[kind](hub)
    later = [one for one in hub.drain()[0] if one["kind"] == "data"]
    wanted = 0 if kind == SUSPENSION or data else 1  # what a suspension refused stays refused; what was stopped waited
    if len(later) != wanted:
        broken.append(f"after the end of the {kind} came {len(later)}, wanted {wanted}")
    acknowledge_all(hub)
    return bool(data), broken


def handed_out(hub: Hub) -> int:
    """Count what was handed out with data so far."""
    return int(hub.rows("SELECT count(*) FROM handout_person")[0][0])
