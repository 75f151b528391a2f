"""A gate in a process of its own, over a room of the real engines: it decides while it is told to."""

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from hub.bench.engines import Room
from hub.bench.measure import Sizes
from hub.bench.synthetic import DATASET, PUBLISHER
from hub.bench.whole import reopened
from hub.core.errors import HubError
from hub.exchange.gate import Gate, Undecided
from hub.exchange.intake import topic
from hub.identity.keys import keyring, read_key_file
from hub.store.positions import Superseded

DECIDE, PAUSE, END = "decide", "pause", "end"  # what it is told, a line each; a pause is answered by what it did
POLL_S = 0.05


def deciding(task: Mapping[str, Any]) -> Callable[[], dict[str, Any]]:
    """Open the world of `room`, whose keys follow from `key_file`, and decide from DECIDE to PAUSE, until END."""
    stack = ExitStack()
    sizes = Sizes(people=task["people"], seed=task["seed"])
    keys = keyring(read_key_file(Path(task["key_file"])))
    made = stack.enter_context(reopened(Room(**task["room"]), sizes, keys))
    made.world.bus.follow({topic(PUBLISHER, DATASET)})  # the others' records would only unbalance who has how many
    made.warm()
    gate = Gate(made.world)

    def go() -> dict[str, Any]:
        told: SimpleQueue[str] = SimpleQueue()
        Thread(target=_listen, args=(told,), daemon=True).start()
        done, again = 0, 0
        with stack:
            while (word := told.get()) != END:
                while word == DECIDE and told.empty():
                    try:
                        counts = gate.step(POLL_S)
                    except (HubError, Undecided, Superseded):  # a partition went to another: it is polled again
                        again += 1
                        continue
                    done += counts.events if counts else 0
                if word == PAUSE:
                    done += _seen_off(gate)
                    _tell({"done": done, "again": again})
        return {"done": done, "again": again}

    return go


def _seen_off(gate: Gate) -> int:
    """See the batch through that is committing."""
    try:
        counts = gate.finish()
    except (HubError, Undecided, Superseded):
        return 0
    return counts.events if counts else 0


def _listen(told: "SimpleQueue[str]") -> None:
    for line in sys.stdin:
        told.put(line.strip())
    told.put(END)


def _tell(document: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()
