"""What `hub doctor` looks at on the machine and in the store: reading only, whether a hub runs or not.

folder, disk, stop flag, key file, store, schema, clock, bus, catalogue. The command adds settings, policy and the hub.
"""

import fcntl
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from hub.core.agreement import Catalogue
from hub.core.errors import HubError
from hub.exchange.clock_check import REMEDY, off_by
from hub.identity.keys import read_key_file
from hub.identity.officers import is_weak
from hub.identity.ring import check_root
from hub.operations import partitioning
from hub.operations.findings import Finding, fail, passed, warn
from hub.operations.state import DAY_US, DISK_BYTES, DISK_SHARE, ENDING_DAYS, US
from hub.ports import Clock
from hub.settings import Settings
from hub.stop_flag import STOP_FLAG, read_stops
from hub.store.catalogue import Approved, approved_within
from hub.store.engine import Tx
from hub.store.migrate import HEAD, REVISIONS, serves
from hub.store.moving import refuse_moved
from hub.store.operations import newest_us
from hub.store.signatures import officers
from hub.store.sqlite import SqliteTx

SKEW_US = 2 * US  # two readings of one clock; more means that it went back
CLOCK_SET_US = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp()) * US  # before any hub: a clock that nobody set
BACKUP = "Stop the hub and restore the store from its last good backup; deploy/README.md says how."


def authority(settings: Settings) -> list[Finding]:
    """Look at whom consent records tell people to complain to: in production not somebody invented."""
    if settings.mode != "production":
        return []
    if settings.data_authority_contact == Settings.model_fields["data_authority_contact"].default:
        remedy = "Set HUB_DATA_AUTHORITY, HUB_DATA_AUTHORITY_CONTACT and HUB_JURISDICTION."
        return [warn("records", "they send complaints to an invented authority", remedy)]
    return [passed("records", "they name a supervisory authority")]


def folder(settings: Settings) -> list[Finding]:
    """Look at the data directory, the stop flag in it, and the disk below."""
    path = settings.data_dir
    if not path.is_dir():
        return [fail("data_dir", f"{path} is no folder", "Make it, for the hub's own user alone, or set HUB_DATA_DIR.")]
    found = []
    mode = stat.S_IMODE(path.stat().st_mode)
    if not os.access(path, os.W_OK | os.X_OK) or _read_only_mount(path):
        found.append(fail("data_dir", "it cannot be written by this user", "Run as the hub's user; check the mount."))
    elif mode & 0o022:
        found.append(fail("data_dir", f"others may write into it (mode {mode:o})", f"chmod 700 {path}"))
    elif mode & 0o055:
        found.append(warn("data_dir", f"others may look into it (mode {mode:o})", f"chmod 700 {path}"))
    else:
        found.append(passed("data_dir", "the hub's own"))
    usage = shutil.disk_usage(path)
    free = f"{usage.free / 1e9:.1f} of {usage.total / 1e9:.1f} GB are free"
    if usage.free < max(DISK_BYTES, DISK_SHARE * usage.total):
        severe = fail if usage.free < DISK_BYTES // 8 else warn
        found.append(severe("disk", free, "Make room; on a full disk publishing ends. `hub retention run` lets go."))
    else:
        found.append(passed("disk", free))
    stops = read_stops(settings.flag_dir / STOP_FLAG)
    if stops.unreadable:
        found.append(
            fail(
                "stop flag",
                f"{stops.unreadable}: everything is stopped",
                "hub stop-release --resume --all, if not meant",
            )
        )
    elif stops:
        named = ", ".join(one.code or "everything" for one in stops.lines)
        found.append(
            warn("stop flag", f"stopped: {named}", "hub stop-release --list says since when and how to resume.")
        )
    else:
        found.append(passed("stop flag", "nothing is stopped"))
    return found


def key_file(settings: Settings) -> tuple[Finding, bytes | None]:
    """Look whether the key file is there, private and a key; whether it is this store's, `store` says."""
    try:
        root = read_key_file(settings.key_path)
    except HubError as error:
        return fail("key file", error.what, error.remedy), None
    return passed("key file", "there, and private"), root


@contextmanager
def read_only(path: Path) -> Iterator[Tx]:
    """Open a store for reading, beside a hub or without one. Raises sqlite3.Error."""
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=5)
        connection.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.OperationalError:  # a folder that cannot be written has no room for SQLite's own helper files
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True, isolation_level=None)
    try:
        connection.execute("BEGIN")
        yield SqliteTx(connection)
    finally:
        connection.close()


@contextmanager
def looking_into(settings: Settings) -> Iterator[Tx]:
    """Open whichever store the settings name, for reading. Raises sqlite3.Error, HubError(UNAVAILABLE)."""
    if not settings.on_postgres:
        with read_only(settings.store_path) as tx:
            yield tx
        return
    from hub.store.postgres import PgStore  # psycopg is loaded only where it is used

    database = PgStore(settings.store_dsn, password=settings.store_password(), connections=1)
    try:
        with database.read() as tx:
            yield tx
    finally:
        database.close()


