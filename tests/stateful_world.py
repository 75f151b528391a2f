"""A small exchange for random walks: four kinds of matter over six subscriptions, real store, bus, policy and citizens.

`LINES` says in plain words what is agreed. The hub gets it as a catalogue; the walk's own model reads it as it stands.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from joserfc.jwk import OKPKey

from consent.notice import Notice
from hub.bus.embedded import EmbeddedBus
from hub.citizens.desk import CitizenDesk
from hub.core.agreement import Agency, Agreement, Basis, Catalogue, Dataset, Field, Purpose, Wanted
from hub.core.agreement_digest import Terms, terms_of
from hub.core.catalogue import to_document
from hub.core.catalogue.document import Line, compose
from hub.core.errors import HubError, Kind
from hub.core.question import Question, Verdict
from hub.exchange import officers
from hub.exchange.agreements import AgreementDesk, Signing, sign
from hub.exchange.erase import Eraser
from hub.exchange.gate import Gate
from hub.exchange.publish import PublishDesk, validators_of
from hub.exchange.verdicts import Verdicts
from hub.exchange.world import FieldSets, World
from hub.identity.day_keys import DayKeys
from hub.identity.keys import OpenKeys, keyed, keyring
from hub.identity.ledger import Ledger
from hub.identity.officers import sign_detached
from hub.identity.people import Register
from hub.identity.principal import Principal
from hub.policy.embedded import EmbeddedPolicy
from hub.store.agreements import settle
from hub.store.engine import Lane, Tx, marks
from hub.store.facts import POLICY_FENCE, raise_fence
from hub.store.signatures import keep_terms
from tests.stores import open_store

COMPILED = Path(__file__).resolve().parents[1] / "policies" / "compiled"
NOW_US = 1_800_000_000_000_000  # January 2027
S = 1_000_000
DAY = 86_400 * S
ASKED_AGAIN = 3
KEEP_DAYS = 7  # of the intake: until then an erased person's id leads to the mark, and is linked to nobody else
NOTICE = Notice(1, "en", sha256(b"as shown").digest())
AGENCIES = {"register": 1, "clinic": 2, "kinder": 3, "tax": 4, "fund": 5, "linker": 6}
DATASETS = {"birth": ("register", "child"), "care": ("clinic", "patient")}
FIELDS = {  # dataset -> field -> role; `*_id` and `number` name somebody
    "birth": {"child_id": "child", "serial": "child", "note": "child", "extra": "child"}
    | {"guardian_id": "guardian", "phone": "guardian"},
    "care": {"patient_id": "patient", "serial": "patient", "code": "patient", "detail": "patient"}
    | {"number": "patient"},
}
BASES = {"PLACE": "consent", "HELP": "consent", "DUTY": "law", "TELL": "law_with_objection"}
ASSURANCE = {"PLACE": 2, "HELP": 1, "DUTY": 2, "TELL": 1}


class Agreed(NamedTuple):
    """One subscription: number (and number of its agreement), who hears what of whom, for what."""

    number: int
    provider: str
    recipient: str
    purpose: str
    dataset: str
    ceiling: frozenset[str]
    required: frozenset[str]
    optional: frozenset[str]
    look_back_days: int = 0
    until_us: int = NOW_US + 5_000 * DAY

    @property
    def allowed(self) -> frozenset[str]:
        return self.ceiling & (self.required | self.optional)


def _of(words: str) -> frozenset[str]:
    return frozenset(words.split())


LINES = {
    one.number: one
    for one in (
        Agreed(1, "register", "kinder", "PLACE", "birth", _of("serial child_id note guardian_id phone"), _of("serial"),
               _of("child_id note guardian_id phone extra")),
        Agreed(2, "clinic", "kinder", "PLACE", "care", _of("serial code detail patient_id number"), _of("serial"),
               _of("code patient_id number")),
        Agreed(3, "register", "fund", "HELP", "birth", _of("serial note phone extra"), _of("phone"),
               _of("serial note"), look_back_days=5),
        Agreed(4, "clinic", "fund", "HELP", "care", _of("serial code detail patient_id number"), _of("serial"),
               _of("code detail patient_id number"), look_back_days=5),
        Agreed(5, "register", "tax", "DUTY", "birth", _of("serial child_id"), _of("serial"), _of("child_id"),
               until_us=NOW_US + 500 * DAY),
        Agreed(6, "clinic", "tax", "TELL", "care", _of("serial code number"), _of("serial"),
               _of("code patient_id number")),
    )
}  # fmt: skip
NARROW = {1: _of("serial child_id guardian_id phone"), 6: _of("serial")}  # ceilings as a stricter policy sees them


def papers(ceilings: Mapping[int, frozenset[str]]) -> Catalogue:
    """Make the catalogue of `LINES`, some ceilings replaced."""
    titles = {"en": "a title"}
    numbers = {code: at for at, code in enumerate(BASES, 1)}
    wanted = {
        code: {
            one.dataset: Wanted(one.dataset, one.required, one.optional)
            for one in LINES.values()
            if one.purpose == code
        }
        for code in BASES
    }
    return compose(
        agencies=[Agency(c, n, titles, frozenset({"publish", "subscribe", "link"})) for c, n in AGENCIES.items()],
        datasets=[dataset(name, number) for number, name in enumerate(DATASETS, 1)],
        purposes=[
            Purpose(
                code, 1, numbers[code], Basis(basis), titles, titles, {"en": ("other things",)}, wanted[code], 30,
                ASSURANCE[code], "" if basis == "consent" else "Test Act, article 1",
            )
            for code, basis in BASES.items()
        ],
        agreements=[
            Agreement(
                f"A-{one.number}", 1, one.number, one.provider, one.recipient, (one.purpose,),
                {one.dataset: ceilings.get(one.number, one.ceiling)}, 0, one.until_us, one.look_back_days,
                "Test Act", "2030-01-01",
            )
            for one in LINES.values()
        ],
        lines=[Line(one.number, f"A-{one.number}", one.purpose, one.dataset) for one in LINES.values()],
    )  # fmt: skip


def _names(field: str) -> str:
    return "person_ref" if field.endswith("_id") else "identifier" if field == "number" else ""


def dataset(name: str, number: int) -> Dataset:
    provider, role = DATASETS[name]
    fields = {one: Field(one, {"en": one}, of, names=_names(one)) for one, of in FIELDS[name].items()}
    schema = {
        "type": "object",
        "properties": {one: {"type": "string", "minLength": 1} for one in fields},
        "required": ["serial"],
        "additionalProperties": False,
    }
    return Dataset(name, 1, number, provider, {"en": name}, role, fields, {}, schema)


@lru_cache(maxsize=1)
def engines() -> tuple[Catalogue, dict[str, EmbeddedPolicy]]:
    """Make the catalogue, and the policies a walk changes between: one stricter than agreed, one that widens."""
    ordinary = papers({})
    return ordinary, {
        "ordinary": EmbeddedPolicy(ordinary, COMPILED),
        "narrow": EmbeddedPolicy(papers(NARROW), COMPILED),
        "wide": EmbeddedPolicy(
            papers({one.number: frozenset(FIELDS[one.dataset]) for one in LINES.values()}), COMPILED
        ),
    }


@lru_cache(maxsize=1)
def terms() -> dict[int, Terms]:
    """Return what officers sign, by the agreement's number."""
    document = to_document(engines()[0])
    return {number: terms_of(document, f"A-{number}") for number in LINES}


