"""Hears what other processes of this hub have changed, twice a second, and has it read anew.

One thread per process that shares its store with others. What it does not hear of in time is guarded where it counts:
decisions compare revisions and marks in their own transaction, writes the number of the keys, and keys of persons count
only while `current` says so.
"""

from collections.abc import Callable, Mapping
from math import inf
from threading import Event, Lock
from time import monotonic

from hub.core.errors import HubError
from hub.exchange.opening import BELIEVED_S
from hub.logs import Log
from hub.store.engine import Store
from hub.store.news import Topic, numbers
from hub.workers.worker import Worker

EVERY_S = 0.5
ASKED_S = 1.0  # between two looks because somebody showed a key that is not known: strangers do, as often as they like


class News:
    """The numbers that this process knows, and what to do when one is another. Thread-safe."""

    def __init__(self, store: Store, log: Log) -> None:
        """Take the present numbers as known: make it before what is kept is first read."""
        self._store, self._log = store, log
        self.readers: Mapping[Topic, Callable[[], object]] = {}  # what reads anew; each topic's, before `hear`
        self._hearing, self._asking = Lock(), Lock()
        self._asked_s = self._new_s = -ASKED_S
        self._heard_s = monotonic()
        with store.read() as tx:
            self._known = numbers(tx)

    def current(self) -> bool:
        """Say whether this process has heard of everybody who was erased `BELIEVED_S` ago or before."""
        return not self._store.shared or monotonic() - self._heard_s < BELIEVED_S

    def ask(self) -> bool:
        """Look now, once a second at most; says whether anything was new within that second, whoever looked.

        False too where the store is down.
        """
        with self._asking:
            looks = monotonic() >= self._asked_s + ASKED_S
            if looks:
                self._asked_s = inf  # nobody beside this one, however long a store takes that is down
        if looks:
            try:
                self.hear()
            except HubError:
                return False
            finally:
                self._asked_s = monotonic()
        return monotonic() < self._new_s + ASKED_S

    def hear(self) -> bool:
        """Read anew what has another number; says whether anything had.

        Raises what the first of the readers raises that fails: the others have been called, and it will be again.
        """
        with self._hearing:
            began_s = monotonic()
            with self._store.read() as tx:
                now = numbers(tx)
            changed = [one for one in reversed(Topic) if now[one] != self._known[one]]  # the catalogue last: it is slow
            failure: Exception | None = None
            for topic in changed:
                try:
                    self.readers[topic]()
                except Exception as error:  # noqa: BLE001 - whatever it is, the other topics are heard all the same
                    failure = failure or error
                    continue
                self._known[topic], self._new_s = now[topic], monotonic()
                self._log.info("news.heard", kind=topic.name.lower())
            if self._known[Topic.ERASED] == now[Topic.ERASED]:
                self._heard_s = began_s
            if failure is not None:
                raise failure
            return bool(changed)

    def step(self, _stop: Event) -> float:
        """Hear once; returns the pause to the next time."""
        self.hear()
        return EVERY_S


def news_worker(news: News, log: Log) -> Worker:
    """Make the thread, unstarted."""
    return Worker("news", news.step, log=log)