def held(store_path: Path) -> bool:
    """Say whether some process owns this store now."""
    lock = store_path.with_suffix(".lock")
    try:
        with lock.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def store(settings: Settings, root: bytes | None, clock: Clock) -> tuple[list[Finding], Approved | None]:
    """Look into the store: whole, of this version, this key's, not from the future; and what is approved in it."""
    path = settings.store_path
    if settings.on_postgres:
        return _database(settings, root, clock)
    if not path.is_file():
        first = "There is none before the first start; after it: restore the backup, or correct HUB_STORE_DSN."
        severe = warn if not path.with_suffix(".lock").exists() else fail
        return [severe("store", f"{path.name} is not there", first)], None
    try:
        with read_only(path) as tx:
            damaged = [str(row[0]) for row in tx.rows("PRAGMA quick_check(5)") if row[0] != "ok"]
            if damaged:
                return [fail("store", f"SQLite finds it damaged ({len(damaged)} places at least)", BACKUP)], None
            return _within(tx, path.name, root, clock)
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorname", type(error).__name__)
        return [fail("store", f"SQLite cannot read it ({code})", BACKUP)], None
    except HubError as error:
        return [fail("store", error.what, error.remedy or BACKUP)], None


def _database(settings: Settings, root: bytes | None, clock: Clock) -> tuple[list[Finding], Approved | None]:
    """Look into PostgreSQL; whether its files are whole is its own checksums' matter."""
    try:
        with looking_into(settings) as tx:
            row = tx.one("SELECT coalesce(substr(obj_description(to_regclass('alembic_version'), 'pg_class'), 8), '')")
            found, approved = _within(tx, "the database", root, clock, str(row[0]) if row else "")
            if tx.has_table("audit"):
                found += [_rights(tx), _apart(tx, clock, settings.clock_off_max_s)]
            if any(one.check == "schema" and one.level == "PASS" for one in found):
                found.append(partitioning.look(tx))
            return found, approved
    except HubError as error:
        return [fail("store", error.what, error.remedy)], None


def _rights(tx: Tx) -> Finding:
    row = tx.one(
        "SELECT has_table_privilege('audit', 'UPDATE'), has_table_privilege('audit', 'DELETE'),"
        " current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on'"
    )
    assert row is not None
    if row[0] or row[1]:
        apart = "Let another role own the schema: deploy/README.md, PostgreSQL as the store."
        return warn("rights", "the hub's role may change what is insert-only", apart)
    if not row[2]:
        return fail("rights", "a power cut would lose what was acknowledged", "Set fsync and full_page_writes to on.")
    return passed("rights", "the hub's role cannot change what is insert-only")


def edge(settings: Settings) -> Finding:
    """Look into the small store that keeps publishing up while the other is down."""
    path = settings.data_dir / "edge.sqlite"
    if not path.is_file():
        return warn(
            "local store", "edge.sqlite is not there", "The next start makes it; used logins are remembered anew."
        )
    try:
        with read_only(path) as tx:
            sound = tx.rows("PRAGMA quick_check(1)") == [("ok",)]
    except sqlite3.Error:
        sound = False
    if not sound:
        away = "Stop the hub, wait five minutes (used logins are forgotten with it), and move the file away."
        return fail("local store", "edge.sqlite is damaged", away)
    return passed("local store", "whole")


def catalogue(approved: Approved, phases: dict[int, str], now_us: int) -> list[Finding]:
    """Look at what is approved: signed, not ending soon, not due for review."""
    if not approved.revision:
        return [fail("catalogue", "none is approved: nothing is decided", "Run `hub catalogue apply`.")]
    known = approved.catalogue
    counts = f"{len(known.agencies)} agencies, {len(known.agreements)} agreements, digest {known.digest[:16]}"
    found = [passed("catalogue", counts)]
    by_number = sorted(known.agreements.values(), key=lambda one: one.number)
    unsigned = [one.code for one in by_number if phases.get(one.number, "unsigned") == "unsigned"]
    paused = [one.code for one in by_number if phases.get(one.number) == "suspended"]
    if unsigned:
        found.append(
            warn(
                "agreements",
                f"unsigned, so nothing leaves under them: {_some(unsigned)}",
                "See `hub agreement list`; have them signed.",
            )
        )
    if paused:
        found.append(warn("agreements", f"suspended: {_some(paused)}", "Their officers resume them when it is time."))
    return found + _ends(known, now_us)


