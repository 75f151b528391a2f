"""How a command reaches the hub: over the operator's socket when one runs, else by opening the store itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from hub.core.errors import HubError, Item, Kind
from hub.settings import DEMO_MARK, Settings, checked, load

if TYPE_CHECKING:
    from hub.app import Hub

TIMEOUT_S = 60.0


def settings_now() -> Settings:
    """Read the settings as `hub serve` would. Raises HubError(STARTUP).

    Where no mode is said and the data directory carries a demo's mark, it is a demo's. A hub that runs was checked
    when it started, and does the work itself: what is unsafe since, or in this shell alone, locks no operator out.
    """
    settings = load()
    if "mode" not in settings.model_fields_set and (settings.data_dir / DEMO_MARK).exists():
        return load(mode="demo")
    return settings if _answers(settings) else checked(settings)


def running(settings: Settings) -> httpx.Client | None:
    """Return a client of the running hub, or None when none answers at the socket."""
    return _client(settings) if _answers(settings) else None  # the caller opens it: httpx opens a client once


def _answers(settings: Settings) -> bool:
    """Knock at the operator's socket."""
    if not settings.admin_path.exists():
        return False
    try:
        with _client(settings) as first:
            first.get("/healthz")
    except httpx.TransportError:  # a socket that a killed hub left behind, or another user's
        return False
    return True


def _client(settings: Settings) -> httpx.Client:
    transport = httpx.HTTPTransport(uds=str(settings.admin_path))
    return httpx.Client(transport=transport, base_url="http://hub", timeout=TIMEOUT_S)


def ask(client: httpx.Client, method: str, path: str, document: Any = None) -> Any:
    """Send one request. Raises HubError with what the hub said."""
    response = client.request(method, path, json=document)
    body = response.json()
    if response.status_code < httpx.codes.MULTIPLE_CHOICES:
        return body
    items = tuple(Item(i.get("detail", ""), i.get("where", ""), i.get("remedy", "")) for i in body.get("items", ()))
    raise HubError(
        Kind.INVALID,
        str(body.get("detail", "the hub refused")),
        where=str(body.get("where", "")),
        remedy=str(body.get("remedy", "")),
        code=str(body.get("type", "")).rpartition("/")[2],
        items=items,
    )


@contextmanager
def opened(settings: Settings) -> Iterator["Hub"]:
    """Open the hub's store in this process, without starting anything and without stocking an empty one."""
    from hub.app import build

    hub = build(settings, stock=False)
    try:
        yield hub
    finally:
        hub.close()
