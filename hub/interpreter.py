"""How a hub sets its interpreter: who waits how long for its lock, how seldom garbage is looked for, what is loaded."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SWITCH_INTERVAL_S = (
    0.0005  # a withdrawal passes several threads, and each hand-over may cost one interval; 5 ms by default
)
COLLECT_AFTER = (20_000, 20, 50)  # gc.set_threshold. Python's own 700, 10, 10 looks through every cached key again and
# again, and everything stands still meanwhile. Two runs of `hub bench publish` each, on a busy machine: 1.0 and 1.7 s
# in collections, the longest 43 and 244 ms; with these 0.04 and 0.06 s, the longest 10 and 26 ms


def settle_in() -> None:
    """Set the interpreter for a hub that is loaded and begins to serve."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.freeze()  # nothing of what is loaded now is garbage, and it never will be
    gc.set_threshold(*COLLECT_AFTER)
    gc.enable()


@contextmanager
def hidden(module: str) -> Iterator[None]:
    """Import something as if `module` were not installed: an optional extra that costs time and is not used here."""
    known = sys.modules.get(module)
    sys.modules[module] = None  # type: ignore[assignment]  # Python's own way to say that it cannot be imported
    try:
        yield
    finally:
        del sys.modules[module]
        if known is not None:
            sys.modules[module] = known