def _within(
    tx: Tx, name: str, root: bytes | None, clock: Clock, oldest: str = ""
) -> tuple[list[Finding], Approved | None]:
    if not tx.has_table("alembic_version"):
        return [fail("store", f"{name} holds no hub's tables", "Correct HUB_DATA_DIR or HUB_STORE_DSN.")], None
    found = [passed("store", "whole")]
    revision = str(tx.rows("SELECT version_num FROM alembic_version")[0][0])
    works = serves(revision, oldest)
    if revision not in REVISIONS and not works:
        newer = "Start the newer version, or restore the backup of before it."
        return [*found, fail("schema", f"written by a newer hub (schema {revision[:32]})", newer)], None
    if not works:
        older = warn("schema", f"schema {revision}; this version makes {HEAD} of it", "Back up, then start the hub.")
        return [*found, older], None
    found.append(passed("schema", f"schema {revision}"))
    if "" < oldest < max(revision, HEAD):
        left = "When every hub is of one version: hub migrate --contract."
        found.append(warn("schema", f"a roll-out is open: hubs of schema {oldest[:32]} may serve too", left))
    refuse_moved(tx)
    if root is not None:
        found.append(_own_key(tx, root))
    found += [_clock(newest_us(tx), clock()), _bus(tx)]
    try:
        approved = approved_within(tx)
    except (HubError, LookupError, ValueError, StopIteration) as error:
        damaged = fail("catalogue", f"what is stored does not hold together ({type(error).__name__})", BACKUP)
        return [*found, damaged], None
    phases: dict[int, str] = dict(tx.rows("SELECT number, phase FROM agreement_state"))
    return found + catalogue(approved, phases, clock()) + weak_officers(tx, clock()), approved


def weak_officers(tx: Tx, now_us: int) -> list[Finding]:
    """Name officers' keys under which anybody can sign, where they count still or something is signed with them."""
    found = []
    for row in filter(is_weak, officers(tx)):
        signed = sorted(
            f"{code} v{version}"
            for code, version in tx.rows(
                "SELECT p.code, p.version FROM agreement_signature s JOIN agreement_proposal p ON p.digest = s.digest"
                " WHERE s.agency = ? AND s.kid = ?",
                (row.agency, row.kid),
            )
        )
        if not signed and row.until_us <= now_us:
            continue
        what = f"anybody can sign under key {row.kid} of {row.agency}"
        remedy = f"`hub officer end {row.agency} {row.kid}`, and register a new key."
        if signed:
            what += f", with which was signed: {_some(signed)}"
            remedy += " Suspend what was signed with it until a new version is signed."
        found.append(fail("officers", what, remedy))
    return found


def _own_key(tx: Tx, root: bytes) -> Finding:
    try:
        check_root(tx, root)
    except HubError as error:
        return fail("key", error.what, error.remedy)
    return passed("key", "the file's key opens this store")


def _clock(stored_us: int, now_us: int) -> Finding:
    if now_us < CLOCK_SET_US:
        return fail("clock", "it was never set", "Set it by NTP before the hub starts: ages and deadlines hang on it.")
    if stored_us > now_us + SKEW_US:
        behind = f"it is {(stored_us - now_us) / US:.0f} s behind the store's newest entry: it went back"
        wait = "Set it by NTP. If the store came from a machine ahead of time, wait until the clock has passed it."
        return fail("clock", behind, wait)
    return passed("clock", "not behind the store's newest entry")


def _apart(tx: Tx, clock: Clock, most_s: int) -> Finding:
    """Hold this machine's clock against the database's, as a running hub does before it releases anything."""
    before_us, store_us, after_us = clock(), tx.clock_us(), clock()
    if said := off_by(before_us, after_us, store_us, 0, most_s * US):
        return fail("clock", f"{said}: nothing is released", REMEDY)
    return passed("clock", f"within {most_s} s of the database's")


def _bus(tx: Tx) -> Finding:
    rows = tx.rows(
        "SELECT t.name FROM bus_topic t LEFT JOIN position p ON p.partition = t.name WHERE p.partition IS NULL"
    )
    if rows:
        return fail("bus", f"{len(rows)} topics have no position: their events would not be decided", BACKUP)
    return passed("bus", "readable, every topic with its position")


def _ends(known: Catalogue, now_us: int) -> list[Finding]:
    soon_us = now_us + ENDING_DAYS * DAY_US
    today = datetime.fromtimestamp(now_us / US, UTC).date().isoformat()
    ended = sorted(one.code for one in known.agreements.values() if one.valid_until_us <= now_us)
    ending = sorted(one.code for one in known.agreements.values() if now_us < one.valid_until_us <= soon_us)
    review = sorted(one.code for one in known.agreements.values() if one.review_on and one.review_on <= today)
    found = []
    for codes, said, remedy in (
        (ended, "over, so nothing leaves under them", "Remove them from the catalogue, or have new ones agreed."),
        (ending, f"end within {ENDING_DAYS} days", "Ask their parties now; a new version needs both signatures."),
        (review, "due for review", "Review them with their parties, and set the next date in the catalogue."),
    ):
        if codes:
            found.append(warn("agreements", f"{said}: {_some(codes)}", remedy))
    return found or [passed("agreements", f"none ends within {ENDING_DAYS} days or is due for review")]


def _some(codes: list[str]) -> str:
    return ", ".join(codes[:5]) + (f" and {len(codes) - 5} more" if len(codes) > 5 else "")


def _read_only_mount(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
