"""What an operator's acts need of a running hub, and what is put together from it."""

from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from hub.core.agreement import Catalogue
from hub.core.errors import HubError, Item, Kind
from hub.exchange.world import World
from hub.identity.day_keys import DayKeys
from hub.identity.keys import Keyring
from hub.identity.ledger import Ledger, carry
from hub.identity.marks import Marks
from hub.identity.ring import read_new_root, root_name, rotate_root
from hub.identity.wrapping import rotate_wrapping
from hub.logs import Log
from hub.operations.key_list import list_keys
from hub.operations.restart import obstacles
from hub.operations.retention import Kept
from hub.operations.standstill import Standstill, free_bytes, full_s, sentence, waiting
from hub.operations.state import US, Around, status
from hub.ports import Behind, Clock
from hub.settings import Settings
from hub.stop_flag import read_stops
from hub.store.audit import Salt
from hub.store.engine import Store


class Intake(Protocol):
    """The bus, as far as an operator sees it."""

    def backlog(self) -> int: ...
    def behind(self) -> Behind: ...
    def decided(self) -> int: ...
    def drop_decided(self, limit: int) -> int: ...
    def troubles(self) -> tuple[Item, ...]: ...


class Steered(Protocol):
    """A hub that is put together; its threads may run or not."""

    @property
    def settings(self) -> Settings: ...
    @property
    def store(self) -> Store: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def world(self) -> World: ...
    @property
    def bus(self) -> Intake: ...
    @property
    def day_keys(self) -> DayKeys: ...
    @property
    def stop_flag(self) -> Path: ...
    @property
    def act_salt(self) -> Salt: ...
    @property
    def keys(self) -> Keyring: ...
    @property
    def ledger(self) -> Ledger: ...
    @property
    def marks(self) -> Marks: ...
    @property
    def log(self) -> Log: ...
    @property
    def root(self) -> bytes:
        """The public name of the root key that is in use."""

    @property
    def began(self) -> tuple[float, int]:
        """When it was put together: monotonic seconds, and the clock's microseconds."""

    def approved(self) -> Catalogue: ...


def status_of(hub: Steered) -> dict[str, Any]:
    """See `hub.operations.state.status`."""
    began_s, began_us = hub.began
    moved_s = (hub.clock() - began_us) / US - (monotonic() - began_s)
    around = Around(hub.bus.backlog(), hub.store.wal_bytes(), hub.root, read_stops(hub.stop_flag), moved_s)
    found = status(hub.settings, hub.store, hub.approved(), around, hub.clock())
    return {"uptime_s": round(monotonic() - began_s), **found}


def standstill_of(hub: Steered, stands: Standstill | None) -> dict[str, Any] | None:
    """Say in words and numbers that releases stand still; None where they do not."""
    if stands is None:
        return None
    behind, now_us = hub.bus.behind(), hub.clock()
    waits = waiting(hub.store, hub.approved(), behind, now_us)
    full_in_s = full_s(hub.settings, stands, behind, free_bytes(hub.settings), now_us)
    said = sentence(
        stands, waits, full_in_s=full_in_s, obstacles=obstacles(hub.settings, hub.store), now_us=now_us
    )  # fmt: skip
    return {
        "since_us": stands.since_us,
        "why": stands.why,
        "waiting": waits.unsent,
        "oldest_s": waits.oldest_s,
        "full_in_s": full_in_s,
        "said": said,
    }


def without_store(hub: Steered) -> dict[str, Any]:
    """Return what a status holds besides while the store is away."""
    uptime_s, stops = round(monotonic() - hub.began[0]), read_stops(hub.stop_flag)
    return {"uptime_s": uptime_s, "mode": hub.settings.mode, "releases_stopped": stops.everything, "store": "away"}


def keys_of(hub: Steered) -> list[dict[str, Any]]:
    """See `hub.operations.key_list.list_keys`."""
    with hub.store.read() as tx:
        return list_keys(tx, hub.root, hub.clock())


def rotate_root_of(hub: Steered, new_file: Path) -> dict[str, Any]:
    """Wrap the hub's own secrets under the root in `new_file` as well, and lay the ledger of erasures beside that file.

    Who is erased between this and the restart is in the former ledger only: the start with the new file counts, and
    refuses. Raises HubError(CONFLICT, INVALID).
    """
    new = read_new_root(new_file)
    carry(hub.ledger, new_file)
    if hub.settings.marks_dir is None:
        hub.marks.carry(new_file)
    done = rotate_root(hub.store, hub.keys, former=hub.root, new=new, clock=hub.clock)
    hub.log.warning("root_key.rotated")
    return done._asdict()


def rotate_wrapping_of(hub: Steered) -> dict[str, Any]:
    """Seal under a new wrapping key from now on; the retention worker wraps anew what there is.

    Raises HubError: CONFLICT, INVALID where the key file does not hold the root any more that this hub runs with.
    """
    root = read_new_root(hub.settings.key_path)
    if root_name(root) != hub.root:
        raise HubError(
            Kind.CONFLICT,
            "the key file holds another key than the one this hub was started with",
            where="key_file",
            remedy="Put the file back, or restart the hub with it; then rotate.",
            code="wrapping-root-other",
        )
    done = rotate_wrapping(hub.store, hub.keys, root=root, clock=hub.clock)
    hub.log.warning("wrapping_key.rotated")
    return done._asdict()


def kept_by(hub: Steered) -> Kept:
    """Put together what retention works on, for its thread and for an operator's run."""
    bus = hub.bus
    return Kept(
        hub.settings, hub.store, hub.world, hub.day_keys, bus.decided, bus.drop_decided, hub.clock, hub.act_salt
    )
