"""Who may call what: every endpoint, tried by every kind of caller, as a snapshot that is reviewed in a diff.

After a change on purpose write it anew: `python -m tests.test_who_may_call_what > tests/vectors/who_may_call_what.txt`.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from hub.app import Hub, build
from hub.identity.people import NewLink, link
from hub.logs import open_log
from hub.settings import Settings
from hub.web.apps import admin_app, public_app
from tests.doors import client_of

SNAPSHOT = Path(__file__).parent / "vectors" / "who_may_call_what.txt"
CALLERS = (
    "nobody",
    "agency without scope",
    "agency with scope",
    "other agency",
    "citizen",
    "citizen without csrf",
    "operator",
)
SCOPES = {  # route -> the scope it asks for; its own agency, which has it, and a scope that this one has besides
    "/v1/events": ("events:write", "civil-registry"),
    "/v1/events/{token}": ("events:write", "civil-registry"),
    "/v1/deliveries": ("deliveries:read", "lindum"),
    "/v1/deliveries/acknowledgements": ("deliveries:read", "lindum"),
    "/v1/links": ("links:write", "population-register"),
    "/v1/links/undo": ("links:write", "population-register"),
    "/v1/links/dispute": ("links:write", "population-register"),
    "/v1/links/settle": ("links:write", "population-register"),
    "/v1/consent-requests": ("consent-requests:write", "lindum"),
    "/v1/webhook": ("ways-out:write", "lindum"),
    "/v1/webhook/prove": ("ways-out:write", "lindum"),
    "/v1/webhook/rotate": ("ways-out:write", "lindum"),
    "/v1/sealing-key": ("ways-out:write", "lindum"),
    "/v1/agency": ("agency:read", "lindum"),
    "/v1/agreements": ("agency:read", "vehicles"),
    "/v1/agreements/{code}": ("agency:read", "vehicles"),
    "/v1/agreements/{code}/signatures": ("agreements:write", "vehicles"),
    "/v1/agreements/{code}/suspend": ("agreements:write", "vehicles"),
    "/v1/agreements/{code}/resume": ("agreements:write", "vehicles"),
    "/v1/agreements/{code}/end": ("agreements:write", "vehicles"),
    "/v1/catalogue": ("agency:read", "lindum"),
    "/v1/asyncapi.json": ("agency:read", "lindum"),
    "/v1/backfills": ("deliveries:read", "lindum"),
    "/v1/backfills/{backfill}/progress": ("events:write", "civil-registry"),
    "/v1/backfills/{backfill}/end": ("events:write", "civil-registry"),
    "/v1/asks": ("asks:write", "lindum"),
    "/v1/asks/{ask}": ("deliveries:read", "lindum"),
    "/v1/asks/{ask}/no-answer": ("events:write", "civil-registry"),
}
OTHER = "health-insurance"  # publishes and subscribes, and has nothing to do with what is asked for here
AGREEMENT = "AGR-16"  # of which nothing else that is called here makes use
BIRTH = {
    "specversion": "1.0", "id": "e-1", "source": "urn:agency:civil-registry", "type": "civil.birth.registered",
    "subject": "C-1", "time": "2026-01-31T00:00:00Z", "data": {"child_id": "C-1", "dob": "2026-01-31"},
}  # fmt: skip
ITEMS = {"items": [{"dataset": "pop.residence", "field": "municipality_code"}]}
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/v1/events"): BIRTH,
    ("POST", "/v1/deliveries/acknowledgements"): {"acknowledgements": [{"number": 1, "id": "0" * 32}]},
    ("POST", "/v1/links"): {"links": [{"agency": "tax", "local_id": "T-9", "mine": "R-9", "level": 2}]},
    ("POST", "/v1/links/undo"): {"links": [{"agency": "tax", "local_id": "T-9"}]},
    ("POST", "/v1/links/dispute"): {"links": [{"agency": "lindum", "local_id": "L-1"}]},
    ("POST", "/v1/links/settle"): {"links": [{"agency": "lindum", "local_id": "L-1"}]},
    ("POST", "/v1/consent-requests"): {"subject": "L-1", "purpose": "KINDER-PLACE"},
    ("POST", "/v1/backfills"): {"agreement": "AGR-4", "purpose": "KINDER-PLACE", "dataset": "pop.residence"},
    ("POST", "/v1/backfills/{backfill}/progress"): {"cursor": "row 7", "persons": 9},
    ("POST", "/backfills"): {"agreement": "AGR-2", "purpose": "KINDER-PLACE", "dataset": "none"},
    ("POST", "/backfills/close"): {"backfill": "none"},
    ("POST", "/v1/asks"): {"subject": "L-9", "purpose": "KINDER-PLACE", "dataset": "pop.residence", "case": "c"},
    ("POST", "/v1/me/asks"): {"recipient": "lindum", "purpose": "KINDER-PLACE", "dataset": "pop.residence"},
    ("POST", "/v1/me/consents"): {"recipient": "lindum", "purpose": "KINDER-PLACE"},
    ("POST", "/v1/me/consents/{consent}/narrow"): ITEMS,
    ("POST", "/v1/me/consents/{consent}/extend"): {"until": "2030-01-01T00:00:00Z"},
    ("POST", "/v1/me/objections"): {"recipient": "family-benefits", "purpose": "FAM-ALLOW"},
    ("POST", "/dev/sign-in"): {"person": "population-register:R-1"},
    ("POST", "/demo/agency-keys"): {"agency": "tax", "jwk": {}},
    ("POST", "/demo/poison"): {"person": "population-register:R-1"},
    ("POST", "/catalogue"): {"document": {}, "expected": ""},
    ("POST", "/agency-keys"): {"agency": "tax", "jwk": {}},
    ("POST", "/agency-keys/end"): {"agency": "tax", "kid": "none"},
    ("POST", "/root-key"): {"new_file": "nowhere"},
    ("POST", "/retention"): {"classes": ["sessions"], "dry_run": True},
    ("POST", "/stop-release"): {"stop": False},
    ("POST", "/v1/agreements/{code}/signatures"): {"jws": "none"},
    ("POST", "/agreements/{code}/signatures"): {"jws": "none"},
    ("POST", "/agreements/proposals"): {"document": {}, "codes": []},
    ("POST", "/officers"): {"agency": "tax", "name": "Ada", "office": "Registrar", "jwk": {}},
    ("POST", "/officers/end"): {"agency": "tax", "kid": "none"},
    ("POST", "/persons/erase"): {"agency": "tax", "local_id": "T-0", "reason": "request"},
    ("POST", "/persons/hold"): {
        "agency": "tax",
        "local_id": "T-0",
        "reference": "KG-1",
        "reason": "audit",
        "until_us": 1,
    },
    ("POST", "/persons/unhold"): {"hold": 1},
    ("POST", "/dead-letters/retry"): {"number": 1},
    ("POST", "/dead-letters/discard"): {"number": 1, "reason": "duplicate"},
    ("POST", "/file-drop"): {"agency": "lindum", "form": ""},
    ("POST", "/webhook-keys"): {"agency": "tax"},
    ("PUT", "/v1/webhook"): {"url": "https://10.0.0.1/"},
    ("PUT", "/v1/sealing-key"): {"jwk": {}},
}


@dataclass
class House:
    """One running hub with both its applications, and the status token of one published event."""

    hub: Hub
    apps: dict[str, FastAPI]
    event: str

    def headers(self, caller: str, path: str) -> dict[str, str]:
        scope, agency = SCOPES.get(path, ("", "lindum"))
        tokens = self.hub.agency_tokens
        other = "deliveries:read" if scope == "agency:read" else "agency:read"
        match caller:
            case "agency without scope":
                return {"authorization": f"Bearer {tokens.issue(agency, other).token}"}
            case "agency with scope":
                return {"authorization": f"Bearer {tokens.issue(agency, scope).token}"}
            case "other agency":
                return {"authorization": f"Bearer {tokens.issue(OTHER, '').token}"}
            case "citizen" | "citizen without csrf":
                cookie, csrf = sign_in(self.apps["public"])
                return {"cookie": cookie} | ({"x-csrf-token": csrf} if caller == "citizen" else {})
        return {}

    def outcome(self, app: str, method: str, path: str, caller: str) -> str:
        """Call a route as one kind of caller; the operator comes through the socket, all others never do."""
        door = "operator" if caller == "operator" else "public"
        concrete = path.replace("{token}", self.event).replace("{code}", AGREEMENT).replace("{", "").replace("}", "")
        body = BODIES.get((method, path))
        headers = self.headers(caller, path)
        if path == "/v1/events" and body:
            headers["content-type"] = "application/cloudevents+json"
        sent: dict[str, Any] = {"json": body} if body else {}
        if path.startswith("/my") and method == "POST":  # a page's form carries the token itself
            sent = {"data": {"csrf": headers.pop("x-csrf-token", "")}}
        with client_of(self.apps[door]) as client:
            answer = client.request(method, concrete, headers=headers, **sent)
        return said(answer)


def said(answer: httpx.Response) -> str:
    problem = answer.headers.get("content-type", "").startswith("application/problem+json")
    return f"{answer.status_code} {answer.json()['type'].rpartition('/')[2]}" if problem else str(answer.status_code)


@contextmanager
def opened(directory: Path) -> Iterator[House]:
    """Build the hub as the demo runs it, which has every route there is."""
    with Path("/dev/null").open("w") as nowhere:
        log = open_log(clock=lambda: 0, stream=nowhere)
        hub = build(Settings(mode="demo", data_dir=directory, synchronous="OFF"), log=log)
        try:
            apps = {"public": public_app(hub), "operator": admin_app(hub)}
            people = [NewLink("lindum", "L-1", "R-1", 2), NewLink("civil-registry", "C-1", "R-1", 2)]
            assert set(link(hub.register, "population-register", people)) == {"linked"}
            hub.start()
            while hub.troubles():
                sleep(0.01)
            token = hub.agency_tokens.issue("civil-registry", "").token
            accepted = client_of(apps["public"]).post(
                "/v1/events",
                json={**BIRTH, "id": "e-0"},
                headers={"authorization": f"Bearer {token}", "content-type": "application/cloudevents+json"},
            )
            yield House(hub, apps, accepted.json()["items"][0]["token"])
        finally:
            hub.close()


def sign_in(app: FastAPI) -> tuple[str, str]:
    """Sign a citizen in; returns the cookie and the token that changes need. Each call has a session of its own."""
    answer = client_of(app).post("/dev/sign-in", json={"person": "population-register:R-1"})
    return answer.headers["set-cookie"].partition(";")[0], answer.json()["csrf"]


def routes(app: Any) -> set[tuple[str, str]]:
    """List (method, path) of every route, those of included routers too."""
    found: set[tuple[str, str]] = set()
    for route in app.routes:
        inner = getattr(route, "original_router", None)
        found |= routes(inner) if inner is not None else {(method, route.path) for method in route.methods - {"HEAD"}}
    return found


def described(app: FastAPI) -> set[tuple[str, str]]:
    """List the same as the framework describes it."""
    return {(method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods}


def snapshot(house: House) -> str:
    lines = []
    for door, app in house.apps.items():
        for method, path in sorted(routes(app), key=lambda one: (one[1], one[0])):
            scope, _ = SCOPES.get(path, ("", ""))
            lines.append(f"{door}: {method} {path}" + (f"  [{scope}]" if scope else ""))
            lines += [f"    {caller:<22}{house.outcome(door, method, path, caller)}" for caller in CALLERS]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One hub for all of them: what is called here changes nothing that another call depends on."""
    with opened(tmp_path_factory.mktemp("who")) as one:
        yield one


