"""Open what the settings name: the policy engine, the bus, the root key, what carries words between processes.

Only `hub/app.py` and its siblings `in_force.py` and `threads.py` call these; everybody else is given what they return.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hub.bus.absent import NoBus
from hub.bus.embedded import EmbeddedBus
from hub.core.agreement import Catalogue
from hub.exchange.world import Limits
from hub.identity.keys import make_key_file, read_key_file
from hub.logs import Log
from hub.parts import ON_THE_BUS, Part
from hub.policy.embedded import EmbeddedPolicy
from hub.policy.engine import Engine
from hub.ports import Clock
from hub.settings import Settings
from hub.store.engine import Store
from hub.token_file import read_token
from hub.web.quota import Quota

if TYPE_CHECKING:
    from hub.bus.kafka import KafkaBus
    from hub.store.signals import Signals

POLICIES = Path(__file__).resolve().parents[1] / "policies"
CATALOGUE, COMPILED = POLICIES / "catalogue", POLICIES / "compiled"
US = 1_000_000


def engine(settings: Settings, catalogue: Catalogue) -> Engine:
    """Make the policy engine that the settings name; a server is not asked yet. Raises HubError(STARTUP)."""
    if settings.policy == "embedded":
        return EmbeddedPolicy(catalogue, COMPILED)
    from hub.policy.opa import OpaServer  # here: it brings an HTTP client of its own, which takes a moment to load
    from hub.policy.server import ServerPolicy

    token, path = "", settings.opa_token_file
    if path is not None:
        token = read_token(path, "OPA", setting="HUB_OPA_TOKEN_FILE", code="opa-token-file")
    server = OpaServer(settings.opa_url, token=token, ca_file=settings.opa_ca_file, timeout_s=settings.opa_timeout_s)
    return ServerPolicy(catalogue, COMPILED, server)


def shipped_catalogue() -> Catalogue:
    """Read the catalogue that ships with the hub: once in a store's life, so what parses it is loaded then only."""
    from hub import catalogue_files

    return catalogue_files.load(CATALOGUE)


def open_root_key(settings: Settings) -> bytes:
    """Read the root key; outside production make one at the first start, and never for a store that is there."""
    path = settings.key_path
    if settings.mode != "production" and not path.exists() and not settings.store_path.exists():
        make_key_file(path)
    return read_key_file(path)


def open_bus(
    settings: Settings, store: Store, log: Log, approved: Callable[[], Catalogue], clock: Clock
) -> "EmbeddedBus | KafkaBus | NoBus":
    """Open the bus that the settings name, where this process has any need of it. Raises HubError(STARTUP)."""
    if not settings.parts & ON_THE_BUS:
        return NoBus()
    if settings.bus == "embedded":
        return EmbeddedBus(store)
    from hub.bus.kafka import KafkaBus, nothing_barred  # what it brings is loaded by hubs that use it
    from hub.bus.kafka_access import access_of
    from hub.bus.kafka_plan import wanted_of
    from hub.bus.kafka_topics import barring

    decides = Part.GATE in settings.parts  # who only publishes needs, and has, no right to look at topics' settings
    return KafkaBus(
        store,
        access_of(settings),
        barred=barring(access_of(settings), lambda: wanted_of(settings, approved())) if decides else nothing_barred,
        log=log,
        publisher=access_of(settings, of="publish"),
        publish_s=settings.kafka_publish_s,
        clock=clock,
    )


def open_signals(settings: Settings) -> "Signals | None":
    """Open what carries words between the hub's processes, where there may be several."""
    if not settings.on_postgres:
        return None
    from hub.store.signals import Signals  # psycopg is loaded only where it is used

    return Signals(settings.store_dsn, password=settings.store_password())


def quota_of(settings: Settings) -> Quota:
    """Put together what one agency may ask for."""
    return Quota(
        requests_per_s=settings.quota_requests_per_s,
        requests_burst=settings.quota_requests_burst,
        events_per_s=settings.quota_events_per_s,
        events_burst=settings.quota_events_burst,
    )


def limits_of(settings: Settings) -> Limits:
    """Put together the exchange's knobs."""
    return Limits(
        batch_events=settings.gate_batch_events,
        page=settings.handout_page,
        redeliver_us=settings.handout_redeliver_s * US,
        outstanding=settings.handout_outstanding,
        waiting_us=settings.waiting_days * 86_400 * US,
    )
