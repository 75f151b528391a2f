"""Force two threads into one order: one stops at a failpoint, the other does its part, then the first goes on.

Nothing here waits without an end: a protocol that does not hold must give a red test, not a silent one.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from hub.failpoints import arm, disarm

T = TypeVar("T")
PATIENCE_S = 10.0  # for what must happen; a thousand times what it takes
MOMENT_S = 0.15  # for what must not happen: long against a transaction of some 2 ms


class Crash(Exception):
    """What a failpoint raises in place of a worker that dies: its transaction rolls back."""


class Doing(Generic[T]):
    """One call in a thread of its own."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call, self._said = call, list[T | BaseException]()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._said.append(self._call())
        except BaseException as error:  # noqa: BLE001 - raised by `result`, in the thread that asks
            self._said.append(error)

    def returned(self, within_s: float = MOMENT_S) -> bool:
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def result(self) -> T:
        """Wait for the call's result. Raises what the call raised."""
        assert self.returned(PATIENCE_S), "the call never came back"
        said = self._said[0]
        if isinstance(said, BaseException):
            raise said
        return said


class Pause:
    """A thread that reached a failpoint and stands there."""

    def __init__(self) -> None:
        self._there, self._go = threading.Event(), threading.Event()

    def stand(self) -> None:
        self._there.set()
        self._go.wait(PATIENCE_S)

    def reached(self, within_s: float = PATIENCE_S) -> None:
        assert self._there.wait(within_s), "the failpoint was never reached"

    def go(self) -> None:
        self._go.set()


@contextmanager
def paused(name: str, *, passing: int = 0) -> Iterator[Pause]:
    """Stop the first thread that reaches `name` after `passing` others, until it may go on or the block ends."""
    pause, left, lock = Pause(), [passing], threading.Lock()

    def action() -> None:
        with lock:
            left[0] -= 1
            mine = left[0] == -1
        if mine:
            pause.stand()

    arm(name, action)
    try:
        yield pause
    finally:
        pause.go()
        disarm(name)


class Count:
    """How often a failpoint was reached."""

    def __init__(self) -> None:
        self._count, self._changed = 0, threading.Condition()

    def add(self) -> None:
        with self._changed:
            self._count += 1
            self._changed.notify_all()

    def wait(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._count >= count, PATIENCE_S), f"reached {self._count} times only"


@contextmanager
def counting(name: str) -> Iterator[Count]:
    """Count how often `name` is reached."""
    count = Count()
    arm(name, count.add)
    try:
        yield count
    finally:
        disarm(name)


@contextmanager
def failing(name: str, error: Callable[[], Exception] = Crash, *, passing: int = 0, times: int = 1) -> Iterator[None]:
    """Raise at `name`, `times` times, after `passing` others went by."""
    left = [passing + times]

    def action() -> None:
        left[0] -= 1
        if 0 <= left[0] < times:
            raise error()

    arm(name, action)
    try:
        yield
    finally:
        disarm(name)


@contextmanager
def doing_at(name: str, act: Callable[[], object]) -> Iterator[None]:
    """Call `act` the first time `name` is reached, in the thread that reaches it."""
    left = [1]

    def action() -> None:
        left[0] -= 1  # `act` may reach the same name again
        if left[0] == 0:
            act()

    arm(name, action)
    try:
        yield
    finally:
        disarm(name)
