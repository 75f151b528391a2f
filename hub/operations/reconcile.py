"""Bring a restored store up to what is known outside it, then let releases go on. Nothing is released before.

1. what the marks beside the key know and the store does not (`missing`)     2. erased persons are erased again
3. withdrawn, objected, paused: again, each as its person's own act, with its receipt and its `stop`
4. links undone or doubted, keys ended: again       5. agencies and agreements that were suspended or ended, or whose
endpoint or sealing key was changed: stopped by name in the flag file, for the store has not what they are now
6. every agency is told by a notice since when; the quarantine ends, with its audit row
Consents given since are not known and stay gone: people are asked again. So does what the embedded bus had taken since:
publishers send it again. On Kafka positions went back with the store; what is decided again keeps its delivery's id.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from hub.citizens.choices import pause_it
from hub.citizens.desk import CitizenDesk
from hub.citizens.objections import object_to
from hub.citizens.withdraw import withdraw_it
from hub.core.agreement import Catalogue
from hub.core.errors import HubError, Kind
from hub.core.leaf import LeafKind
from hub.exchange.bell import Bell
from hub.exchange.erase import Erases, erase_again, eraser
from hub.exchange.feed import rfc3339
from hub.exchange.notices import put_notice
from hub.identity.keys import keyed
from hub.identity.marks import Marks
from hub.identity.people import Register, undo_again
from hub.identity.principal import Principal
from hub.identity.registered_keys import RegisteredKeys
from hub.operations.steered import Steered
from hub.settings import CLOCK_OFF_MOST_S
from hub.stop_flag import Stop, stop
from hub.store.engine import Lane, Tx
from hub.store.facts import CHOICE_STATES
from hub.store.operations import record
from hub.store.outside import CATALOGUE, CHOICES, KEYS, LINKS, WAYS, Act
from hub.store.quarantine import WHY, Quarantine, lift, quarantine
from hub.store.signatures import end_officer

PERSONS_AT_ONCE = 5_000
SESSION = "restored"  # stands where a sign-in's name would: the person's act is repeated, not made
RUNS = ("given", "paused")
RECEIPTS = {  # an act's, by kind
    "withdrawn": "withdraw", "objected": "object", "paused": "pause", "narrowed": "narrow", "lessened": "grant",
}  # fmt: skip
APART_US = 2 * CLOCK_OFF_MOST_S * 1_000_000  # between two processes: each clock may be so far from the store's
STRENGTH = {"withdrawn": 2, "objected": 2, "paused": 1, "narrowed": 1, "lessened": 1}
PAUSED = ("narrowed", "lessened")  # to what, is lost


class Reconciled(Steered, Erases, Protocol):
    """A hub, as far as reconciling needs one."""

    @property
    def marks(self) -> Marks: ...
    @property
    def citizens(self) -> CitizenDesk: ...
    @property
    def register(self) -> Register: ...
    @property
    def agency_keys(self) -> RegisteredKeys: ...
    @property
    def bell(self) -> Bell: ...


class Missing(NamedTuple):
    """What the marks know and the store does not. Persons and links are its own, found by their keyed hashes."""

    choices: list[tuple[int, str, str, str]]  # person, recipient, purpose, kind
    links: list[tuple[str, bytes, str]]  # agency, keyed hash, kind
    keys: list[tuple[str, str, str]]  # kind, agency, kid
    halts: list[tuple[str, str]]  # scope, code


def shown(hub: Reconciled) -> dict[str, Any]:
    """Say what reconciling would do; names nobody. Raises HubError(CONFLICT) where nothing is to be reconciled."""
    held = _held(hub)
    return _said(held, missing(hub))


def reconcile(hub: Reconciled) -> dict[str, Any]:
    """Do it all and let go on; returns what was done. It may be repeated after a crash. Raises HubError."""
    with hub.store.read() as tx:
        origin = tx.origin()  # of what is compared: after a failover in between it is to be looked into anew
    held = _held(hub)
    _check_catalogue(hub)
    erased = erase_again(eraser(hub), hub.log)  # 2.
    found = missing(hub)  # 1.
    for person, recipient, purpose, kind in found.choices:  # 3.
        _again(hub.citizens, person, recipient, purpose, kind)
    for agency, local, kind in found.links:  # 4.
        undo_again(hub.register, agency=agency, local=local, kind=kind)
    for kind, agency, kid in found.keys:
        if kind == "agency-key":
            hub.agency_keys.end(agency, kid, now_us=hub.clock())
        else:
            _end_officer(hub, agency, kid)
    for scope, code in found.halts:  # 5.
        reason = "restored: it was changed after the backup"
        stop(hub.stop_flag, Stop("agency" if scope == "agency" else "agreement", code, hub.clock(), reason))
    done = _said(held, found) | {"erased": erased}
    hub.marks.agree(0, origin)
    hub.store.write(lambda tx: _let_go(hub, tx, held, done), lane=Lane.URGENT, patient=True)  # 6.
    hub.log.warning("store.reconciled", count=len(found.choices))
    hub.bell.ring_all()
    return done


def missing(hub: Reconciled) -> Missing:
    """Compare every act of the marks with the store."""
    acts: dict[tuple[str, ...], list[Act]] = {}
    for act in hub.marks.acts():
        acts.setdefault((_group(act.kind), act.name, str(act.recipient), str(act.purpose)), []).append(act)
    with hub.store.read() as tx:
        catalogue = hub.approved()
        return Missing(
            list(_choices(hub, tx, catalogue, acts)), list(_links(hub, tx, catalogue, acts)), list(_keys(tx, acts)),
            sorted(set(_halts(tx, catalogue, acts))),
        )  # fmt: skip


def _group(kind: str) -> str:
    """Name what acts of one thing follow one another in."""
    if kind in CHOICES:
        return "choice"
    return "link" if kind in LINKS else kind


Acts = Mapping[tuple[str, ...], list[Act]]


def _choices(hub: Reconciled, tx: Tx, catalogue: Catalogue, acts: Acts) -> Iterator[tuple[int, str, str, str]]:
    """Find the choices that allow more here than their persons last allowed.

    What the store has is told by its receipts and not by time: an act of a process whose clock is behind may be newer
    than what stands here.
    """
    by_person: dict[str, list[list[Act]]] = {}
    for (group, name, *_), of in acts.items():
        if group == "choice":
            by_person.setdefault(name, []).append(of)
    agencies = {one.number: one.code for one in catalogue.agencies.values()}
    purposes = {one.number: one.code for one in catalogue.purposes.values()}
    for person in _persons(tx) if by_person else ():
        for of in by_person.get(hub.marks.hidden(str(person)), ()):
            state, since_us = _standing(tx, person, of[0])
            newer = [one for one in of if one.at_us >= since_us - APART_US and one.kind in STRENGTH]
            strongest = max(_lost(tx, person, newer), key=lambda one: STRENGTH[one.kind], default=None)
            if strongest is None or strongest.recipient not in agencies or strongest.purpose not in purposes:
                continue
            kind = "paused" if strongest.kind in PAUSED else strongest.kind
            open_ = state != "objected" if kind == "objected" else state in RUNS and state != kind
            if open_:
                yield person, agencies[strongest.recipient], purposes[strongest.purpose], kind


def _persons(tx: Tx) -> Iterator[int]:
    """Yield everybody who was not erased."""
    last = -1
    while rows := tx.rows(
        "SELECT id FROM person WHERE id > ? AND erased_us IS NULL ORDER BY id LIMIT ?", (last, PERSONS_AT_ONCE)
    ):
        yield from (int(person) for (person,) in rows)
        last = rows[-1][0]


def _standing(tx: Tx, person: int, act: Act) -> tuple[str, int]:
    """Return a choice's state as this store has it, and when its last event or act was."""
    row = tx.one(
        "SELECT state, consent FROM choice WHERE person = ? AND recipient = ? AND purpose = ?",
        (person, act.recipient, act.purpose),
    )
    if row is None:
        return "none", 0
    state, consent = CHOICE_STATES[row[0]], row[1]
    sql = (
        "SELECT coalesce(max(at_us), 0) FROM consent_event WHERE consent = ?"
        if consent > 0
        else "SELECT coalesce(max(at_us), 0) FROM audit WHERE id = ?"  # of an objection: the row of its latest act
    )
    since = tx.one(sql, (abs(consent),))
    assert since is not None
    return state, int(since[0])


