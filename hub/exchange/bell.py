"""Wakes those who wait for deliveries. Rung when something may have become ready; whoever wakes looks for itself.

A ring proves nothing: it may come for nothing, and before the commit that it is about. So whoever is rung goes to the
writer's queue (a hand-out), where that commit stands already; and everybody looks anyway from time to time.
A ring here can be told to the hub's other processes (`tell`), and theirs heard here (`hub/workers/bell.py`).
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock


class Ear:
    """One who waits, in its event loop."""

    def __init__(self) -> None:
        self._loop, self._rung = asyncio.get_running_loop(), asyncio.Event()

    async def wait(self, timeout_s: float) -> bool:
        """Return True when rung since the last call, False after `timeout_s` without."""
        try:
            await asyncio.wait_for(self._rung.wait(), timeout_s)
        except TimeoutError:
            return False
        self._rung.clear()
        return True

    def hear(self) -> None:
        """May be called from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._rung.set)
        except RuntimeError:  # its loop is closed: nobody waits there any more
            return


class ThreadEar:
    """A thread that waits: what sends for a recipient. It takes no place among those who wait at the door."""

    def __init__(self) -> None:
        self._rung = Event()

    def wait(self, timeout_s: float) -> bool:
        """Return True when rung since the last call, False after `timeout_s` without."""
        rung = self._rung.wait(timeout_s)
        self._rung.clear()
        return rung

    def hear(self) -> None:
        self._rung.set()


EVERYBODY = 0  # no recipient has this number


def nobody_else(_recipient: int) -> None:
    """Stand in for other processes where there are none."""


class Bell:
    """One for all recipients. Thread-safe. `tell` is called with whom each ring here is for, and returns at once."""

    def __init__(self, tell: Callable[[int], None] = nobody_else) -> None:
        self._ears: dict[int, set[Ear]] = {}
        self._threads: dict[int, set[ThreadEar]] = {}
        self._lock, self._tell = Lock(), tell

    @contextmanager
    def listening(self, recipient: int) -> Iterator[Ear]:
        """Listen from here on: rings from now are kept until `wait`. Call it before looking, or a ring is missed."""
        ear = Ear()
        with self._lock:
            self._ears.setdefault(recipient, set()).add(ear)
        try:
            yield ear
        finally:
            with self._lock:
                self._ears[recipient].discard(ear)

    def attend(self, recipient: int, ear: ThreadEar) -> None:
        """Let a thread hear what is for this recipient from now on."""
        with self._lock:
            self._threads.setdefault(recipient, set()).add(ear)

    def leave(self, recipient: int, ear: ThreadEar) -> None:
        """Let a thread hear nothing any more."""
        with self._lock:
            self._threads.get(recipient, set()).discard(ear)

    def ring(self, recipient: int) -> None:
        self.ring_here(recipient)
        self._tell(recipient)

    def ring_all(self) -> None:
        """Wake everybody: rules changed, or the hub is stopping."""
        self.ring_here(EVERYBODY)
        self._tell(EVERYBODY)

    def ring_here(self, recipient: int) -> None:
        """Wake those who wait in this process, for one recipient or EVERYBODY."""
        with self._lock:
            if recipient == EVERYBODY:
                ears: list[Ear | ThreadEar] = [ear for each in self._ears.values() for ear in each]
                ears += [ear for those in self._threads.values() for ear in those]
            else:
                ears = [*self._ears.get(recipient, ()), *self._threads.get(recipient, ())]
        for ear in ears:
            ear.hear()

    def listeners(self, recipient: int | None = None) -> int:
        """Count those who wait, for one recipient where one is named."""
        with self._lock:
            if recipient is not None:
                return len(self._ears.get(recipient, ()))
            return sum(len(ears) for ears in self._ears.values())