def test_everybody_may_call_exactly_what_the_snapshot_says(house: House) -> None:
    """Each route, method and caller has the outcome that was reviewed."""
    assert snapshot(house).splitlines() == SNAPSHOT.read_text().splitlines()


def test_no_endpoint_is_missing_from_the_snapshot(house: House) -> None:
    """Nor does the framework know of one that was not tried."""
    listed = {line.partition("  [")[0] for line in SNAPSHOT.read_text().splitlines() if not line.startswith(" ")}
    for door, app in house.apps.items():
        assert {(method, path.replace(":path}", "}")) for method, path in routes(app)} == described(app)
        assert {f"{door}: {method} {path}" for method, path in routes(app)} <= listed
    assert len(listed) == sum(len(routes(app)) for app in house.apps.values())


def test_nobody_without_a_credential_reaches_anything_but_the_open_routes() -> None:
    """What answers without one is metadata, health, signing in, and the demo's shortcuts."""
    reached = [head for head, outcomes in by_route() if head.startswith("public") and outcomes["nobody"][0] == "2"]
    assert set(reached) == {
        "public: GET /.well-known/consent-receipt-keys.json",
        "public: GET /.well-known/jwks.json",
        "public: GET /.well-known/oauth-authorization-server",
        "public: GET /healthz",
        "public: GET /metrics",
        "public: GET /readyz",
        "public: GET /dev/sign-in",
        "public: GET /signed-out",
        "public: POST /dev/sign-in",
    }


