"""Named places where a test may stop, kill or overtake the running hub. Unarmed they cost one look at an empty dict.

Each name is reached at exactly one place in the code, so that a test that forces an interleaving can be read beside it.
Production settings refuse to arm any (`hub/settings.py`).
"""

import os
import signal
from collections.abc import Callable

SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
_armed: dict[str, Callable[[], None]] = {}  # the one piece of global state: empty outside tests


def reach(name: str) -> None:
    """Do what is armed under `name`, if anything."""
    if _armed and (action := _armed.get(name)):
        action()


def arm(name: str, action: Callable[[], None]) -> None:
    """Call `action` each time `name` is reached, in the thread that reaches it."""
    _armed[name] = action


def disarm(name: str | None = None) -> None:
    """Forget one name, or all."""
    if name is None:
        _armed.clear()
    else:
        _armed.pop(name, None)


def arm_from(text: str) -> None:
    """Arm what settings say: `gate.before_commit=kill:3` kills this process the third time it gets there.

    With `stop` in place of `kill` it stands still there, all of it, until somebody sends SIGCONT.
    """
    for entry in filter(None, text.split(",")):
        name, _, what = entry.partition("=")
        verb, _, count = what.partition(":")
        if verb not in SIGNALS:
            raise ValueError(f"failpoint {name}: only kill[:COUNT] and stop[:COUNT] can be armed by settings")
        arm(name, _signalling(SIGNALS[verb], int(count or "1")))


def _signalling(number: signal.Signals, count: int) -> Callable[[], None]:
    left = [count]

    def act() -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), number)

    return act
