"""A town with people whose pages are worth looking at, and the portal served over it on loopback."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from typing import Any
from urllib.parse import urlencode

import httpx
import orjson
import playwright.sync_api as playwright
from fastapi import FastAPI

from hub.citizens.timeline import timeline
from hub.citizens.withdraw import withdraw_it
from hub.logs import open_log
from hub.settings import DEMO_PEOPLE
from hub.web.page_headers import PageHeaders
from hub.web.portal.routes import portal_routes
from tests.citizen_world import DAY_US, REGISTER, Browser, Town
from tests.doors import served


class PortalTown(Town):
    """The town with the citizens' pages."""

    def app(self, *, dev_sign_in: bool = True, **services: Any) -> FastAPI:
        app = super().app(dev_sign_in=dev_sign_in, log=open_log(clock=self.clock, stream=None), **services)
        app.include_router(portal_routes(dev_sign_in=dev_sign_in))
        app.add_middleware(PageHeaders, https=False)
        return app

    def settle(self) -> dict[str, str]:
        """Let a child's life happen: asked, given, released, refused, withdrawn, expired; returns consents by name."""
        self.person("child", "lindum", "civil-registry", "family-benefits", "utilities", REGISTER)
        self.person("parent", "civil-registry")
        child = self.person("child")
        names = {}
        names["stopped"] = self.ask("lindum", "child", "KINDER-PLACE")
        self.granted(child, names["stopped"])
        self.birth()
        self.acknowledge("lindum", self.pull("lindum"))
        who = self.principal(child)
        self.now_us += 3_600_000_000
        withdraw_it(self.desk, who, names["stopped"])
        self.acknowledge("lindum", self.pull("lindum"))
        self.birth()
        self.now_us += 2 * DAY_US
        names["running"] = self.ask("utilities", "child", "UTILITY-MOVE")
        self.granted(child, names["running"])
        names["asked"] = self.ask("lindum", "child", "KINDER-PLACE")
        self.list_people()
        names["receipt"] = timeline(self.desk, who, names["stopped"]).receipts[-1].receipt
        return names

    def list_people(self) -> None:
        people = [
            {"person": f"{REGISTER}:R-child", "name": "Ivy Test", "on": "", "other": "", "asked": True},
            {
                "person": f"{REGISTER}:R-parent",
                "name": "Nora Test",
                "on": f"{REGISTER}:R-child",
                "other": "Ivy Test",
                "asked": False,
            },
        ]
        (self.directory / DEMO_PEOPLE).write_bytes(orjson.dumps(people))


class Reader(Browser):
    """A browser without JavaScript: follows links by address, and sends the forms that a page holds."""

    def send(self, path: str, *fields: tuple[str, str], csrf: str | None = None) -> httpx.Response:
        """Send a form as a page of this session holds it."""
        body = urlencode([("csrf", self.csrf if csrf is None else csrf), *fields])
        return self.http.post(path, content=body, headers={"content-type": "application/x-www-form-urlencoded"})

    def say(self, path: str) -> str:
        """Load a page, and return what stands on it, without markup."""
        answered = self.get(path)
        assert answered.headers["content-type"] == "text/html; charset=utf-8", path
        return words_of(answered.text)


class Broken:
    """A store that can be read and not written."""

    def __init__(self, store: object, write: object) -> None:
        self.read, self.write, self.shared = store.read, write, store.shared  # type: ignore[attr-defined]  # any store will do


def state_of(town: PortalTown, consent: str) -> str:
    return str(town.rows("SELECT state FROM consent WHERE public = ?", (consent,))[0][0])


def words_of(page: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


def pages_of(names: dict[str, str]) -> dict[str, str]:
    """Return every kind of page there is, by a name, with its address in a settled town."""
    return {
        "home": "/my",
        "request": f"/my/requests/{names['asked']}",
        "sharing": "/my/sharing",
        "ended": "/my/sharing/ended",
        "running": f"/my/sharing/{names['running']}",
        "stopped": f"/my/sharing/{names['stopped']}?done=withdraw",
        "stop": f"/my/sharing/{names['running']}/stop",
        "objection": "/my/objections/family-benefits:FAM-ALLOW",
        "history": "/my/history",
        "receipt": f"/my/receipts/{names['receipt']}",
        "settings": "/my/settings?done=settings",
        "help": "/my/help",
        "missing": "/my/nothing-is-here",
        "people": "/dev/sign-in",
    }


@contextmanager
def portal(town: PortalTown) -> Iterator[str]:
    """Serve the town's pages; gives their address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        with served(town.app(), listening) as address:
            yield address


@contextmanager
def signed_in(
    browser: playwright.Browser, address: str, language: str, *, width: int, height: int = 900, scripts: bool = True
) -> Iterator[playwright.Page]:
    """Open a window of this size for somebody who signed in with the button of the sign-in page."""
    context = browser.new_context(viewport={"width": width, "height": height}, java_script_enabled=scripts)
    try:
        page = context.new_page()
        page.goto(f"{address}/dev/sign-in?language={language}")
        page.locator(".portal-people button").first.click()
        page.wait_for_url(f"{address}/my")
        yield page
    finally:
        context.close()