def test_no_scope_and_no_csrf_token_is_no(tmp_path: Path) -> None:
    """A token without the scope is refused with 403, a change without the session's token as well; GET needs none."""
    for head, outcomes in by_route():
        if head.startswith("public") and "[" in head:
            assert outcomes["agency without scope"].startswith("403"), head
            assert outcomes["agency with scope"][:3] not in ("401", "403"), head
            assert outcomes["citizen"].startswith("401"), head
        if head.startswith("public") and "/v1/me" in head:
            assert {outcomes[one][:3] for one in CALLERS[:4]} == {"401"}, head
            assert head.startswith("public: GET") or outcomes["citizen without csrf"] == "403 csrf-missing", head


def test_a_page_is_for_who_is_signed_in_and_a_form_needs_its_token(tmp_path: Path) -> None:
    """Whoever is not is led to the sign-in, or told so by a form; one without the token is refused, whatever it is."""
    pages = [(head, outcomes) for head, outcomes in by_route() if head.split()[2].startswith("/my")]
    assert len(pages) > 15
    for head, outcomes in pages:
        led = "GET" in head or head.endswith("/sign-out")
        assert {outcomes[one][:3] for one in CALLERS[:4]} == {"303" if led else "401"}, head
        assert "GET" in head or outcomes["citizen without csrf"] == "403", head


