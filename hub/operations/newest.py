"""What `hub doctor` says of backups and standbys: is this store the newest one, and would a withdrawal survive it?"""

import sqlite3

from hub.core.errors import HubError
from hub.identity.marks import Known, marks_path, read_marks
from hub.identity.ring import check_root
from hub.operations.counted import doubt
from hub.operations.doctor import looking_into
from hub.operations.findings import Finding, fail, passed, warn
from hub.settings import Settings
from hub.store.engine import Tx
from hub.store.quarantine import REMEDY, WHY, beats, quarantine

BEHIND = 10  # beats; processes that begin at the same moment count a few before the marks follow


def newest(settings: Settings, root: bytes | None) -> list[Finding]:
    """Compare the store with the marks; on PostgreSQL see whether a standby confirms what is committed."""
    if root is None or (not settings.on_postgres and not settings.store_path.is_file()):
        return []
    try:
        with looking_into(settings) as tx:
            if not tx.has_table("fact"):
                return []
            key = check_root(tx, root).marks
        known = read_marks(marks_path(settings.marks_base), key)  # before the store: it counts first
        with looking_into(settings) as tx:
            return [
                _marks(tx, known),
                *(_standby(tx) if settings.on_postgres and settings.mode == "production" else ()),
            ]
    except sqlite3.Error:
        return []  # the store's own finding says more
    except HubError as error:
        return [fail("marks", error.what, error.remedy)] if error.code == "marks-broken" else []


def _marks(tx: Tx, known: Known | None) -> Finding:
    held, here = quarantine(tx), beats(tx)
    if held is not None:
        return fail("marks", f"{WHY[held.why]}; nothing is released", REMEDY)
    if why := doubt(known, here, tx.origin()):
        return fail("marks", f"{WHY[why]}; once the hub sees it, nothing is released", REMEDY)
    if known is not None and here > known.beats + BEHIND:
        copy = "After a rotation of the root copy OLDKEY.marks and OLDKEY.acts beside the key, as it says there."
        return warn("marks", "the marks beside the key are older than the store", copy)
    return passed("marks", "the store is the newest that there was")


def _standby(tx: Tx) -> list[Finding]:
    row = tx.one("SELECT current_setting('synchronous_standby_names')")
    if row is not None and row[0].strip():
        return [passed("standby", "a standby confirms each commit")]
    what = "no standby confirms a commit: what was withdrawn last is lost with this server"
    return [warn("standby", what, "Set synchronous_standby_names = 'ANY 1 (...)': deploy/README.md, Disaster.")]
