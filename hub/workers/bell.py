"""Lets the bell of one process ring in the others: a release by the gate's wakes a pull that waits in the hand-out's.

A long poll would find by itself within half a second what is ready; heard of at once it takes milliseconds, and no
process has to ask the store for each agency that waits, many times a second.
"""

from threading import Event, Lock
from typing import Protocol

from hub.exchange.bell import EVERYBODY, Bell
from hub.logs import Log
from hub.workers.worker import Worker

WAIT_S = 0.2  # a stop waits no longer
GATHER_S = 0.005  # rings that come together are told together: a batch rings for each of its recipients


class Words(Protocol):
    """What carries words between processes (`hub/store/signals.py`)."""

    def send(self, words: "set[str]") -> None: ...
    def heard(self, wait_s: float) -> list[str]: ...


class Teller:
    """Takes what is rung here, and tells it. `tell` returns at once; the thread does the rest."""

    def __init__(self) -> None:
        self._rung, self._lock, self._some = set[int](), Lock(), Event()

    def tell(self, recipient: int) -> None:
        """Take one ring. Safe in any thread, and before anybody tells it on."""
        with self._lock:
            self._rung.add(recipient)
        self._some.set()

    def step(self, words: Words, stop: Event) -> float:
        """Tell what was rung; what cannot be told is dropped, for everybody looks from time to time."""
        if not self._some.wait(WAIT_S) or stop.wait(GATHER_S):
            return 0.0
        self._some.clear()
        with self._lock:
            rung, self._rung = self._rung, set()
        words.send({str(EVERYBODY)} if EVERYBODY in rung else {str(one) for one in rung})
        return 0.0


def hear(words: Words, bell: Bell) -> float:
    """Ring here what others rang."""
    for word in words.heard(WAIT_S):
        if word.isdecimal():
            bell.ring_here(int(word))
    return 0.0


def bell_workers(teller: Teller, bell: Bell, words: Words, log: Log) -> tuple[Worker, Worker]:
    """Make both threads, unstarted."""
    return (
        Worker("bell-out", lambda stop: teller.step(words, stop), log=log),
        Worker("bell-in", lambda _stop: hear(words, bell), log=log),
    )