@lru_cache(maxsize=1)
def officer_keys() -> dict[str, OKPKey]:
    return {agency: OKPKey.generate_key("Ed25519") for agency in AGENCIES}


class Engine:
    """The real engines behind a switch: one of them answers, or none does."""

    def __init__(self, which: str) -> None:
        self.which, self.down = which, False

    def revision(self) -> str:
        return engines()[1][self.which].revision()

    def ask(self, questions: Sequence[Question]) -> list[Verdict]:
        if self.down:
            raise HubError(Kind.UNAVAILABLE, "the engine is down", code="policy-unavailable")
        for again in range(ASKED_AGAIN + 1):
            try:
                return engines()[1][self.which].ask(questions)
            except HubError:  # a machine that is busy with other tests stops the module's clock for seconds
                if again == ASKED_AGAIN:
                    raise
        raise AssertionError


@dataclass
class Exchange:
    """Everything of one hub in this process. `start` opens it over what is on disk, as a restart does."""

    directory: Path
    now_us: int = NOW_US
    which: str = "ordinary"
    root: bytes = b"r" * 32
    signed: bool = True  # False: what is in force is for officers to sign
    catalogue: Catalogue = field(default_factory=lambda: engines()[0])

    def __post_init__(self) -> None:
        self.keys = keyring(self.root)
        self.clock: Callable[[], int] = lambda: self.now_us
        self.start()

    def start(self) -> None:
        path = self.directory / "hub.sqlite"
        self.store = open_store(path, synchronous="OFF")  # what crashes here is the process, never the machine
        self.engine = Engine(self.which)
        self.store.write(self._first)
        self.verdicts = Verdicts(self.engine)
        self.verdicts.revision()
        self.open_keys = OpenKeys(self.keys.wrapping, self._wrapped)
        self.day_keys = DayKeys(self.store, self.keys)
        self.bus = EmbeddedBus(self.store)
        datasets = {(one.name, one.version): one for one in self.catalogue.datasets.values()}
        self.world = World(
            self.store, self.bus, self.verdicts, self.keys, self.open_keys, self.catalogue, datasets, self.clock,
            ZoneInfo("UTC"), FieldSets(self.store), lambda agency, day: self.day_keys.of(AGENCIES[agency], day),
        )  # fmt: skip
        self.gate = Gate(self.world)
        self.publishing = PublishDesk(
            self.bus, self.keys, self.catalogue, datasets, validators_of(datasets), self.day_keys.for_publish,
            self.clock, oldest_us=5_000 * DAY,
        )  # fmt: skip
        self.desk = CitizenDesk(self.store, self.keys, self.open_keys, self.catalogue, self.clock)
        self.register = Register(self.store, self.keys, self.open_keys, self.catalogue, self.clock, KEEP_DAYS)
        self.agreements = AgreementDesk(self.store, lambda: self.catalogue, self.clock, self.salt, lambda: None)
        ledger = Ledger(self.directory / "hub.key.erasures", self.keys.erasure)
        self.eraser = Eraser(self.world, ledger, KEEP_DAYS, 30)

    def appoint(self) -> None:
        """Register an officer of every agency. What they sign is theirs to say."""
        for agency, key in officer_keys().items():
            jwk = {**key.as_dict(private=False), "kid": key.thumbprint()}
            officers.add(self.agreements, agency, jwk, name="Ada Example", office="Registrar")

    def sign(self, number: int, agency: str) -> Signing:
        key = officer_keys()[agency]
        jws = sign_detached(terms()[number].payload, key, kid=key.thumbprint())
        return sign(self.agreements, f"A-{number}", jws, agency=agency)

    def restart(self) -> None:
        self.store.close()
        self.start()

    def change_policy(self, which: str) -> None:
        """Put another policy in force, under its fence. Whoever remembers verdicts is not told."""

        def transaction(tx: Tx) -> None:
            raise_fence(tx, POLICY_FENCE, 0)
            tx.run("UPDATE fact SET value = ? WHERE name = 'policy_revision'", (engines()[1][which].revision(),))

        self.store.write(transaction, lane=Lane.URGENT)
        self.which = self.engine.which = which

    def salt(self, nonce: bytes) -> bytes:
        return keyed(self.keys.leaf, nonce.hex())

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self.store.read() as tx:
            return tx.rows(sql, parameters)

    def _first(self, tx: Tx) -> None:
        if tx.one("SELECT 1 FROM agreement_state LIMIT 1") is None:  # as when a catalogue is approved
            keep_terms(tx, terms().values(), self.now_us)
            for number in LINES:
                settle(tx, number, signed=self.signed, now_us=self.now_us)
        tx.insert("fact(name, value)", [("policy_revision", self.engine.revision())], or_ignore=True)

    def _wrapped(self, persons: Collection[int]) -> dict[int, bytes | None]:
        with self.store.read() as tx:
            return dict(tx.rows(f"SELECT id, key FROM person WHERE id IN ({marks(len(persons))})", [*persons]))


def signed_in(person: int, acr: int = 3) -> Principal:
    return Principal(person, person, "self", acr, "session")