def _lost(tx: Tx, person: int, acts: list[Act]) -> list[Act]:
    """Leave out the acts of one matter that the store has: each gave a receipt of its kind and moment."""
    if not acts:
        return []
    kept = Counter(
        tx.rows(
            "SELECT r.kind, r.at_us FROM consent c JOIN receipt r ON r.consent = c.number"
            " WHERE c.person = ? AND c.recipient = ? AND c.purpose = ?"
            " UNION ALL SELECT r.kind, r.at_us FROM history h JOIN receipt r ON r.consent = -h.audit"
            " WHERE h.person = ?",
            (person, acts[0].recipient, acts[0].purpose, person),
        )
    )
    lost = []
    for one in acts:
        kept[said := (RECEIPTS[one.kind], one.at_us)] -= 1
        if kept[said] < 0:
            lost.append(one)
    return lost


def _links(hub: Reconciled, tx: Tx, catalogue: Catalogue, acts: Acts) -> Iterator[tuple[str, bytes, str]]:
    """Find the links that stand here and were undone, doubted or lowered, whatever was said of them after that."""
    by_name = {name: of for (group, name, *_), of in acts.items() if group == "link"}
    if not by_name:
        return
    agencies = {one.number: one.code for one in catalogue.agencies.values()}
    for local, agency, person, from_us, disputed in tx.rows(
        "SELECT local, agency, person, from_us, disputed FROM link WHERE until_us IS NULL"
    ):
        of = [one for one in by_name.get(hub.marks.hidden(bytes(local).hex()), ()) if one.at_us >= from_us - APART_US]
        kept = _linked(tx, person) if of else ()
        kinds = {one.kind for one in of if one.at_us not in kept}
        if "unlinked" in kinds and agency in agencies:
            yield agencies[agency], bytes(local), "unlinked"
        elif kinds & {"disputed", "lowered"} and not disputed and agency in agencies:
            yield agencies[agency], bytes(local), "disputed"


