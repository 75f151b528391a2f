"""Move a hub's records from its SQLite store into a PostgreSQL database, and know that every row arrived.

1. source: no hub runs on it; it is of this version, the key file opens it, no rotation of the root is half done
2. plan: rows per table   3. target: reached as the hub and as its owner; empty, or what a move left that did not
end; its schema made, and marked as being filled   4. copy, each table in pieces, all from one snapshot   5. compare
each table's rows as read back, set the sequences   6. mark the source as gone, then let the target go
A rehearsal takes 1. to 5. beside a running hub, and empties the target again. The marks: `hub/store/moving.py`.
"""

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import NamedTuple, NoReturn

import psycopg

from hub.core.errors import HubError, Kind
from hub.failpoints import reach
from hub.identity.keys import read_key_file
from hub.identity.ring import check_root
from hub.ports import Clock
from hub.settings import Settings
from hub.store import move_target as target
from hub.store.engine import Store, Tx
from hub.store.migrate import HEAD, REVISIONS, newer
from hub.store.move_source import Digest, Table, pieces, snapshot, tables, undecided
from hub.store.moving import Mark, State, leave, mark_of, return_to
from hub.store.operations import roots
from hub.store.sqlite import SqliteStore

QUIET_S = 5.0  # between two lines about one table


class Journey(NamedTuple):
    """From where, to where, and whom to tell. `settings` are those that the hub runs with now; `bus` the next one."""

    settings: Settings
    to: str  # the hub's own DSN of the target
    owner_dsn: str  # who owns its schema; "": the hub's own role does
    bus: str
    clock: Clock
    say: Callable[[str], None]

    @property
    def to_kafka(self) -> bool:
        """Whether intake leaves the store for a cluster by this move."""
        return self.bus == "kafka" and self.settings.bus != "kafka"


class Moved(NamedTuple):
    """What arrived. `seconds`: as long as no hub could run; 0 where all had been moved before this call."""

    move: str
    rows: int
    digest: str
    seconds: float


class Ends(NamedTuple):
    """Two connections to the target: as the hub's own role, and as the owner of the schema."""

    hub: psycopg.Connection
    owner: psycopg.Connection


def move(journey: Journey) -> Moved:
    """Move for good. A call after one that was cut off goes on to the same end. Raises HubError."""
    path = _file(journey.settings)
    with _alone(path) as store, snapshot(path) as source:  # 1.
        planned = _examined(journey, source)
        with _reached(journey) as ends:  # 3.
            there = target.mark_in(ends.owner)
            if (gone := mark_of(source)) is not None and _arrived(gone, there):
                assert there is not None
                return Moved(there.move, there.rows, there.digest, 0.0)
            name = secrets.token_hex(4) if gone is None else gone.move  # cut off again, it still is this source's
            filled, copying = _filled(journey, source, ends, planned, name)
            store.write(lambda tx: leave(tx, filled.move, journey.clock()))  # 6.
            reach("move.left")
            ready = Mark(filled.move, State.READY, journey.clock(), filled.rows, filled.digest)
            if not target.put_mark(ends.hub, ready, over=copying):
                raise _unfinished()
            return filled


def rehearse(journey: Journey) -> Moved:
    """Move, compare, and empty the target again; the source is only read. Raises HubError."""
    with snapshot(_file(journey.settings)) as source:  # 1.
        planned = _examined(journey, source)
        if mark_of(source) is not None:
            _gone_elsewhere()
        with _reached(journey) as ends:  # 3.
            if not target.may_empty(ends.owner):
                raise HubError(
                    Kind.STARTUP,
                    "this user could not empty the database after the rehearsal",
                    where="--to",
                    remedy="Name the owner of its schema: --owner-dsn postgresql://OWNER@HOST/NAME.",
                    code="move-rights",
                )
            filled, _ = _filled(journey, source, ends, planned, secrets.token_hex(4))
            target.empty(ends.owner, planned)
            return filled


