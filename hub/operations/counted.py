"""See whether the store is the newest one: it and the marks beside the key count on together, the store first.

A store that counts less than the marks is an older copy; one on another server may lack what was committed last.
Either is put into quarantine before anything leaves. After a crash in between the store counts one more than the marks,
which is no restore.
"""

from hub.identity.marks import Known, Marks
from hub.logs import Log
from hub.ports import Clock
from hub.store.audit import Salt
from hub.store.engine import Fences, Lane, Store, Tx
from hub.store.operations import record
from hub.store.quarantine import Quarantine, beats, enter, put_beats, quarantine, skip


def count_on(
    store: Store, marks: Marks, *, clock: Clock, salt: Salt, log: Log, starting: bool = False
) -> Quarantine | None:
    """Count one more beat, or put the store into quarantine; returns that it is. Raises HubError.

    1. the marks as they are, read before the store: other processes write them after it
    2. the store counts on, or says why it cannot        3. then in a transaction that excludes all others: quarantine,
    and numbers beyond all that may have been given out   4. the marks follow
    At a start into quarantine everybody is signed out: who had signed out since the backup would be signed in again.
    """
    known = marks.known()  # 1.

    def counting(tx: Tx) -> tuple[str, int, str]:
        here, origin, held = beats(tx), tx.origin(), quarantine(tx)
        why = doubt(known, here, origin) or (held.why if held else "")
        if not why:
            put_beats(tx, here + 1)
        return why, here + 1, origin

    why, count, origin = store.write(counting, fences=Fences())  # 2.
    if not why:
        marks.agree(count, origin)  # 4.
        return None

    def entering(tx: Tx) -> Quarantine | None:  # 3.
        now_us = clock()
        news = enter(tx, why, now_us)
        if known is not None:
            skip(tx, known.given)
        if starting:
            tx.run("DELETE FROM session")
        if news:
            record(tx, {"act": "quarantine", "why": why}, now_us=now_us, salt=salt)
        put_beats(tx, max(beats(tx), known.beats if known else 0) + 1)
        return quarantine(tx)

    held = store.write(entering, lane=Lane.URGENT)
    with store.read() as tx:
        count = beats(tx)
    marks.agree(count, None)  # 4.
    log.error("store.quarantined", code=why)
    return held


def doubt(known: Known | None, here: int, origin: str) -> str:
    """Say why this store may not be the newest, as a code of `hub.store.quarantine.WHY`; "" where it is."""
    if known is None:
        return "marks-missing" if here else ""
    if here < known.beats:
        return "older"
    if not known.origin or known.origin == origin:
        return ""
    (cluster, _, line), (cluster_here, _, line_here) = known.origin.partition("/"), origin.partition("/")
    if cluster != cluster_here:
        return "elsewhere"
    return "moved" if line_here > line else "older"  # a former primary that was cut off and still answers