def _linked(tx: Tx, person: int) -> set[int]:
    """Return the moments of all acts on a person's links that the store has."""
    sql = "SELECT a.at_us FROM history h JOIN audit a ON a.id = h.audit WHERE h.person = ? AND a.kind = ?"
    return {int(at_us) for (at_us,) in tx.rows(sql, (person, LeafKind.LINK.value))}


def _keys(tx: Tx, acts: Acts) -> Iterator[tuple[str, str, str]]:
    """Find the keys that count here and were ended."""
    for (kind, name, *_), of in acts.items():
        if kind in KEYS:
            agency, _, kid = name.partition("/")
            row = tx.one(
                f"SELECT from_us, until_us FROM {kind.replace('-', '_')} WHERE agency = ? AND kid = ?",  # noqa: S608 - one of KEYS
                (agency, kid),
            )
            if row is not None and row[0] <= of[-1].at_us < row[1]:
                yield kind, agency, kid


def _halts(tx: Tx, catalogue: Catalogue, acts: Acts) -> Iterator[tuple[str, str]]:
    """Find what takes part here and was suspended or ended, and whose way out was changed."""
    for (kind, name, *_), of in acts.items():
        at_us = of[-1].at_us
        if kind == "agreement":
            codes = [one.code for one in catalogue.agreements.values() if str(one.number) == name]
            sql, key = "SELECT since_us FROM agreement_state WHERE number = ? AND phase <> 'in_force'", int(name)
            known = "SELECT since_us FROM agreement_state WHERE number = ?"
        elif kind == "agency":
            codes = [one.code for one in catalogue.agencies.values() if str(one.number) == name]
            sql, key = "SELECT since_us FROM agency_state WHERE number = ? AND suspended = 1", int(name)
            known = "SELECT since_us FROM agency_state WHERE number = ?"
        else:
            continue
        (row,) = tx.rows(known, (key,)) or [(-1,)]
        if codes and not tx.rows(sql, (key,)) and at_us >= row[0]:
            yield kind, codes[0]
    for (kind, name, *_), of in acts.items():
        if kind in WAYS and name in catalogue.agencies:
            table = "webhook" if kind == "webhook" else "sealing_key"
            column = "since_us" if kind == "webhook" else "from_us"
            (row,) = tx.rows(f"SELECT coalesce(max({column}), -1) FROM {table} WHERE agency = ?", (name,))  # noqa: S608 - both named here
            if of[-1].at_us > row[0]:
                yield "agency", name


