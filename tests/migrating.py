"""Load for a store whose schema changes meanwhile: what hubs of two versions do, in threads of their own."""

import threading
import time
from collections.abc import Callable

import psycopg

from hub.exchange.handout import Page
from tests import stores
from tests.protocol_world import CONSENT, Hub

PEOPLE = 6
PATIENCE_S = 30.0
WAITED = (
    "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - l.waitstart)), 0)::float8 FROM pg_locks l"
    " JOIN pg_stat_activity a ON a.pid = l.pid WHERE NOT l.granted AND l.locktype = 'relation' AND a.usename = %s"
)


class Load:
    """Publishing, deciding, handing out and withdrawing, each in a thread of its own, until the block ends.

    One hub publishes and decides; the other hands out, and both change consents.
    """

    def __init__(self, old: Hub, new: Hub, watched: psycopg.Connection) -> None:
        self.old, self.new, self._watched = old, new, watched
        self.people = [(f"P-{number}", old.link(f"P-{number}")) for number in range(PEOPLE)]
        for _, person in self.people:
            old.grant(person)
        self.published = 0
        self.got: list[str] = []
        self.failed: list[str] = []
        self.longest_s = 0.0  # that a hub waited for a table
        self._stop, self._turn = threading.Event(), threading.Lock()
        steps = (self._publish, self._gate, self._take, self._choose, self._watch)
        self._threads = [threading.Thread(target=self._run, args=(one,), daemon=True) for one in steps]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        self.go_on()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on()
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def go_on(self) -> None:
        """Wait until as much again was published and handed out."""
        wanted = self.published + 30, len(self.got) + 20
        until_s = time.monotonic() + PATIENCE_S
        while (self.published, len(self.got)) < wanted or len(self.got) < wanted[1]:
            assert time.monotonic() < until_s, (wanted, self.published, len(self.got), self.failed)
            time.sleep(0.02)

    def take_over(self, following: Callable[[], Hub]) -> Hub:
        """Have another hub publish and decide from now on; returns the one that did."""
        with self._turn:
            self.old.decide()
            former, self.old = self.old, following()
        return former

    def finish(self) -> None:
        """Decide and take what is left."""
        self.old.decide()
        while (page := self.new.pull()).opened:
            self._note(page)

    def _run(self, step: Callable[[], None]) -> None:
        while not self._stop.is_set():
            try:
                step()
            except Exception as error:  # noqa: BLE001 - the test asks for all of them
                self.failed.append(f"{step.__name__}: {error!r}")

    def _watch(self) -> None:
        """Ask the server who waits for a table, and how long already: a busy machine's own delays are not in that."""
        row = self._watched.execute(WAITED.encode(), (stores.ROLE,)).fetchone()
        self.longest_s = max(self.longest_s, float(row[0]) if row else 0.0)
        time.sleep(0.01)

    def _publish(self) -> None:
        local, _ = self.people[self.published % (PEOPLE - 1)]
        with self._turn:
            self.old.publish(f"e-{self.published}", local)
        self.published += 1
        time.sleep(0.005)

    def _gate(self) -> None:
        with self._turn:
            self.old.gate.step(0.0)
        time.sleep(0.005)

    def _take(self) -> None:
        page = self.new.pull(limit=20)
        self._note(page)
        if not page.opened:
            time.sleep(0.01)

    def _note(self, page: Page) -> None:
        read = self.new.read(page)  # notices of changed consents among them
        self.got += [one["id"] for one in read if one["type"] == CONSENT.dataset]
        self.new.acknowledge(page)

    def _choose(self) -> None:
        _, person = self.people[-1]
        self.new.withdraw(person, self.old.grant(person))
        time.sleep(0.05)
