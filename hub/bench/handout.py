"""The hand-out over HTTP: pages of 500 pulled and acknowledged, by one recipient alone and by five at once.

What is handed out was decided before the hub was started, so its gate is idle. In turns: one recipient takes its share,
then all five take theirs; who is the one changes from round to round.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub.bench.gate import drain
from hub.bench.measure import Figure, Result, Say, Sizes
from hub.bench.served import Served, served, together
from hub.bench.synthetic import RECIPIENTS, Synthetic, recipient
from hub.exchange.gate import Gate

if TYPE_CHECKING:
    from hub.bench.engines import Engines

GOAL_ONE, GOAL_FIVE = 8_000, 12_000  # deliveries per second
PREPARED = 3  # times the events of a round: enough deliveries for every turn
LEAST_SHARE = 0.5  # of the events reach each recipient: 60 % do, drawn by chance
WITHIN_S = 60.0


def measure(sizes: Sizes, directory: Path, say: Say, engines: "Engines | None" = None) -> Result:
    def prepare(made: Synthetic) -> None:
        say(f"deciding {sizes.events * PREPARED} events beforehand")
        drain(made, Gate(made.world), sizes.events * PREPARED, seed=sizes.seed + 1)

    turns = sizes.rounds + -(-sizes.rounds // RECIPIENTS)  # of the recipient that is most often the one
    share = int(sizes.events * PREPARED * LEAST_SHARE / (turns + 1))  # one more: the first turn is not counted
    say(f"making {sizes.people} people")
    rates: dict[int, list[float]] = {1: [], RECIPIENTS: []}
    cpu = {1: 0.0, RECIPIENTS: 0.0}
    client_cpu = dict(cpu)
    with served(directory, sizes, prepare=prepare, engines=engines) as hub:
        _turn(hub, list(range(RECIPIENTS)), share)
        for at in range(sizes.rounds):
            say(f"round {at + 1} of {sizes.rounds}")
            for who in ([at % RECIPIENTS], list(range(RECIPIENTS))):
                before_s = hub.cpu_s()
                found = _turn(hub, who, share)
                rates[len(who)].append(found["done"] / (found["ended"] - found["began"]))
                cpu[len(who)] += hub.cpu_s() - before_s
                client_cpu[len(who)] += found["cpu_s"]
    done = {many: share * many * sizes.rounds for many in rates}
    figures = (
        Figure("hand-out, one recipient", "deliveries/s", tuple(rates[1]), GOAL_ONE),
        Figure("hand-out, five recipients", "deliveries/s", tuple(rates[RECIPIENTS]), GOAL_FIVE),
    )
    notes = {
        "deliveries_per_turn": {"one": share, "five": share * RECIPIENTS},
        "hub_cpu_us_per_delivery": {
            name: round(cpu[many] / done[many] * 1e6, 1) for name, many in (("one", 1), ("five", RECIPIENTS))
        },
        "client_cpu_us_per_delivery": {
            name: round(client_cpu[many] / done[many] * 1e6, 1) for name, many in (("one", 1), ("five", RECIPIENTS))
        },
    }
    return Result("handout", figures, notes)


def _turn(hub: Served, who: list[int], share: int) -> Mapping[str, Any]:
    task = {
        "role": "take",
        "address": hub.address,
        "insists": hub.room is not None,
        "recipients": [hub.token(recipient(one)) for one in who],
        "deliveries": share,
        "seconds": WITHIN_S,
        "wait": False,
    }
    [found] = together([task])
    if found["done"] != share * len(who):
        raise RuntimeError(f"{found['done']} of {share * len(who)} deliveries came within {WITHIN_S:.0f} s")
    return found