def test_what_belongs_to_operators_is_not_on_the_public_door() -> None:
    """And the other way round: nobody's data is reached through the operator's socket."""
    shared = {"/healthz", "/readyz", "/metrics"}
    for head, outcomes in by_route():
        if head.split()[2] in shared:
            continue
        callers = CALLERS[:-1] if head.startswith("operator") else CALLERS[-1:]
        assert {outcomes[one][:3] for one in callers} == {"404"}, head


def test_the_shortcuts_are_there_in_the_demo_only(tmp_path: Path) -> None:
    """Signing in without proof and registering keys for anybody exist nowhere else."""
    with Path("/dev/null").open("w") as nowhere:
        log = open_log(clock=lambda: 0, stream=nowhere)
        hub = build(Settings(mode="development", data_dir=tmp_path), log=log)
        paths = {path for _, path in routes(public_app(hub))}
        hub.close()
    assert not {path for path in paths if path.startswith(("/dev", "/demo"))}


def test_a_route_that_nobody_wrote_down_is_noticed(house: House) -> None:
    """Planted: one endpoint more than the snapshot has."""
    app = FastAPI(openapi_url=None)

    @app.get("/v1/everything")
    def everything() -> None:
        """Nobody reviewed this."""

    assert ("GET", "/v1/everything") in routes(app)
    assert "/v1/everything" not in SNAPSHOT.read_text()


def by_route() -> Iterator[tuple[str, dict[str, str]]]:
    head, outcomes = "", dict[str, str]()
    for line in [*SNAPSHOT.read_text().splitlines(), "end"]:
        if line.startswith(" "):
            outcomes[line[4:26].strip()] = line[26:]
            continue
        if head:
            yield head, outcomes
        head, outcomes = line, {}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory, opened(Path(directory)) as one:
        sys.stdout.write(snapshot(one))
