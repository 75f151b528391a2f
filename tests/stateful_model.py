"""What the hub should do, said once more and far more simply: the model that random walks compare the hub with.

Nothing here is taken from the hub but the agreements of `LINES`. Persons are counted from 0; sets of fields are plain.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from tests.stateful_world import ASSURANCE, BASES, DAY, LINES, NARROW, NOW_US, Agreed

Pair = tuple[str, str]
Outcome = Literal["release", "hold", "refusal"]
CURABLE = {"none", "requested", "paused", "withdrawn", "expired", "lapsed"}  # a later yes may still let it go


@dataclass
class Choice:
    """What one person said to one purpose."""

    state: str = "none"
    items: frozenset[Pair] = frozenset()
    until_us: int = 0
    stretch: int = 0
    acr: int = 0
    consent: str = ""  # its public id
    asked: str = ""  # public id of a question that is open
    deadline_us: int = 0  # of that question
    refused_us: int = -(1 << 62)  # of the latest no

    def at(self, now_us: int) -> str:
        if self.state == "requested":
            return "lapsed" if now_us >= self.deadline_us else "requested"
        return "expired" if self.state in ("given", "paused") and now_us >= self.until_us else self.state

    def runs(self, now_us: int) -> bool:
        return self.at(now_us) in ("given", "paused")


@dataclass
class Event:
    """One published event and how far it is."""

    serial: str
    dataset: str
    child: int
    guardian: int | None
    fields: dict[str, str]  # field -> role
    hash: bytes
    state: str = "bus"  # bus | waiting | handled | expired
    until_us: int = 0  # of its waiting

    def persons(self) -> list[tuple[int, str]]:
        subject = (self.child, "child" if self.dataset == "birth" else "patient")
        return [subject] if self.guardian is None else [subject, (self.guardian, "guardian")]


@dataclass(frozen=True)
class Part:
    person: int
    fields: frozenset[str]
    stretch: int
    level: int


@dataclass
class Row:
    """One delivery. `id` orders them; `public` is the recipient's name of it."""

    id: int
    public: bytes
    recipient: str
    kind: str  # data | stop | notice
    line: int = 0
    serial: str = ""
    chain: tuple[int, int] = (0, -1)
    parts: tuple[Part, ...] = ()
    state: str = "ready"  # ready | held | opened | gone
    number: int = 0
    due_us: int = 0
    decided_us: int = 0  # first: a look-back is counted from it, however often it is held


@dataclass
class Model:
    """Everything that matters to the promises, as it stands now."""

    now_us: int = NOW_US
    policy: str = "ordinary"
    suspended: set[int] = field(default_factory=set)
    linked: dict[tuple[str, int], int] = field(default_factory=dict)  # (agency, person) -> level
    disputed: set[tuple[str, int]] = field(default_factory=set)
    choices: dict[tuple[int, str], Choice] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    opened: list[tuple[int, int, int, str, int]] = field(default_factory=list)  # person, line, stretch, public, number

    def choice(self, person: int, purpose: str) -> Choice:
        return self.choices.setdefault((person, purpose), Choice())

    def missing(self, event: Event) -> bool:
        """Is any person of it unknown to the hub under the publisher's id, or is that link in doubt?"""
        agency = "register" if event.dataset == "birth" else "clinic"
        return any(
            (agency, person) not in self.linked or (agency, person) in self.disputed for person, _ in event.persons()
        )

    def behind(self, event: Event) -> bool:
        """Does an earlier event of its chain still wait?"""
        return any(
            (one.dataset, one.child, one.state) == (event.dataset, event.child, "waiting")
            for one in self.events[: self.events.index(event)]
        )

    def fresh_parts(self, event: Event, line: Agreed) -> list[Part]:
        agency = line.provider
        return [
            Part(
                person,
                frozenset(name for name, of in event.fields.items() if of == role),
                self.choice(person, line.purpose).stretch,
                self.linked[agency, person],
            )
            for person, role in event.persons()
        ]

    def decide(self, line: Agreed, parts: Iterable[Part]) -> tuple[Outcome, list[frozenset[str]]]:
        """Say what of these parts may go now, or could after a yes."""
        parts = list(parts)
        now = [self._own(line, part) for part in parts]
        there = frozenset().union(*(part.fields for part in parts))
        released = [fields if ok else frozenset() for fields, ok, _ in now]
        if self._enough(line, released, there):
            return "release", released
        later = [fields if curable else frozenset() for fields, _, curable in now]
        if line.look_back_days and self._enough(line, later, there):
            return "hold", later
        return "refusal", released

    def _enough(self, line: Agreed, fields: list[frozenset[str]], there: frozenset[str]) -> bool:
        whole = frozenset().union(*fields)
        return bool(whole) and line.required <= whole

    def _own(self, line: Agreed, part: Part) -> tuple[frozenset[str], bool, bool]:
        """Return (fields, may they go now, could they go after a yes)."""
        choice = self.choice(part.person, line.purpose)
        state = choice.at(self.now_us)
        ceiling = NARROW.get(line.number, line.ceiling) if self.policy == "narrow" else line.ceiling
        fields = part.fields & line.allowed & ceiling
        closed = line.number in self.suspended or self.now_us >= line.until_us
        if BASES[line.purpose] != "consent":
            no = closed or part.level < ASSURANCE[line.purpose] or state == "objected"
            return fields, not no, not no
        if state != "given":
            return fields, False, state in CURABLE and not closed
        no = closed or choice.acr < ASSURANCE[line.purpose]
        no = no or (choice.stretch != part.stretch and not line.look_back_days)
        given = frozenset(name for of, name in choice.items if of == line.dataset)
        return fields & given, not no, not no

    def queue(self, recipient: str) -> list[Row]:
        return [row for row in self.rows if row.recipient == recipient and row.state != "gone"]

    def candidates(self, recipient: str) -> list[Row]:
        """Name what a hand-out looks at: opened and due again, then ready with nothing held or disputed before it."""
        rows = sorted(self.queue(recipient), key=lambda row: row.id)
        held = {(row.chain, row.id) for row in rows if row.state == "held"}
        due = [row for row in rows if row.state == "opened" and row.due_us <= self.now_us]
        ready = [
            row
            for row in rows
            if row.state == "ready" and (row.kind != "data" or not any(c == row.chain and i < row.id for c, i in held))
        ]
        passed: list[Row] = []
        waiting: set[tuple[int, int]] = set()
        for row in due + ready:
            if self.doubted(row):
                waiting.add(row.chain)
            elif row.kind != "data" or row.number or row.chain not in waiting:
                passed.append(row)
        return passed

    def doubted(self, row: Row) -> bool:
        """Does it rest on a link in doubt: the publisher's or the recipient's, of anybody it is about?"""
        if row.kind != "data":
            return False
        about = {row.chain[1], *(part.person for part in row.parts)}
        return any(
            (agency, who) in self.disputed for agency in (LINES[row.line].provider, row.recipient) for who in about
        )

    def judge(self, row: Row) -> tuple[Outcome, list[frozenset[str]]]:
        if row.kind != "data":
            return "release", []
        return self.decide(LINES[row.line], row.parts)

    def hold_us(self, row: Row) -> int:
        return row.decided_us + LINES[row.line].look_back_days * DAY
