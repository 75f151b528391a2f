"""Sends one agency's webhooks, or a share of them: its own thread, its own connections, so that a slow receiver delays
itself only.

1. wait for the bell, or until a failing endpoint may be tried again     2. hand out what can be posted within a second
3. open it, and post it on a few connections: one person's deliveries one after the other, each only once the one
   before it was taken     4. acknowledge what was taken; give back what was not, or not begun in time
Nothing begins of a person who was erased since it was opened: an erasure that has returned is one that holds.
A retry is handed out anew: decided again, with the same id and number. What is not taken can be pulled at any time.
Where several processes send, each asks before every delivery whether it is its turn still.
"""

import random
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from threading import Event, Lock
from time import monotonic
from typing import Any

import orjson

from hub.core.errors import HubError
from hub.exchange.acknowledge import Acknowledgement, acknowledge
from hub.exchange.bell import Bell, ThreadEar
from hub.exchange.feed import Opened
from hub.exchange.handout import hand_out, trace_page
from hub.exchange.opening import is_fresh, open_all, persons_in
from hub.exchange.post import Answer, Line, NotBegun, Unanswered
from hub.exchange.turns import WHOLE, Turn
from hub.exchange.ways_out import give_back, is_due, opened_until
from hub.exchange.webhooks import (
    JITTER,
    MEDIA_TYPE,
    WebhookDesk,
    connect,
    failure_of,
    note_failure,
    note_success,
    pause_us,
    signers_of,
    wished_s,
)
from hub.exchange.world import World
from hub.failpoints import reach
from hub.identity.webhook_keys import Signer, signed_headers
from hub.metrics import Metrics
from hub.store.deliveries import DeliveryKind
from hub.store.leases import LeaseLost
from hub.store.postponed import postponed
from hub.store.webhooks import WebhookRow, webhook_of
from hub.traces import Traces

US = 1_000_000
LOOK_S = 0.5  # between two looks without a ring: what falls due by time alone rings no bell
FIRST_PAGE = 32
AHEAD_S = 1.0  # of posting per hand-out: half of what may pass between a commit and its first byte
DOUBTS = 3  # failures without one success that end a round: nobody needs a hundred to see that it does not work
OF_ONE = range(400, 500)  # may be about this delivery alone, and so may a 500 or 501; the rest is the endpoint's
OF_ALL = frozenset({401, 403, 404, 405, 407, 408, 410, 421, 425, 426, 429})
SERVER_ERRORS_OF_ONE = frozenset({500, 501})
RETRY_OTHERS_US = 60 * US  # others are tried this soon, however long the one that fails has to wait


@dataclass(slots=True)
class Round:
    """What became of one hand-out. Filled by several threads, each under the lock."""

    row: WebhookRow
    turn: Turn
    signers: Sequence[Signer]
    handed_us: int  # before the page was chosen: what was put off until later than this is not in it
    committed_us: int
    work: deque[list[tuple[Opened, dict[str, Any]]]]
    lock: Lock = field(default_factory=Lock)
    taken: list[Opened] = field(default_factory=list)
    failed: list[Opened] = field(default_factory=list)  # of their own; the others of that person stay behind them
    unsent: list[Opened] = field(default_factory=list)
    reason: str = ""  # of the last failure
    over: bool = False  # nothing more is sent
    of_all: bool = False  # because the endpoint itself fails
    wish_s: int = 0


