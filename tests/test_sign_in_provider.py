"""The hub and its provider: another one, one that is down or silent, other keys and claims; people stay the same."""

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any
from wsgiref.simple_server import make_server

import httpx
import orjson
import pytest
from joserfc import jwk

from hub.clock import system_clock
from hub.core.errors import HubError
from hub.demo.provider import Provider
from hub.demo.provider_door import serving
from hub.identity.provider import ANSWER_S, DISCOVERY, KEYS_AGAIN_S, Asked, Party
from hub.identity.provider import Provider as AtProvider
from tests.sign_in_world import CLIENT, WORTH, Browser, Place, a_place, a_provider, user
from tests.test_demo_provider import new_key

CROWD = 60  # the server has 40 threads for all that does not have its own


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with a_place(tmp_path) as one:
        for name in ("ada", "ben"):
            one.town.person(name, "lindum")
        yield one


@pytest.fixture
def provider(place: Place) -> Iterator[Provider]:
    users = [user("ada"), user("ben"), user("stranger"), user("nameless", claim="")]
    with a_provider(place, *users) as one:
        place.use(one.issuer)
        yield one


@pytest.fixture
def browser(place: Place, provider: Provider) -> Iterator[Browser]:
    with Browser(place) as one:
        yield one


def test_accounts_survive_a_change_of_provider(place: Place, browser: Browser, provider: Provider) -> None:
    """Another issuer, other names, the same claim through the same link: people are who they were."""
    browser.sign_in("ada")
    before = browser.me()["person"]
    with a_provider(place, user("ada.new", claim="R-ada", subject="another name")) as other:
        place.use(other.issuer)
        assert browser.sign_in("ada.new").status_code == 303
        assert browser.me()["person"] == before
    assert place.town.rows("SELECT count(*), count(DISTINCT local) FROM account") == [(2, 1)]


def test_a_provider_that_says_it_once_is_remembered(place: Place, provider: Provider) -> None:
    """The account leads through the same link after the claim is no longer sent; under another issuer it does not."""
    with a_provider(place, user("ada", claim="R-ada")) as first, Browser(place) as browser:
        place.use(first.issuer)
        browser.sign_in("ada")
        before = browser.me()["person"]
        port = int(first.issuer.rpartition(":")[2])
    with a_provider(place, user("ada", claim=""), port=port) as same, Browser(place) as browser:
        place.use(same.issuer)
        assert browser.sign_in("ada").status_code == 303
        assert browser.me()["person"] == before
    with a_provider(place, user("ada", claim="")) as other, Browser(place) as browser:
        place.use(other.issuer)
        assert browser.sign_in("ada").status_code == 403


def test_an_account_that_leads_to_two_people_lets_nobody_in(place: Place) -> None:
    """The provider gave a name away anew, or was deceived: a human has to look."""
    with a_provider(place, user("ada", claim="R-ada")) as first, Browser(place) as browser:
        place.use(first.issuer)
        browser.sign_in("ada")
        port = int(first.issuer.rpartition(":")[2])
    with a_provider(place, user("ada", claim="R-ben"), port=port) as same, Browser(place) as browser:
        place.use(same.issuer)
        answered = browser.sign_in("ada")
        assert (answered.status_code, "two people" in answered.text) == (403, True)
        assert not browser.cookie()


def test_a_claim_that_is_at_the_userinfo_endpoint_alone_is_found(place: Place) -> None:
    """OpenID Connect Core 5.3: asked with the token, and of the same person."""
    with a_provider(place, user("ada"), claims_in_token=False) as provider, Browser(place) as browser:
        place.use(provider.issuer)
        assert browser.sign_in("ada").status_code == 303


@pytest.mark.parametrize("kind", ["EC", "OKP", "RSA"])
def test_the_hub_shows_a_key_instead_of_a_secret(place: Place, tmp_path: Path, kind: str) -> None:
    """`private_key_jwt`, with each kind of key."""
    key = new_key(tmp_path / "key", kind, "jwk")
    with a_provider(place, user("ada"), key=jwk.import_key(key.key.as_dict(private=False))) as one:
        place.use(one.issuer, secret="", key=key)
        with Browser(place) as browser:
            assert browser.sign_in("ada").status_code == 303


def test_a_provider_that_changes_its_keys_is_believed_without_a_restart(place: Place, browser: Browser) -> None:
    """Its token names a key that the hub does not know yet: the set is read anew, a few seconds after the last time."""
    with a_provider(place, user("ada")) as other:
        at = place.use(other.issuer).provider
        browser.sign_in("ada")
        other.key = jwk.ECKey.generate_key("P-256", private=True)
        assert browser.sign_in("ada").status_code == 401
        assert at._keys is not None
        kept_at, keys = at._keys
        at._keys = (kept_at - KEYS_AGAIN_S, keys)  # as if those seconds had gone by
        assert browser.sign_in("ada").status_code == 303