def take_back(journey: Journey) -> str:
    """Make the source the one that counts again, as long as no hub has started on the target; returns the move's name.

    Raises HubError.
    """
    path = _file(journey.settings)
    with _alone(path) as store, _reached(journey) as ends:
        with store.read() as tx:
            gone = mark_of(tx)
        if gone is None:
            raise HubError(
                Kind.CONFLICT, "this store has not moved: there is nothing to take back", where=path.name,
                remedy="Start the hub on it as ever.", code="move-not-made",
            )  # fmt: skip
        there = target.mark_in(ends.owner)
        if there is None or there.move != gone.move:
            _gone_elsewhere()
        if there.state != State.BACK:
            back = Mark(there.move, State.BACK, journey.clock())
            if there.state == State.SERVED or not target.put_mark(ends.hub, back, over=there):
                raise _serves()
            reach("move.given_back")
        store.write(return_to)
        return gone.move


# 1. and 2.


def _file(settings: Settings) -> Path:
    if settings.on_postgres:
        raise HubError(
            Kind.STARTUP, "this hub's store is PostgreSQL already", where="store_dsn",
            remedy="Unset HUB_STORE_DSN, or set it to the SQLite file that is to be moved.", code="move-not-sqlite",
        )  # fmt: skip
    if not settings.store_path.is_file():
        raise HubError(
            Kind.STARTUP, f"there is no store at {settings.store_path.name}", where="data_dir",
            remedy="Correct HUB_DATA_DIR or HUB_STORE_DSN. A hub that has nothing yet starts on PostgreSQL by itself.",
            code="move-not-sqlite",
        )  # fmt: skip
    return settings.store_path


@contextmanager
def _alone(path: Path) -> Iterator[Store]:
    """Hold the source's lock: no hub runs on it and none starts. Raises HubError(STARTUP)."""
    try:
        store = SqliteStore(path)
    except HubError as error:
        if error.code == "store-in-use":
            error.remedy = "Stop the hub first: it must not write while it is moved. `--rehearse` works beside it."
        raise
    try:
        yield store
    finally:
        store.close()


def _examined(journey: Journey, source: Tx) -> tuple[Table, ...]:
    """Look whether it can be moved as it is, and say what is in it. Raises HubError(STARTUP)."""
    settings = journey.settings
    there = source.has_table("alembic_version")
    found = str(source.rows("SELECT version_num FROM alembic_version")[0][0]) if there else ""
    if found != HEAD:
        if found and found not in REVISIONS:
            raise newer(found, where=settings.store_path.name)
        raise HubError(
            Kind.STARTUP,
            f"the store has the schema of an older hub ({found or 'none'}; this one works with {HEAD})",
            where=settings.store_path.name,
            remedy="Back it up, bring it up to date with `hub migrate`, then move it.",
            code="move-older",
        )
    check_root(source, read_key_file(settings.key_path))
    if len(roots(source)) > 1:
        raise HubError(
            Kind.STARTUP,
            "a rotation of the root key is half done",
            where="key_file",
            remedy="Start the hub once with the new file in HUB_KEY_FILE, which ends the former key; then move.",
            code="move-root-half",
        )
    if journey.to_kafka and (left := undecided(source)):
        raise HubError(
            Kind.STARTUP,
            f"{left} published events lie on the embedded bus and are not decided: Kafka would not have them",
            where="--bus",
            remedy="Keep agencies out at the proxy, let the hub run until all are decided, stop it, move. Or move"
            " without --bus: the embedded bus goes along.",
            code="move-intake",
        )
    planned = tables(source, intake=not journey.to_kafka)
    for table in planned:
        if table.rows:
            journey.say(f"{table.rows:>12,}  {table.name}")
    journey.say(f"{sum(table.rows for table in planned):>12,}  rows in {len(planned)} tables")
    return planned


# 3. to 5.


@contextmanager
def _reached(journey: Journey) -> Iterator[Ends]:
    password = journey.settings.store_password()
    owner = (journey.owner_dsn, "", "--owner-dsn") if journey.owner_dsn else (journey.to, password, "--to")
    with (
        target.told(),
        closing(target.connected(journey.to, password, option="--to")) as hub,
        closing(target.connected(owner[0], owner[1], option=owner[2])) as owning,
    ):
        target.take_alone(hub, owning)
        yield Ends(hub, owning)