class Sender:
    """One agency's sender. `step` is what its thread repeats; `halt` makes it end soon, from any thread."""

    def __init__(
        self,
        desk: WebhookDesk,
        agency: str,
        *,
        bell: Bell,
        metrics: Metrics,
        connections: int,
        traces: Traces | None = None,
        turn: Callable[[], Turn | None] = lambda: WHOLE,
    ) -> None:
        """`turn` says what this one hands out now; None where it is another process's."""
        self._turn = turn
        self._desk, self._agency, self._bell, self._metrics, self._traces = desk, agency, bell, metrics, traces
        self._ear, self._halted = ThreadEar(), Event()
        self._lines: list[Line | None] = [None] * connections
        self._pool = ThreadPoolExecutor(connections, thread_name_prefix=f"webhook-{agency}")
        self._rate = FIRST_PAGE / AHEAD_S
        self._tries: Counter[int] = Counter()  # by number, of those that failed of their own
        self._waits: dict[int, int] = {}  # person -> until when nothing is sent: an earlier one goes first
        self._put_off: set[int] = set()  # numbers that a pull may have before their next try
        recipient = desk.world().catalogue.agencies[agency].number
        bell.attend(recipient, self._ear)
        self._remembered = False

    def step(self, stop: Event) -> float:
        """Do one round; returns at once where there is more to do."""
        world = self._desk.world()
        agency = world.catalogue.agencies.get(self._agency)
        with world.store.read() as tx:
            row = webhook_of(tx, self._agency)
        if stop.is_set() or self._halted.is_set():
            return 0.0
        now_us = world.clock()
        turn = self._turn()
        idle = row is None or row.state not in ("active", "failing") or world.stopped().stops(self._agency)
        if agency is None or row is None or turn is None or idle:
            self._ear.wait(LOOK_S)
            return 0.0
        if row.state == "failing" and now_us < row.next_us:
            self._ear.wait(min(LOOK_S, (row.next_us - now_us) / US))
            return 0.0
        if not self._remembered:
            self._remember(world, agency.number, turn)
        if not is_due(world, agency.number, turn) or not self._send(world, agency.number, row, turn):
            self._ear.wait(LOOK_S)
        return 0.0

    def halt(self) -> None:
        """End what is under way: connections are closed, and what was not taken comes again."""
        self._halted.set()
        self._ear.hear()
        for line in self._lines:
            if line is not None:
                line.close()

    def close(self) -> None:
        """Let go of everything, once the thread has ended."""
        recipient = self._desk.world().catalogue.agencies.get(self._agency)
        if recipient is not None:
            self._bell.leave(recipient.number, self._ear)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _send(self, world: World, recipient: int, row: WebhookRow, turn: Turn) -> bool:
        """Hand out a page and post it. Returns whether there was anything."""
        limit = 1 if row.state == "failing" else max(len(self._lines), int(self._rate * AHEAD_S))
        handed_us = world.clock()
        page = hand_out(world, self._agency, limit, turn)
        if self._traces is not None and (page.opened or page.cancelled or page.held):
            trace_page(self._traces, self._agency, page, handed_us)
        if not page.opened:
            return page.more
        began_s = monotonic()
        self._forget_what_was_pulled(world, recipient)
        events = open_all(world, page.opened, self._desk.wrapping)
        label = self._metrics.agency(self._agency)
        for kind, count in Counter(one.kind for one, _ in events).items():
            self._metrics.deliveries.labels(label, DeliveryKind(kind).name.lower()).inc(count)
        signers = signers_of(self._desk, self._agency)
        each = Round(row, turn, signers, handed_us, page.committed_us, _by_person(events))
        left = {one.number for one, _ in events}
        each.unsent += [one for one in page.opened if one.number not in left]
        lanes = min(len(self._lines), len(each.work))
        others = [self._pool.submit(self._lane, world, each, lane) for lane in range(1, lanes)]
        self._lane(world, each, 0)
        for other in others:
            other.result()
        self._settle(world, recipient, each)
        if len(each.taken) > 1 or (each.taken and each.unsent):  # one alone says little of how many it could be
            self._rate += 0.5 * (len(each.taken) / max(monotonic() - began_s, 0.001) - self._rate)
        return True

    def _lane(self, world: World, each: Round, lane: int) -> None:
        """Post one person's deliveries after another's on one connection, until nothing is left or it is over."""
        while True:
            try:
                group = each.work.popleft()
            except IndexError:
                return
            self._post_group(world, each, lane, group)

    def _post_group(self, world: World, each: Round, lane: int, group: list[tuple[Opened, dict[str, Any]]]) -> None:
        waits_us = self._waits.get(group[0][0].person, 0)
        for at, (one, event) in enumerate(group):
            world.way.give()
            now_us = world.clock()
            late = not is_fresh(each.committed_us, now_us)
            if each.over or late or each.handed_us < waits_us or not self._may_go_on(each):
                break
            if not self._post(world, each, lane, one, event):
                at += 1
                break
        else:
            return
        with each.lock:
            each.unsent += [one for one, _ in group[at:]]

    def _may_go_on(self, each: Round) -> bool:
        return not self._halted.is_set() and self._turn() == each.turn

    @contextmanager
    def _may_begin(self, world: World, each: Round, one: Opened) -> Iterator[bool]:
        """Say whether bytes may begin now: nobody in it was erased since, and this process did not sleep meanwhile."""
        with world.open_keys.leaving(persons_in(one)) as there:
            yield there and self._may_go_on(each) and is_fresh(each.committed_us, world.clock())

    def _post(self, world: World, each: Round, lane: int, one: Opened, event: dict[str, Any]) -> bool:
        """Post one delivery; say whether it was taken."""
        body, now_us = orjson.dumps(event), world.clock()
        headers = signed_headers(each.signers, one.public.hex(), body, now_us=now_us)
        answer: Answer | None = None
        try:
            line = self._line(each.row.url, lane)
            answer = line.post(headers, MEDIA_TYPE, body, partial(self._may_begin, world, each, one))
            reason = failure_of(answer)
        except NotBegun:  # erased since, late, or another's by now: handed out anew it is decided anew
            with each.lock:
                each.unsent.append(one)
            return False
        except Unanswered as failure:
            reason = failure.reason
        except HubError as refused:
            reason = refused.code
        if self._traces is not None:
            self._traces.record(
                "webhook.post", now_us, world.clock(), agency=self._agency, deliveries=[one.public],
                counts={"status": answer.status if answer is not None else 0, "refused": int(bool(reason))},
            )  # fmt: skip
        with each.lock:
            if not reason:
                each.taken.append(one)
                return True
            each.reason = reason
            if self._halted.is_set() or not _is_of_one(answer, reason):
                each.over = each.of_all = True
                each.unsent.append(one)
            else:
                each.failed.append(one)
                each.over |= not each.taken and len(each.failed) >= DOUBTS
            if answer is not None and answer.retry_after:
                each.wish_s = max(each.wish_s, wished_s(answer.retry_after, now_us))
            return False

    def _settle(self, world: World, recipient: int, each: Round) -> None:
        """4.: acknowledge, give back, and note how the endpoint fares."""
        reach("webhook.posted")
        if each.taken:
            items = [Acknowledgement(one.number, one.public.hex()) for one in each.taken]
            done = acknowledge(world, self._agency, items)
            self._metrics.acknowledged.labels(self._metrics.agency(self._agency)).inc(done.acknowledged)
            for one in each.taken:
                self._tries.pop(one.number, None)
        now_us, due_us = world.clock(), dict[int, int]()
        self._waits = {person: until for person, until in self._waits.items() if until > now_us}
        for one in each.failed:
            self._tries[one.number] += 1
            until_us = now_us + self._pause_us(self._tries[one.number], each.wish_s)
            due_us[one.number] = until_us
            self._waits[one.person] = max(until_us, self._waits.get(one.person, 0))
        for one in each.unsent:
            due_us[one.number] = self._waits.get(one.person, 0)
        self._come_again(world, recipient, due_us, [one.number for one in each.taken], each.turn)
        if not self._may_go_on(each):
            return
        if each.taken:
            note_success(self._desk, each.row)
        if each.of_all:
            note_failure(self._desk, each.row, each.reason, wait_us=lambda n: self._pause_us(n, each.wish_s))
        elif each.failed and not each.taken:
            soon = partial(min, RETRY_OTHERS_US)
            note_failure(self._desk, each.row, each.reason, wait_us=lambda n: soon(self._pause_us(n, 0)))

    def _come_again(
        self, world: World, recipient: int, due_us: dict[int, int], taken: Sequence[int], turn: Turn
    ) -> None:
        """Give back what was not taken, and note which of it waits for later, so that a pull can have it before.

        Where it is another's turn by now, that one takes up what was opened when it is due.
        """
        over = self._put_off & set(taken)
        if not due_us and not over:
            return
        try:
            give_back(world, recipient, due_us, taken=over, turn=turn)
        except LeaseLost:
            return
        self._put_off = (self._put_off | {number for number, until_us in due_us.items() if until_us}) - over

    def _forget_what_was_pulled(self, world: World, recipient: int) -> None:
        """Wait for nobody any more where a pull was given all that was put off here."""
        if not self._put_off:
            return
        with world.store.read() as tx:
            still = {number for number, _ in postponed(tx, recipient)}
        if not self._put_off & still:
            self._put_off.clear()
            self._waits.clear()

    def _remember(self, world: World, recipient: int, turn: Turn) -> None:
        """Take up where the last sender ended: what it opened and was not answered for goes before what follows it."""
        opened = opened_until(world, recipient, turn)
        for person, _, due_us in opened:
            self._waits[person] = max(due_us, self._waits.get(person, 0))
        self._come_again(world, recipient, {number: due_us for _, number, due_us in opened}, (), turn)
        self._remembered = True

    def _line(self, url: str, lane: int) -> Line:
        """Give this lane's connection, made anew where it does not stand."""
        line = self._lines[lane]
        if line is None or line.url != url or not line.stands():
            if line is not None:
                line.close()
            line = self._lines[lane] = connect(self._desk, url)
            if self._halted.is_set():
                line.close()
        return line

    def _pause_us(self, failures: int, wish_s: int) -> int:
        jitter = random.uniform(*JITTER)  # noqa: S311 - spreads retries, protects nothing
        return pause_us(failures, jitter=jitter, wish_s=wish_s)


def _by_person(events: Sequence[tuple[Opened, dict[str, Any]]]) -> deque[list[tuple[Opened, dict[str, Any]]]]:
    """Put one person's deliveries behind one another, in their order."""
    groups: dict[int, list[tuple[Opened, dict[str, Any]]]] = {}
    for one, event in events:
        groups.setdefault(one.person, []).append((one, event))
    return deque(groups.values())


def _is_of_one(answer: Answer | None, reason: str) -> bool:
    """Say whether a failure may be about one delivery alone, so that others can be tried at once."""
    if answer is None or reason in ("redirect", "html", "gone"):
        return False
    if answer.status in SERVER_ERRORS_OF_ONE:
        return True
    return answer.status in OF_ONE and answer.status not in OF_ALL
