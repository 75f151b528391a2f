"""Let go what stands behind backfill, where no hand-out does: the last of it was taken off the queue, or it ends.

An open backfill begins to end when its provider says so, when its time is over, or when its agreement or line is gone.
It ends in pieces, chain by chain and never past what is backfilled of that chain, once the gate has decided all that
was on the bus. The transaction that finds nothing left closes it; whatever is decided after that goes at once.
"""

from collections.abc import Mapping

from hub.core.errors import HubError
from hub.exchange.backfills import bus_ends, end_now, record, tell
from hub.exchange.standing import Horizon, agreement_state
from hub.exchange.world import World
from hub.store.backfills import (
    BackfillRow,
    Chain,
    all_decided,
    anything_stands,
    backfill_by,
    chains_after,
    forget_persons,
    free,
    mark_closed,
    open_backfills,
)
from hub.store.engine import Tx
from hub.store.facts import read_rules, rules_of

CHAINS = 200  # of one transaction: a withdrawal waits for a few milliseconds at most


class LetGo:
    """Goes around the chains of each open backfill, a piece at a time. For one thread."""

    def __init__(self) -> None:
        self._after: dict[int, int] = {}  # backfill -> the person whose chain was looked at last

    def step(self, world: World) -> int:
        """Look at one piece of each open backfill; returns how many chains of one that ends were looked at."""
        seen = 0
        with world.store.read() as tx:
            rows = open_backfills(tx)
        for row in rows:
            world.way.give()
            seen = max(seen, self._look(world, row))
        self._after = {row.id: self._after.get(row.id, 0) for row in rows}
        return seen

    def _look(self, world: World, row: BackfillRow) -> int:
        if not row.ending:
            why = _over(world, row)
            if why:
                try:
                    ends = bus_ends(world, row.subscription)
                except HubError:  # the bus does not say; the next round asks again, and nothing else waits for it
                    return 0
                world.store.write(lambda tx: _end(world, tx, row.public, why, ends))
                return CHAINS  # go on at once: it may be able to close
        with world.store.read() as tx:
            ending = bool(row.ending) and all_decided(tx, row.ends)
            chains = chains_after(tx, row, self._after.get(row.id, 0), CHAINS)
        self._after[row.id] = chains[-1].person if len(chains) == CHAINS else 0
        free_now = [one for one in chains if _may_go(one, ending=ending)]
        if free_now or (ending and not chains):
            first = free_now[0].person - 1 if free_now else 0
            world.store.write(lambda tx: _let_go(world, tx, row, first, ending=ending))
        return len(chains) if ending else 0


def forget_backfilled(world: World, limit: int) -> int:
    """Forget who was in closed backfills, a piece at a time."""
    with world.store.read() as tx:
        if tx.one("SELECT 1 FROM backfill_person LIMIT 1") is None:
            return 0
    return world.store.write(lambda tx: forget_persons(tx, limit))


def _over(world: World, row: BackfillRow) -> str:
    """Say why an open backfill has to end without its provider's word; "" where it does not."""
    with world.store.read() as tx:
        rules = rules_of(read_rules(tx))
    if rules.superseded(world.catalogue.digest):
        return ""  # the catalogue in force may know what this one does not
    line, horizon = world.catalogue.subscriptions.get(row.subscription), Horizon(world.clock(), world.zone)
    if line is None:
        return "gone"
    agencies = world.catalogue.agencies
    state = agreement_state(
        line, rules, agencies[line.agreement.provider].number, agencies[line.recipient].number, horizon
    )
    if state.phase == "ended":
        return "agreement"
    return "" if horizon.before(row.until_us) else "deadline"


def _end(world: World, tx: Tx, public: bytes, why: str, ends: Mapping[str, int]) -> None:
    row = backfill_by(tx, public)
    if row is not None and row.closed_us is None and not row.ending:
        end_now(world, tx, row, by=why, ends=ends)


def _may_go(one: Chain, *, ending: bool) -> bool:
    return one.behind and not one.later and (ending or one.noted)


def _let_go(world: World, tx: Tx, row: BackfillRow, after: int, *, ending: bool) -> None:
    """Let one piece go, as it stands now; and where nothing is left of what ends, close it."""
    chains = chains_after(tx, row, after, CHAINS)
    free(tx, row, [one.person for one in chains if _may_go(one, ending=ending)])
    if ending and not anything_stands(tx, row.subscription):
        _close(world, tx, row)


def _close(world: World, tx: Tx, row: BackfillRow) -> None:
    mark_closed(tx, row.id, now_us=world.clock())
    audit = record(world, tx, row, {"act": "close", "done": row.done})
    line = world.catalogue.subscriptions.get(row.subscription)
    tell(world, tx, row, "closed", row.provider, audit=audit)
    if line is not None:
        tell(world, tx, row, "closed", world.catalogue.agencies[line.recipient].number, audit=audit)
