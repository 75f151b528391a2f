"""Stop releases while a hub runs: the flag file first, then the barrier, then the record.

The file alone stops. What the store adds is that every hand-out which had read the file before has committed when this
returns, and an audit row of what is stopped from now on. What was stopped while no hub ran is recorded at its start.
"""

from hashlib import sha256
from pathlib import Path
from typing import Any

from hub.core.agreement import Catalogue
from hub.core.errors import HubError, Kind
from hub.ports import Clock
from hub.stop_flag import Scope, Stop, Stops, read_stops, resume, stop
from hub.store.audit import Salt
from hub.store.engine import Lane, Store, Tx
from hub.store.operations import fact, put_fact, record

NOTED = "stop_release_noted"  # digest of what the last row about it said


def change(
    store: Store, flag: Path, line: Stop, *, on: bool, catalogue: Catalogue, clock: Clock, salt: Salt
) -> dict[str, Any]:
    """Stop or resume one thing; returns what is stopped then, and whether it is on record.

    After a stop no hand-out under it commits any more, even where the store could not record it. Raises HubError:
    NOT_FOUND for a code that the catalogue in force has not (and takes its line away again), else as `hub.stop_flag`.
    """
    if on and not known(catalogue, line.scope, line.code):
        if not read_stops(flag).unreadable:
            resume(flag, line.scope, line.code)
        raise HubError(
            Kind.NOT_FOUND,
            f"the catalogue in force has no {line.scope} of this code: nothing would be stopped by it",
            where=line.scope,
            remedy="Codes stand in `hub status --json` under `codes`. If in doubt, `hub stop-release --all`.",
            code="stop-unknown",
        )
    stops = stop(flag, line) if on else resume(flag, line.scope, line.code)
    return {**document(stops), "recorded": note(store, flag, clock=clock, salt=salt)}


def note(store: Store, flag: Path, *, clock: Clock, salt: Salt) -> bool:
    """Pass the writer's queue, which is the barrier, and record what is stopped where that is news.

    Returns False where the store could not commit: the barrier holds all the same, for the queue was passed.
    """
    try:
        return store.write(lambda tx: _note(tx, flag, clock(), salt), lane=Lane.URGENT)
    except HubError as error:
        if error.kind is not Kind.UNAVAILABLE:
            raise
        return False


def document(stops: Stops) -> dict[str, Any]:
    """Write what is stopped as a JSON object."""
    return {
        "everything": stops.everything,
        "unreadable": stops.unreadable,
        "stopped": [one._asdict() for one in stops.lines],
    }


def known(catalogue: Catalogue, scope: Scope, code: str) -> bool:
    if scope == "agency":
        return code in catalogue.agencies
    return scope == "all" or any(one.agreement.code == code for one in catalogue.subscriptions.values())


def _note(tx: Tx, flag: Path, now_us: int, salt: Salt) -> bool:
    stops = read_stops(flag)
    named = [{"code": one.code, "scope": one.scope, "since_us": one.since_us} for one in stops.lines]
    said = repr((named, bool(stops.unreadable))) if stops else ""
    digest = sha256(said.encode()).hexdigest() if said else ""
    if digest != fact(tx, NOTED):
        record(
            tx,
            {"act": "stop-release", "everything": stops.everything, "stopped": named},
            now_us=now_us,
            salt=salt,
        )
        put_fact(tx, NOTED, digest)
    return True
