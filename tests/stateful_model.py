"""What the hub should do, said once more and far more simply: the model that random walks compare the hub with.

Nothing here is taken from the hub but the agreements of `LINES`. Persons are counted from 0; sets of fields are plain.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, Self

from tests.stateful_world import ASSURANCE, BASES, DAY, LINES, NARROW, NOW_US, Agreed

Pair = tuple[str, str]
Outcome = Literal["release", "hold", "refusal"]
DECIDED = {"data", "correction", "backfilled"}  # what is decided again before it leaves
STANDS = {"ready", "held", "behind", "later"}  # in the queue, and not with its recipient
OPERATOR = ""  # suspends as either side does
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
    corrects: "Event | None" = None
    backfill: "Backfill | None" = None
    last: bool = False  # of its person's backfill

    def persons(self) -> list[tuple[int, str]]:
        subject = (self.child, "child" if self.dataset == "birth" else "patient")
        return [subject] if self.guardian is None else [subject, (self.guardian, "guardian")]


@dataclass(frozen=True)
class Part:
    person: int
    fields: frozenset[str]
    stretch: int
    level: int

    def named(self, names: dict[int, int]) -> Self:
        return replace(self, person=names.get(self.person, self.person))


@dataclass
class Row:
    """One delivery. `id` orders them; `public` is the recipient's name of it."""

    id: int
    public: bytes
    recipient: str
    kind: str  # data | correction | backfilled | delete | stop | notice
    line: int = 0
    serial: str = ""
    chain: tuple[int, int] = (0, -1)
    parts: tuple[Part, ...] = ()
    state: str = "ready"  # ready | held | opened | behind | later | gone
    number: int = 0
    due_us: int = 0
    decided_us: int = 0  # first: a look-back is counted from it, however often it is held
    original: "Row | None" = None  # what it corrects, or has deleted
    about: int | None = None  # whom a stop names
    was_behind: bool = False

    named: dict[str, object] | None = None  # of a delete: what was handed out of somebody erased

    @property
    def decides(self) -> bool:
        return self.kind in DECIDED

    def deletes(self) -> object:
        return {"deletes": [self.original.public.hex()]} if self.original is not None else self.named


@dataclass
class Backfill:
    """One backfill of a line: persons whose last is here, and those of whom nothing stands in the way any more."""

    public: str
    line: int
    until_us: int
    state: str = "open"  # open | ending | closed
    sent: int = 0  # records that were on the bus when it began to end
    noted: set[int] = field(default_factory=set)
    cleared: set[int] = field(default_factory=set)


