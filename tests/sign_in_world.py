"""A town whose people sign in at a real provider over HTTP, and a person's browser that goes from one to the other."""

import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
from fastapi import Depends, FastAPI, Request, Response
from joserfc import jwk

from hub.clock import system_clock
from hub.demo.provider import LEVELS, Client, Provider, User, hashed
from hub.demo.provider_door import serving
from hub.identity.kept_forms import Fields
from hub.identity.provider import Party
from hub.identity.provider import Provider as AtProvider
from hub.identity.sign_ins import BACK, HOUR_US, SignInDesk
from hub.logs import open_log
from hub.web.citizen_sign_in import citizen_sign_in_routes
from hub.web.page_headers import PageHeaders
from hub.web.plain_pages import page
from hub.web.posted import fields_of, given_back, hidden_fields, sender_of
from hub.web.signed_in import signed_in
from tests.citizen_world import REGISTER, Town
from tests.doors import served

PASSWORD = "a password of nobody's"
HASHED = hashed(PASSWORD)
CLIENT, CLAIM = "the-hub", "register_id"
FORM = "choose:all"  # the name of the one form that this town's pages have
LOW, SUBSTANTIAL, HIGH = LEVELS
WORTH = {LOW: 1, SUBSTANTIAL: 2, HIGH: 3}


def user(name: str, *, claim: str | None = None, subject: str = "") -> User:
    """Somebody at a provider; `claim` is what it says their number at the register is, "" for nothing."""
    number = f"R-{name}" if claim is None else claim
    return User(name, subject or f"sub-{name}", HASHED, {CLAIM: number} if number else {})


@dataclass
class Place:
    """One hub's citizens' door at a real address, which knows one provider at a time."""

    town: Town
    address: str
    secret: str = field(default_factory=lambda: secrets.token_hex(32))
    chosen: list[Fields] = field(default_factory=list)  # what the form was sent with, and taken
    state: SimpleNamespace = field(default_factory=SimpleNamespace)  # the door's hub

    def party(self, issuer: str, **changed: Any) -> Party:
        given = {"secret": self.secret, "claim": CLAIM} | changed
        return Party(issuer=issuer, client_id=CLIENT, back=self.address + BACK, levels=WORTH, **given)

    def use(self, issuer: str, *, least: int = 1, **changed: Any) -> SignInDesk:
        """Let the hub know this provider from now on, as after a restart with other settings."""
        at = AtProvider(self.party(issuer, **changed), system_clock)
        self.close()
        desk = SignInDesk(self.town.store, self.town.keys, at, REGISTER, least, self.town.clock, 8 * HOUR_US)
        self.state.sign_in = desk
        return desk

    def close(self) -> None:
        if self.state.sign_in is not None:
            self.state.sign_in.provider.close()

    def app(self) -> FastAPI:
        """The door, with a page of its own that has a form: what the portal does with each of its forms."""
        log = open_log(clock=self.town.clock, stream=None, level="error")
        app = self.town.app(log=log)
        self.state, self.state.sign_in = app.state.hub, None
        app.include_router(citizen_sign_in_routes())

        @app.get("/choose")
        def get_choose(request: Request) -> Response:
            session = signed_in(request)
            hidden = hidden_fields(request, session, form=FORM).items()
            shown = [*hidden, *given_back(request, session, form=FORM)]
            inputs = "".join(f'<input name="{name}" value="{value}">' for name, value in shown)
            return Response(page("Choose", f"<form>{inputs}</form>"), media_type="text/html; charset=utf-8")

        @app.post("/choose")
        def post_choose(request: Request, fields: Annotated[Fields, Depends(fields_of)]) -> Response:
            sender = sender_of(request, fields, form=FORM, back="/choose", least=int(request.query_params["least"]))
            if isinstance(sender, Response):
                return sender
            self.chosen.append([one for one in fields if one[0] == "item"])
            return Response(status_code=204)

        app.add_middleware(PageHeaders, https=False)
        return app


@contextmanager
def a_place(directory: Path) -> Iterator[Place]:
    """Serve one on loopback until the block ends."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        town = Town(directory, now_us=system_clock())
        stack.callback(town.store.close)
        place = Place(town, f"http://127.0.0.1:{listening.getsockname()[1]}")
        stack.enter_context(served(place.app(), listening))
        stack.callback(place.close)
        yield place


@contextmanager
def a_provider(
    place: Place, *users: User, port: int = 0, key: jwk.Key | None = None, claims_in_token: bool = True
) -> Iterator[Provider]:
    """Serve one on loopback that knows this place; by its public `key` where one is given, else by its secret."""
    client = Client(CLIENT, place.address + BACK, "" if key else place.secret, key)

    def made(issuer: str) -> Provider:
        return Provider(issuer, client, users, system_clock, claims_in_token=claims_in_token)

    with serving(port, made, mode="development") as provider:
        yield provider


class Browser:
    """A person's browser, with the cookies of both; it follows no redirect unless it is told to."""

    def __init__(self, at: Place | str) -> None:
        """`at`: a place, or the address of any hub."""
        address = at if isinstance(at, str) else at.address
        self.http = httpx.Client(base_url=address, trust_env=False, headers={"accept": "text/html"}, timeout=20)

    def close(self) -> None:
        self.http.close()

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, path: str) -> httpx.Response:
        return self.http.get(path)

    def begin(self, path: str = "/sign-in") -> str:
        """Ask to sign in; returns the provider's address that the hub leads to."""
        answered = self.http.get(path)
        assert answered.status_code == 303, answered.text
        return answered.headers["location"]

    def at_provider(
        self, address: str, name: str, *, acr: str = SUBSTANTIAL, password: str = PASSWORD, **more: str
    ) -> httpx.Response:
        """Fill in the provider's form; returns its answer."""
        shown = self.http.get(address)
        assert shown.status_code == 200, shown.text
        action = re.search(r'<form method="post" action="([^"]+)"', shown.text)
        assert action is not None
        parts = urlsplit(address)
        form = {"user": name, "password": password, "chosen_acr": acr, **more}
        return self.http.post(f"{parts.scheme}://{parts.netloc}{unescape(action[1])}", data=form)

    def approved(self, name: str, *, path: str = "/sign-in", acr: str = SUBSTANTIAL) -> str:
        """Sign in at the provider; returns the address that it sends the browser back to."""
        answered = self.at_provider(self.begin(path), name, acr=acr)
        assert answered.status_code == 302, answered.text
        return answered.headers["location"]

    def sign_in(self, name: str, *, path: str = "/sign-in", acr: str = SUBSTANTIAL) -> httpx.Response:
        """All of it; returns what the hub says in the end."""
        return self.http.get(self.approved(name, path=path, acr=acr))

    def me(self) -> dict[str, Any]:
        said: dict[str, Any] = self.http.get("/v1/me", headers={"accept": "application/json"}).json()
        return said

    def cookie(self) -> str:
        return self.http.cookies.get("hub_session") or ""

    def inputs(self, path: str = "/choose") -> list[tuple[str, str]]:
        """Load a page with a form; returns the fields that it is filled with."""
        shown = self.http.get(path)
        assert shown.status_code == 200, shown.text
        return re.findall(r'<input name="([^"]*)" value="([^"]*)">', shown.text)

    def send(self, fields: list[tuple[str, str]], *, least: int = 0) -> httpx.Response:
        return self.http.post(
            f"/choose?least={least}",
            content=urlencode(fields),
            headers={"content-type": "application/x-www-form-urlencoded"},
        )


def query(address: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
