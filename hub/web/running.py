"""What the doors need of the running hub. The composition root makes it; requests find it in `app.state.hub`."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from anyio import CapacityLimiter
from fastapi import Request

from hub.citizens.desk import CitizenDesk
from hub.core.agreement import Catalogue
from hub.core.errors import Item
from hub.exchange.agreements import AgreementDesk
from hub.exchange.bell import Bell
from hub.exchange.publish import PublishDesk
from hub.exchange.webhooks import WebhookDesk
from hub.exchange.world import World
from hub.identity.agency_tokens import AgencyTokens
from hub.identity.keys import Wrapping
from hub.identity.ledger import Ledger
from hub.identity.people import Register
from hub.identity.registered_keys import RegisteredKeys
from hub.identity.sealing import SealingKeys
from hub.identity.sign_ins import SignInDesk
from hub.logs import Log
from hub.metrics import Metrics
from hub.operations.steered import Steered
from hub.ports import Bundle, Clock
from hub.settings import Settings
from hub.stop_flag import Scope
from hub.traces import Traces
from hub.way import Way
from hub.web.quota import Quotas


class Running(Protocol):
    """Everything here may be read at any time from any thread.

    What depends on the catalogue (`world`, `desk`, `register`, `citizens`) is replaced whole when another one is
    approved: take each once per request.
    """

    @property
    def settings(self) -> Settings: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def metrics(self) -> Metrics: ...
    @property
    def traces(self) -> Traces | None: ...
    @property
    def agency_tokens(self) -> AgencyTokens: ...
    @property
    def sign_in(self) -> SignInDesk | None:
        """How citizens sign in; None where no provider is named."""

    @property
    def quotas(self) -> Quotas: ...
    @property
    def bell(self) -> Bell: ...
    @property
    def world(self) -> World: ...
    @property
    def desk(self) -> PublishDesk: ...
    @property
    def register(self) -> Register: ...
    @property
    def citizens(self) -> CitizenDesk: ...
    @property
    def agreements(self) -> AgreementDesk: ...
    @property
    def wrapping(self) -> Wrapping:
        """The wrapping key: what notices and stops are sealed under."""

    @property
    def agency_threads(self) -> CapacityLimiter:
        """Threads that agencies' requests share; citizens' acts never wait for one of them."""

    @property
    def webhooks(self) -> WebhookDesk: ...
    @property
    def sealing_keys(self) -> SealingKeys: ...
    @property
    def way(self) -> Way:
        """Who stops a release goes first here, and what can wait stands still."""

    @property
    def log(self) -> Log: ...
    @property
    def stopping(self) -> bool: ...
    def troubles(self) -> tuple[Item, ...]:
        """Say in words why the hub is not ready; empty when it is."""

    def policy_bundle(self) -> Bundle:
        """Return the bundle of the policy in force; made once for each."""

    def measure(self) -> None:
        """Bring the gauges up to date."""


class FileDropSwitch(Protocol):
    """Turns file drop on and off for an agency, and says how it goes."""

    def set(self, agency: str, *, form: str, bom: bool) -> Mapping[str, Any]: ...
    def listed(self) -> Sequence[Mapping[str, Any]]: ...


class Administered(Running, Steered, Protocol):
    """What an operator's socket needs besides."""

    @property
    def ledger(self) -> Ledger: ...
    @property
    def agency_keys(self) -> RegisteredKeys: ...
    def note_backup(self) -> dict[str, Any]: ...
    def status(self) -> dict[str, Any]: ...
    def approve(self, proposed: Catalogue, *, expected: str | None) -> Mapping[str, Any]: ...
    def add_agency_key(self, agency: str, jwk: Mapping[str, Any]) -> Mapping[str, Any]: ...
    def end_agency_key(self, agency: str, kid: str) -> Mapping[str, Any]: ...
    def rotate_webhook_key(self, agency: str) -> Mapping[str, Any]: ...
    def rotate_token_key(self) -> Mapping[str, Any]: ...
    def rotate_receipt_key(self) -> Mapping[str, Any]: ...
    def stop_releases(self, stop: bool, *, scope: Scope, code: str, reason: str) -> Mapping[str, Any]: ...
    @property
    def file_drops(self) -> FileDropSwitch: ...


def hub_of(request: Request) -> Running:
    running: Running = request.app.state.hub
    return running
