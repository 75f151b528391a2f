"""The marks that a move from SQLite to PostgreSQL leaves, so that of the two stores one at most is ever served.

| the source says | the target says | what happened, and what may follow                                              |
|-----------------|-----------------|---------------------------------------------------------------------------------|
| nothing         | COPYING         | under way, or killed: the source is as before, the target is filled anew        |
| GONE            | COPYING         | killed between the last two steps: neither is served; the move is begun again   |
| GONE            | READY           | done: a hub starts on the target, or the source is taken back                   |
| GONE            | SERVED          | a hub has started on the target, which says so in its log: there is no way back |
| GONE, nothing   | BACK            | taken back: the source is served again, the target is filled anew               |
The source is marked before the target is let go, and the other way round on the way back.
"""

from enum import StrEnum
from typing import NamedTuple

import orjson

from hub.core.errors import HubError, Kind
from hub.ports import Clock
from hub.store.audit import Salt
from hub.store.engine import Store, Tx
from hub.store.operations import fact, put_fact, record

FACT = "engines_moved"  # its name among the facts; a move carries over all facts but this


class State(StrEnum):
    COPYING = "copying"
    READY = "ready"
    SERVED = "served"
    BACK = "back"
    GONE = "gone"


class Mark(NamedTuple):
    """Which move it was, and how far. `rows` and `digest` (of all of them) are known once the target is READY."""

    move: str
    state: State
    at_us: int
    rows: int = 0
    digest: str = ""

    def text(self) -> str:
        return orjson.dumps(self._asdict()).decode()


def mark_from(text: str) -> Mark | None:
    """Read a mark as it is stored; None where there is none."""
    if not text:
        return None
    kept = orjson.loads(text)
    return Mark(**{**kept, "state": State(kept["state"])})


def mark_of(tx: Tx) -> Mark | None:
    return mark_from(fact(tx, FACT))


def leave(tx: Tx, move: str, now_us: int) -> None:
    """Mark the source as moved: no hub of this version opens it any more."""
    put_fact(tx, FACT, Mark(move, State.GONE, now_us).text())


def return_to(tx: Tx) -> None:
    """Take the source's mark away."""
    tx.run("DELETE FROM fact WHERE name = ?", (FACT,))


def refuse_moved(tx: Tx) -> None:
    """Refuse a store that has moved, or that a move has not filled. Raises HubError(STARTUP)."""
    mark = mark_of(tx)
    if mark is None or mark.state in (State.READY, State.SERVED):
        return
    if mark.state == State.GONE:
        raise HubError(
            Kind.STARTUP,
            f"this store has moved to PostgreSQL (move {mark.move})",
            where="store_dsn",
            remedy="Start with the HUB_STORE_DSN that the move has printed. As long as no hub has,"
            " `hub move-engines --to DSN --back` makes this store the one that counts again.",
            code="store-moved",
        )
    raise HubError(
        Kind.STARTUP,
        f"a move from SQLite into this database was not finished, or taken back (move {mark.move})",
        where="store_dsn",
        remedy="Start without HUB_STORE_DSN, on the SQLite store; `hub move-engines` takes the move up again.",
        code="store-half-moved",
    )


def take_over(store: Store, *, clock: Clock, salt: Salt) -> None:
    """Let the first hub that starts on what a move has filled say so, in its log: from then on nothing leads back.

    Raises HubError(STARTUP) where it was taken back in this moment.
    """
    with store.read() as tx:
        mark = mark_of(tx)
    if mark is None or mark.state != State.READY:
        return
    ready = mark.text()

    def serve(tx: Tx) -> None:
        now_us = clock()
        served = mark._replace(state=State.SERVED, at_us=now_us).text()
        if tx.run("UPDATE fact SET value = ? WHERE name = ? AND value = ?", (served, FACT, ready)):
            said: dict[str, object] = {"act": "moved", "move": mark.move, "rows": mark.rows, "digest": mark.digest}
            record(tx, said, now_us=now_us, salt=salt)

    store.write(serve)
    with store.read() as tx:
        refuse_moved(tx)