def _again(desk: CitizenDesk, person: int, recipient: str, purpose: str, kind: str) -> None:
    """Repeat a person's act. What has ended meanwhile by itself needs none."""
    who = Principal(person, person, "self", 3, SESSION)
    try:
        if kind == "objected":
            object_to(desk, who, recipient=recipient, purpose=purpose)
            return
        with desk.store.read() as tx:
            row = tx.one(
                "SELECT c.public FROM choice h JOIN consent c ON c.number = h.consent"
                " WHERE h.person = ? AND h.recipient = ? AND h.purpose = ?",
                (person, desk.catalogue.agencies[recipient].number, desk.catalogue.purposes[purpose].number),
            )
        if row is not None:
            (pause_it if kind == "paused" else withdraw_it)(desk, who, str(row[0]))
    except HubError as error:
        if error.kind not in (Kind.CONFLICT, Kind.NOT_FOUND, Kind.INVALID):  # it has ended, or nothing is for it
            raise


def _end_officer(hub: Reconciled, agency: str, kid: str) -> None:
    def transaction(tx: Tx) -> None:
        now_us = hub.clock()
        end_officer(tx, agency, kid, now_us)
        said: dict[str, object] = {"act": "officer-end", "agency": agency, "kid": kid}
        record(tx, said, now_us=now_us, salt=hub.act_salt)

    hub.store.write(transaction)


def _check_catalogue(hub: Reconciled) -> None:
    """Refuse to go on under another catalogue than the one approved last. Raises HubError(CONFLICT)."""
    last = next((act for act in reversed(list(hub.marks.acts())) if act.kind == CATALOGUE), None)
    if last is None or last.name == hub.approved().digest:
        return
    raise HubError(
        Kind.CONFLICT,
        f"the catalogue in force is older than the one approved last, {last.name[:16]}: it may allow more",
        where="catalogue",
        remedy="`hub catalogue apply` that one, or the one that is to count now; then reconcile.",
        code="restored-catalogue",
    )


def _held(hub: Reconciled) -> Quarantine:
    with hub.store.read() as tx:
        held = quarantine(tx)
    if held is None:
        raise HubError(
            Kind.CONFLICT,
            "the store is in no quarantine: nothing is to be reconciled",
            remedy="`hub status` says how the hub is.",
            code="not-quarantined",
        )
    return held


def _said(held: Quarantine, found: Missing) -> dict[str, Any]:
    """Say it in counts and codes."""
    acts = Counter(kind for *_, kind in found.choices) + Counter(kind for *_, kind in found.links)
    return {
        "why": WHY[held.why],
        "since": rfc3339(held.since_us),
        "known_until": rfc3339(held.known_us) if held.known_us else "",
        "acts": dict(sorted(acts.items())),
        "keys": [f"{agency}/{kid}" for _, agency, kid in found.keys],
        "stopped": [f"{scope} {code}" for scope, code in found.halts],
    }


def _let_go(hub: Reconciled, tx: Tx, held: Quarantine, done: dict[str, Any]) -> None:
    """End the quarantine, put that on record, and tell every agency what to send and expect again."""
    now_us = hub.clock()
    if quarantine(tx) != held:
        raise HubError(Kind.CONFLICT, "another one reconciled it", remedy="See `hub status`.", code="not-quarantined")
    lift(tx)
    counts = {"acts": done["acts"], "erased": done["erased"], "keys": len(done["keys"]), "stopped": done["stopped"]}
    audit = record(tx, {"act": "reconciled", "why": held.why, **counts}, now_us=now_us, salt=hub.act_salt)
    text = {"type": "hub.restored", "known_until": done["known_until"], "since": done["since"]}
    for agency in hub.approved().agencies.values():
        public = keyed(hub.keys.delivery, "restored", str(audit), str(agency.number))
        put_notice(hub.world, tx, text, public, agency.number, audit=audit, now_us=now_us)