def _filled(journey: Journey, source: Tx, ends: Ends, planned: Sequence[Table], name: str) -> tuple[Moved, Mark]:
    """Fill the target and compare. Returns what arrived, and the mark that the target has until it is let go."""
    began_s = perf_counter()
    copying = Mark(name, State.COPYING, journey.clock())
    if target.prepare(ends.owner, ends.hub.info.user, planned, copying) == "half":
        journey.say("The database held what a move had left that did not end; it was emptied.")
    reach("move.marked")
    types = {table.name: target.types_of(ends.hub, table) for table in planned}
    sent = {table.name: _copied(journey, source, ends.hub, table, types[table.name]) for table in planned}  # 4.
    reach("move.copied")
    for table in planned:  # 5.
        _compared(journey, ends.hub, table, types[table.name], sent[table.name])
    count = target.set_sequences(ends.hub, planned)
    target.analyze(ends.owner, planned)
    journey.say(f"Every row is there as it was; {count} sequences go on after it.")
    reach("move.compared")
    whole = sha256("".join(f"{name} {digest.hex()}\n" for name, digest in sent.items()).encode()).hexdigest()
    rows = sum(digest.rows for digest in sent.values())
    return Moved(copying.move, rows, whole, perf_counter() - began_s), copying


def _copied(journey: Journey, source: Tx, hub: psycopg.Connection, table: Table, types: Sequence[str]) -> Digest:
    sent, said_s = Digest(), perf_counter()
    for rows in pieces(source, table):
        target.fill(hub, table, types, rows)
        sent.add(rows)
        reach("move.piece")
        if perf_counter() - said_s > QUIET_S:
            said_s = perf_counter()
            journey.say(f"copied   {table.name}: {sent.rows:,} of {table.rows:,}")
    if table.rows:
        journey.say(f"copied   {table.name}")
    return sent


def _compared(journey: Journey, hub: psycopg.Connection, table: Table, types: Sequence[str], sent: Digest) -> None:
    """Read a table back and compare it with what was sent. Raises HubError(STARTUP)."""
    said_s = perf_counter()
    there = Digest()
    for there in target.read_back(hub, table, types):
        if perf_counter() - said_s > QUIET_S:
            said_s = perf_counter()
            journey.say(f"compared {table.name}: {there.rows:,} of {table.rows:,}")
    if not (table.rows == sent.rows == there.rows and sent.hex() == there.hex()):
        raise HubError(
            Kind.STARTUP,
            f"table {table.name} did not arrive as it was sent: {table.rows} rows counted, {sent.rows} sent,"
            f" {there.rows} there",
            where="--to",
            remedy="The SQLite store is as it was, and no hub serves this database. Does somebody else write to it?",
            code="move-differs",
        )
    if table.rows:
        journey.say(f"compared {table.name}")


# Marks.


def _arrived(gone: Mark, there: Mark | None) -> bool:
    """Say whether what has gone is all there already; False: the last step but one was reached. Raises HubError."""
    if there is None or there.move != gone.move or there.state == State.BACK:
        _gone_elsewhere()
    if there.state == State.SERVED:
        raise _serves()
    return there.state == State.READY


def _gone_elsewhere() -> NoReturn:
    raise HubError(
        Kind.CONFLICT,
        "this store has moved already, or is half taken back, and not from or to this database",
        where="--to",
        remedy="Name the database that it moved to; `--back` makes this store the one that counts again.",
        code="store-moved",
    )


def _serves() -> HubError:
    return HubError(
        Kind.CONFLICT,
        "a hub has started on the database: what it has done since would be lost",
        where="--to",
        remedy="Go on with it. The SQLite store is of the time before, like a backup.",
        code="move-served",
    )


def _unfinished() -> HubError:
    return HubError(
        Kind.CONFLICT,
        "the mark in the database is not the one that this move has put there",
        where="--to",
        remedy="Does somebody else write to it? Run the command again; until then neither store is served.",
        code="move-differs",
    )