def test_a_provider_that_is_down_has_a_page_and_the_hub_goes_on(place: Place) -> None:
    """Whoever is signed in stays so; a program gets a problem; and it works again when the provider is back."""
    with Browser(place) as browser, Browser(place) as another:
        with a_provider(place, user("ada")) as provider:
            place.use(provider.issuer)
            browser.sign_in("ada")
        place.use(provider.issuer)  # a hub that was started while it was down
        down = another.get("/sign-in")
        assert (down.status_code, down.headers["retry-after"]) == (503, "60")
        assert "Signing in is not possible at the moment" in down.text
        program = another.http.get("/sign-in", headers={"accept": "application/json"})
        assert program.json()["type"].endswith("/provider-down")
        assert browser.get("/v1/me").status_code == 200
        place.state.sign_in.provider._away_until_s = 0.0  # as if that second had gone by
        with a_provider(place, user("ada"), port=int(provider.issuer.rpartition(":")[2])):
            assert another.sign_in("ada").status_code == 303


def test_a_provider_that_does_not_answer_keeps_nobody_waiting_but_who_signs_in(place: Place) -> None:
    """More people at once than there are threads: whoever is signed in goes on, and those are told within seconds."""
    with a_provider(place, user("ada")) as provider, Browser(place) as browser:
        place.use(provider.issuer)
        browser.sign_in("ada")
        limits = httpx.Limits(max_connections=CROWD)
        with (
            socket.create_server(("127.0.0.1", 0), backlog=256) as silent,
            httpx.Client(base_url=place.address, trust_env=False, timeout=60, limits=limits) as many,
            ThreadPoolExecutor(CROWD) as crowd,
        ):
            place.use(f"http://127.0.0.1:{silent.getsockname()[1]}")
            waiting = [crowd.submit(many.get, "/sign-in") for _ in range(CROWD)]
            time.sleep(1.0)
            assert not any(one.done() for one in waiting)
            began = time.monotonic()
            assert browser.get("/v1/me").status_code == 200
            assert time.monotonic() - began < ANSWER_S / 2
            assert {one.result().status_code for one in waiting} == {503}
            assert time.monotonic() - began < 3 * ANSWER_S


def test_a_code_that_the_providers_firewall_refuses_keeps_nobody_else_out() -> None:
    """Whoever sends nonsense once a second would otherwise keep everybody from signing in."""
    with guarded() as issuer:
        at = AtProvider(Party(issuer, CLIENT, f"{issuer}/back", WORTH, secret="s"), system_clock)
        asked = Asked("state", "nonce", "v" * 43)
        for sent, code in (("<script>", "provider-down"), ("another", "sign-in-refused")):
            with pytest.raises(HubError) as caught:
                at.identify(asked, {"code": sent})
            assert caught.value.code == code
        at.close()


@contextmanager
def guarded() -> Iterator[str]:
    """Serve a provider that knows no code, and whose firewall answers some of them with a page of its own."""

    def app(environ: dict[str, Any], start: Callable[[str, list[tuple[str, str]]], object]) -> list[bytes]:
        if environ["PATH_INFO"] != DISCOVERY:
            bad = b"script" in environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            start("403 -" if bad else "400 -", [("content-type", "text/html" if bad else "application/json")])
            return [b"<h1>Request rejected</h1>" if bad else b'{"error":"invalid_grant"}']
        issuer = f"http://127.0.0.1:{environ['SERVER_PORT']}"
        start("200 -", [("content-type", "application/json")])
        ends = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
        return [orjson.dumps({"issuer": issuer} | {name: f"{issuer}/{path}" for name, path in ends.items()})]

    with make_server("127.0.0.1", 0, app) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_provider_that_goes_away_in_the_midst_of_a_sign_in_is_said(place: Place, browser: Browser) -> None:
    """The code cannot be redeemed: a page says so, and nobody is signed in."""
    with a_provider(place, user("ada")) as provider:
        place.use(provider.issuer)
        address = browser.approved("ada")
    answered = browser.get(address)
    assert (answered.status_code, "not possible at the moment" in answered.text) == (503, True)
    assert place.town.rows("SELECT count(*) FROM session") == [(0,)]


def test_the_provider_of_invented_people_does_not_run_in_production() -> None:
    """Whatever the settings say: it refuses by itself too."""
    with pytest.raises(HubError, match="does not run in production"), serving(0, lambda _: None, mode="production"):  # type: ignore[arg-type, return-value]  # never called
        pass