@dataclass
class Model:
    """Everything that matters to the promises, as it stands now."""

    now_us: int = NOW_US
    policy: str = "ordinary"
    suspended: dict[int, set[str]] = field(default_factory=lambda: {number: set() for number in LINES})  # by whom
    signed: dict[int, set[str]] = field(default_factory=lambda: {number: set() for number in LINES})
    backfills: list[Backfill] = field(default_factory=list)
    erased: dict[int, int] = field(default_factory=dict)  # person -> until when an event from before may still come
    linked: dict[tuple[str, int], int] = field(default_factory=dict)  # (agency, person) -> level
    disputed: set[tuple[str, int]] = field(default_factory=set)
    choices: dict[tuple[int, str], Choice] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    opened: list[tuple[int, int, int, str, int]] = field(default_factory=list)  # person, line, stretch, public, number

    def choice(self, person: int, purpose: str) -> Choice:
        return self.choices.setdefault((person, purpose), Choice())

    def closed(self, line: Agreed) -> bool:
        unsigned = self.signed[line.number] != {line.provider, line.recipient}
        return unsigned or bool(self.suspended[line.number]) or self.now_us >= line.until_us

    def backfill_of(self, line: int) -> Backfill | None:
        return next((one for one in self.backfills if one.line == line and one.state != "closed"), None)

    def behind_backfill(self, line: int, person: int) -> bool:
        """Does what is backfilled of this person go first?"""
        one = self.backfill_of(line)
        return one is not None and person not in one.cleared

    def clear(self, line: int, person: int) -> None:
        """Let the news of a person go, where all that is backfilled of them was decided and has left."""
        one, chain = self.backfill_of(line), (line, person)
        stands = any(row.chain == chain and row.state == "later" for row in self.rows)
        if one is not None and person in one.noted and not stands:
            one.cleared.add(person)
            self.free(chain)

    def free(self, chain: tuple[int, int]) -> None:
        for row in self.rows:
            if row.chain == chain and row.state == "behind":
                row.state = "ready"

    def addressed(self, event: Event) -> list[tuple[Agreed, str, Row | None]]:
        """Say for which lines an event is, as what, and which delivery it corrects there."""
        lines = [line for line in LINES.values() if line.dataset == event.dataset]
        if event.corrects is not None:
            found = {
                row.line: row
                for row in self.rows
                if row.decides and row.serial == event.corrects.serial and row.chain[1] == event.child
            }
            return [(line, "correction", found[line.number]) for line in lines if line.number in found]
        if event.backfill is not None:
            there = event.backfill.state != "closed"
            return [(LINES[event.backfill.line], "backfilled", None)] if there else []
        return [(line, "data", None) for line in lines]

    def rename(self, old: int, new: int) -> None:
        """Give a person another number: the old one is for somebody else from now on."""
        names = {old: new}
        for event in self.events:
            event.child = names.get(event.child, event.child)
            event.guardian = None if event.guardian is None else names.get(event.guardian, event.guardian)
        for row in self.rows:
            row.chain = row.chain[0], names.get(row.chain[1], row.chain[1])
            row.parts = tuple(part.named(names) for part in row.parts)
            row.about = None if row.about is None else names.get(row.about, row.about)
        for one in self.backfills:
            one.noted = {names.get(person, person) for person in one.noted}
            one.cleared = {names.get(person, person) for person in one.cleared}
        self.linked = {(agency, names.get(person, person)): level for (agency, person), level in self.linked.items()}
        self.choices = {(names.get(who, who), purpose): choice for (who, purpose), choice in self.choices.items()}
        self.opened = [(names.get(one[0], one[0]), *one[1:]) for one in self.opened]

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

    def decide(
        self, line: Agreed, parts: Iterable[Part], *, keeps: bool = True
    ) -> tuple[Outcome, list[frozenset[str]]]:
        """Say what of these parts may go now, or could after a yes; what is backfilled `keeps` nothing for that."""
        parts = list(parts)
        now = [self._own(line, part, keeps=keeps) for part in parts]
        there = frozenset().union(*(part.fields for part in parts))
        released = [fields if ok else frozenset() for fields, ok, _ in now]
        if self._enough(line, released, there):
            return "release", released
        later = [fields if curable else frozenset() for fields, _, curable in now]
        if keeps and line.look_back_days and self._enough(line, later, there):
            return "hold", later
        return "refusal", released

    def _enough(self, line: Agreed, fields: list[frozenset[str]], there: frozenset[str]) -> bool:
        whole = frozenset().union(*fields)
        return bool(whole) and line.required <= whole

    def _own(self, line: Agreed, part: Part, *, keeps: bool) -> tuple[frozenset[str], bool, bool]:
        """Return (fields, may they go now, could they go after a yes)."""
        choice = self.choice(part.person, line.purpose)
        state = choice.at(self.now_us)
        ceiling = NARROW.get(line.number, line.ceiling) if self.policy == "narrow" else line.ceiling
        fields = part.fields & line.allowed & ceiling
        closed = self.closed(line) or part.person in self.erased
        if BASES[line.purpose] != "consent":
            no = closed or part.level < ASSURANCE[line.purpose] or state == "objected"
            return fields, not no, not no
        if state != "given":
            return fields, False, state in CURABLE and not closed
        no = closed or choice.acr < ASSURANCE[line.purpose]
        no = no or (choice.stretch != part.stretch and not (keeps and line.look_back_days))
        given = frozenset(name for of, name in choice.items if of == line.dataset)
        return fields & given, not no, not no

    def queue(self, recipient: str) -> list[Row]:
        return [row for row in self.rows if row.recipient == recipient and row.state != "gone"]

    def candidates(self, recipient: str) -> list[Row]:
        """Name what a hand-out looks at: opened and due again, then ready with nothing held or disputed before it, then
        what is backfilled. A delete waits while what it deletes may still come."""
        rows = sorted(self.queue(recipient), key=lambda row: row.id)
        held = {(row.chain, row.id) for row in rows if row.state == "held"}
        due = [row for row in rows if row.state == "opened" and row.due_us <= self.now_us]
        ready = [
            row
            for row in rows
            if row.state == "ready" and (not row.decides or not any(c == row.chain and i < row.id for c, i in held))
        ]
        ready = [row for row in ready if not (row.original and row.kind == "delete" and row.original.state in STANDS)]
        ready += [row for row in rows if row.state == "later"]
        passed: list[Row] = []
        waiting: set[tuple[int, int]] = set()
        for row in due + ready:
            if self.doubted(row):
                waiting.add(row.chain)
            elif not row.decides or row.number or row.chain not in waiting:
                passed.append(row)
        return passed

    def doubted(self, row: Row) -> bool:
        """Does it rest on a link in doubt: the publisher's or the recipient's, of anybody it is about?"""
        if not row.decides:
            return False
        about = {row.chain[1], *(part.person for part in row.parts)}
        return any(
            (agency, who) in self.disputed for agency in (LINES[row.line].provider, row.recipient) for who in about
        )

    def judge(self, row: Row) -> tuple[Outcome, list[frozenset[str]]]:
        if row.kind == "delete" and row.original is not None and not row.number and not row.original.number:
            return "refusal", []  # nobody has what is to be deleted
        if not row.decides:
            return "refusal" if row.about in self.erased else "release", []
        return self.decide(LINES[row.line], row.parts, keeps=row.kind != "backfilled")

    def hold_us(self, row: Row) -> int:
        return row.decided_us + LINES[row.line].look_back_days * DAY
