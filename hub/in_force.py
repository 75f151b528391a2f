"""What depends on the catalogue, as one value: put together anew, and replaced whole, when another one is approved.

Whoever reads `hub.world` or `hub.desk` sees all of the former or all of the new.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hub.citizens.desk import CitizenDesk
from hub.core.agreement import Catalogue
from hub.engines import engine, limits_of
from hub.exchange.bell import Bell
from hub.exchange.clock_check import ClockCheck
from hub.exchange.publish import PublishDesk, validators_of
from hub.exchange.verdicts import Verdicts
from hub.exchange.world import FieldSets, World
from hub.identity.day_keys import DayKeys
from hub.identity.keys import Keyring, OpenKeys
from hub.identity.people import Register
from hub.identity.sealing import SealingKeys
from hub.policy.engine import Engine
from hub.ports import Bus, Clock
from hub.settings import Settings
from hub.stop_flag import read_stops
from hub.store.catalogue import Approved
from hub.store.engine import Store
from hub.way import Way

US = 1_000_000


@dataclass(frozen=True, slots=True)
class InForce:
    """All that depends on the catalogue. `revision` is what the store says decisions are made under."""

    catalogue: Catalogue
    policy: Engine
    revision: str
    world: World
    desk: PublishDesk
    register: Register
    citizens: CitizenDesk


class Lasting(Protocol):
    """A hub's own, which stays when the catalogue changes."""

    @property
    def settings(self) -> Settings: ...
    @property
    def store(self) -> Store: ...
    @property
    def bus(self) -> Bus: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def timely(self) -> ClockCheck: ...
    @property
    def keys(self) -> Keyring: ...
    @property
    def open_keys(self) -> OpenKeys: ...
    @property
    def day_keys(self) -> DayKeys: ...
    @property
    def sealing_keys(self) -> SealingKeys: ...
    @property
    def field_sets(self) -> FieldSets: ...
    @property
    def stop_flag(self) -> Path: ...
    @property
    def way(self) -> Way: ...
    @property
    def intake(self) -> Way: ...
    @property
    def bell(self) -> Bell: ...


def assemble(hub: Lasting, approved: Approved, policy: Engine | None = None) -> InForce:
    """Build all that depends on the catalogue from what the store says is approved. Raises HubError(STARTUP).

    `policy`: the engine for this catalogue, where it is there already.
    """
    settings, catalogue = hub.settings, approved.catalogue
    policy = policy or engine(settings, catalogue)
    keep_days = settings.intake_retention_days
    return InForce(
        catalogue=catalogue,
        policy=policy,
        revision=approved.revision,
        world=_world(hub, approved, policy),
        desk=_desk(hub, approved),
        register=Register(hub.store, hub.keys, hub.open_keys, catalogue, hub.clock, keep_days),
        citizens=CitizenDesk(
            hub.store, hub.keys, hub.open_keys, catalogue, hub.clock, hub.bell.ring, hub.settings.issuer
        ),
    )


def _world(hub: Lasting, approved: Approved, policy: Engine) -> World:
    settings, catalogue = hub.settings, approved.catalogue
    codes = {agency.number: agency.code for agency in catalogue.agencies.values()}
    return World(
        store=hub.store,
        bus=hub.bus,
        verdicts=Verdicts(policy),
        keys=hub.keys,
        open_keys=hub.open_keys,
        catalogue=catalogue,
        datasets=approved.datasets,
        clock=hub.clock,
        zone=ZoneInfo(settings.timezone),
        field_sets=hub.field_sets,
        day_key=_day_keys(hub.day_keys, catalogue),
        stopped=partial(read_stops, str(hub.stop_flag)),
        limits=limits_of(settings),
        timely=hub.timely,
        way=hub.way,
        intake=hub.intake,
        seal_to=lambda recipient: hub.sealing_keys.of(codes.get(recipient, "")),
    )


def _day_keys(day_keys: DayKeys, catalogue: Catalogue) -> Callable[[str, int], AESGCM | None]:
    numbers = {agency.code: agency.number for agency in catalogue.agencies.values()}

    def of(publisher: str, day: int) -> AESGCM | None:
        return day_keys.of(numbers[publisher], day) if publisher in numbers else None

    return of


def _desk(hub: Lasting, approved: Approved) -> PublishDesk:
    settings = hub.settings
    return PublishDesk(
        bus=hub.bus,
        keys=hub.keys,
        catalogue=approved.catalogue,
        datasets=approved.datasets,
        validators=validators_of(approved.datasets),
        day_key=hub.day_keys.for_publish,
        clock=hub.clock,
        event_bytes=settings.publish_event_bytes,
        oldest_us=settings.event_max_age_days * 86_400 * US,
        newest_us=settings.event_max_future_s * US,
        way=hub.way,
        intake=hub.intake,
        backlog=hub.bus.backlog,
    )
