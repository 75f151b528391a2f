"""Rehearse the rotation of each key on a copy of the store. The real store and key file are only read.

1. copy   2. token key: the former still verifies, the next signs   3. a rotation of the root that is cut off before its
commit leaves the former in force   4. wrapping key: cut off after a piece all is readable, then it ends by itself and
the former is gone   5. root: either file opens, then the new one alone, and a person's key and a day's still open
The copy is as sealed as the store; it lies in a folder of its own, for this user alone, and is deleted at the end.
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

from hub.core.errors import HubError, Kind
from hub.identity.keys import Keyring, make_key_file, read_key_file
from hub.identity.receipt_keys import public_keys, rotate_receipt_key, signing_key
from hub.identity.ring import open_ring, prove, root_name, rotate_root
from hub.identity.token_keys import KEPT_US, RotatingKeys
from hub.identity.wrapping import SETTLES_US, progress, rotate_wrapping, wrap_anew
from hub.logs import open_log
from hub.operations.findings import Finding, fail, passed
from hub.ports import Clock
from hub.settings import Settings
from hub.store.engine import Store
from hub.store.migrate import ensure
from hub.store.sqlite import SqliteStore
from hub.way import Way

ROOM = 1.2  # times the store's size, before a copy is begun
US_PER_S = 1_000_000
ROUNDS = 3  # one that seals anew, one that finds nothing, and one to spare


class Cut(Exception):
    """The rotation that is to be cut off."""


def rehearse(settings: Settings, folder: Path | None, *, clock: Clock) -> list[Finding]:
    """Take all steps; each is a finding with its time. Raises HubError(STARTUP) where no copy can be made."""
    root = read_key_file(settings.key_path)
    if settings.on_postgres:
        raise _impossible(
            "the drill copies SQLite's file, and this hub's store is PostgreSQL",
            "Restore the latest backup as another database, name that in HUB_STORE_DSN, and rotate there.",
        )
    source, place = settings.store_path, folder or settings.data_dir
    if not source.is_file():
        raise _impossible(f"there is no store at {source.name}", "Start the hub once; or correct HUB_DATA_DIR.")
    if shutil.disk_usage(place).free < ROOM * source.stat().st_size:
        raise _impossible("there is no room for a copy of the store", "Name a folder with more room: --folder DIR.")
    with tempfile.TemporaryDirectory(prefix="drill-", dir=place) as directory:
        copy = Path(directory) / "hub.sqlite"
        found = [_timed("copy", lambda: _copy(source, copy))]
        if found[0].level == "PASS":
            ensure(copy)
            found.append(_timed("token", lambda: _token(copy, root, clock)))
            found.append(_timed("receipt", lambda: _receipt(copy, root, clock)))
            found.append(_timed("root, cut off", lambda: _cut(copy, root, clock)))
            found.append(_timed("wrapping", lambda: _wrapping(copy, root, clock)))
            found.append(_timed("root", lambda: _root(copy, root, clock)))
    return found


def _timed(check: str, step: Callable[[], str]) -> Finding:
    began_s = perf_counter()
    try:
        said = step()
    except (HubError, sqlite3.Error, AssertionError, OSError) as error:
        what = error.what if isinstance(error, HubError) else f"{type(error).__name__}: {error}"
        return fail(
            check, what, "Do not rotate this key on the real store; `hub doctor` may say what is wrong with it."
        )
    return passed(check, f"{said} ({perf_counter() - began_s:.2f} s)")


def _copy(source: Path, copy: Path) -> str:
    """Copy one snapshot, beside a running hub."""
    copy.touch(mode=0o600)
    with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as real, closing(
        sqlite3.connect(copy)
    ) as other:  # fmt: skip
        real.backup(other)
    return f"{copy.stat().st_size / 1e6:.1f} MB; the store was read and not touched"


def _token(copy: Path, root: bytes, clock: Clock) -> str:
    with closing(SqliteStore(copy)) as store, Path("/dev/null").open("w") as nowhere:
        ring, ahead_us = open_ring(store, root, clock), clock() + 2 * KEPT_US  # beyond any rotation of a moment ago
        keys = RotatingKeys(store, ring.token, open_log(clock=clock, stream=nowhere))
        former = keys.at(ahead_us).signing.thumbprint()
        done = keys.rotate(ahead_us)
        now, later = keys.at(ahead_us + US_PER_S), keys.at(ahead_us + 2 * KEPT_US)
        _expect(now.signing.thumbprint() == done.kid != former, "the next key does not sign")
        _expect(former in [one.thumbprint() for one in now.verifying()], "the former key verifies no more at once")
        _expect(former not in [one.thumbprint() for one in later.verifying()], "the former key verifies for ever")
    return f"the next key signs, the former verifies for {KEPT_US // US_PER_S} s"


def _receipt(copy: Path, root: bytes, clock: Clock) -> str:
    with closing(SqliteStore(copy)) as store:
        ring = open_ring(store, root, clock)
        with store.read() as tx:
            former = signing_key(tx, ring.receipt)
        done = rotate_receipt_key(store, ring, clock)
        with store.read() as tx:
            signing, listed = signing_key(tx, ring.receipt), public_keys(tx, ring.receipt)["keys"]
        _expect(signing.kid == done.kid != former.kid, "the next key does not sign")
        _expect(former.kid in [one["kid"] for one in listed], "the former key verifies no more")
    return f"the next key signs, the former stays among the {done.published} that are published"


def _cut(copy: Path, root: bytes, clock: Clock) -> str:
    new = copy.with_name("cut.key")
    make_key_file(new)
    with closing(SqliteStore(copy)) as store:
        ring = open_ring(store, root, clock)

        def cut_off() -> int:
            raise Cut  # where the rotation asks for the time: inside its transaction

        try:
            rotate_root(store, ring, former=root_name(root), new=read_key_file(new), clock=cut_off)
        except Cut:
            pass
        else:
            raise AssertionError("the rotation went on")
    _opens(copy, root, ring, clock)
    _refused(copy, read_key_file(new), clock)
    return "the former file is in force, and the new one opens nothing"


def _wrapping(copy: Path, root: bytes, clock: Clock) -> str:
    ticks = count(clock(), SETTLES_US)  # so that nothing has to settle: nobody else works with the copy

    def moves_on() -> int:
        return next(ticks)

    with closing(SqliteStore(copy)) as store:
        ring, way = open_ring(store, root, clock), Way()
        former = ring.wrapping.present
        rotate_wrapping(store, ring, root=root, clock=moves_on)
        wrap_anew(store, ring, moves_on, way)
    with closing(SqliteStore(copy)) as store:  # as after a crash
        ring = open_ring(store, root, clock)
        _expect(ring.wrapping.former == former, "the former key was lost while it was needed")
        renewed = 0
        while (now := _progress(store)) is not None:
            _expect(now["round"] <= ROUNDS, f"{now['damaged']} sealed rows open under neither key")
            renewed = now["renewed"]
            wrap_anew(store, ring, moves_on, way)
    with closing(SqliteStore(copy)) as store:
        ring = open_ring(store, root, clock)
        _expect(ring.wrapping.former is None and ring.wrapping.present != former, "the former key is still there")
        with store.read() as tx:
            prove(tx, ring)
    return f"{renewed} rows sealed anew, all readable after a cut in the middle; the former key is gone"


def _progress(store: Store) -> dict[str, Any] | None:
    with store.read() as tx:
        return progress(tx)


def _root(copy: Path, root: bytes, clock: Clock) -> str:
    new = copy.with_name("next.key")
    make_key_file(new)
    following = read_key_file(new)
    with closing(SqliteStore(copy)) as store:
        ring = open_ring(store, root, clock)
        rotate_root(store, ring, former=root_name(root), new=following, clock=clock)
    _opens(copy, root, ring, clock)
    _opens(copy, following, ring, clock)
    _refused(copy, root, clock)
    return "either file opens until a start with the new one; then it alone, and every secret is as before"


def _opens(copy: Path, root: bytes, ring: Keyring, clock: Clock) -> None:
    """Start with this root, and open something that is sealed."""
    with closing(SqliteStore(copy)) as store:
        _expect(open_ring(store, root, clock) == ring, "the secrets are not what they were")
        with store.read() as tx:
            prove(tx, ring)


def _refused(copy: Path, root: bytes, clock: Clock) -> None:
    with closing(SqliteStore(copy)) as store:
        try:
            open_ring(store, root, clock)
        except HubError as error:
            _expect(error.code == "key-file-wrong", error.what)
            return
    raise AssertionError("a key that should open nothing opens the store")


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def _impossible(what: str, remedy: str) -> HubError:
    return HubError(Kind.STARTUP, what, where="drill", remedy=remedy, code="drill-impossible")
