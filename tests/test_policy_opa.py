"""A hub that decides by an OPA server, which fetches the signed bundle: from a birth to its delivery, and all between.

What may hang here waits for OPA's own next look at the bundle, one to three seconds as `hub policy opa-config` sets it.
"""

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx
import yaml

from hub.commands.policy import configuration
from hub.core.agreement import Catalogue
from hub.core.catalogue import from_document, to_document
from hub.core.leaf import LeafKind
from hub.core.question import Question
from hub.exchange.agreements import move
from hub.identity.bundle_key import bundle_key
from tests.decision_vectors import ROOT
from tests.opa_world import Opa, opa
from tests.world import Town, agree, birth, link_family, town, until

BUNDLE_TOKEN, HUB_TOKEN = "b7" * 32, "a5" * 32
PATIENCE_S = 15.0  # OPA looks every one to three seconds, the hub every half or two; the rest is a busy machine
GUARDED = ("--authentication=token", "--authorization=basic", str(ROOT / "deploy" / "opa" / "authz.rego"))


def secret(directory: Path, name: str, word: str) -> Path:
    path = directory / name
    path.write_text(word + "\n")
    path.chmod(0o600)
    return path


@contextmanager
def exchange(directory: Path, opa_url: str = "http://127.0.0.1:1") -> Iterator[Town]:
    """Run a hub that asks a server. It starts whether one is there or not."""
    given: dict[str, Any] = {
        "policy": "server",
        "opa_url": opa_url,
        "opa_token_file": secret(directory, "opa.token", HUB_TOKEN),
        "opa_bundle_token_file": secret(directory, "bundle.token", BUNDLE_TOKEN),
    }
    with town(directory / "hub", **given) as place:
        yield place


@contextmanager
def both(directory: Path) -> Iterator[tuple[Town, Opa]]:
    """Run a hub and its OPA, each of which is configured with the other's address."""
    with opa(flags=GUARDED, environment={"HUB_TOKEN": HUB_TOKEN}) as first:  # to know where it will be
        first.kill()
        with exchange(directory, first.url) as place:
            token = secret(directory, "opa-side.token", BUNDLE_TOKEN)
            written = configuration(place.hub.policy_bundle(), place.url, token)
            first.configure({**yaml.safe_load(written), "decision_logs": {"console": True}})
            first.start()
            ready(place)
            yield place, first


def ready(place: Town) -> float:
    """Wait until nothing is in the hub's way; returns for how long, in seconds."""
    began_s = monotonic()
    while place.hub.troubles():
        assert monotonic() - began_s < PATIENCE_S, place.hub.troubles()
        sleep(0.02)
    return monotonic() - began_s


def troubles(place: Town, word: str) -> str:
    """Wait until the hub is not ready for a reason in which `word` stands; returns what `/readyz` says."""
    end_s = monotonic() + PATIENCE_S
    while word not in " ".join(one.what for one in place.hub.troubles()):
        assert monotonic() < end_s, place.hub.troubles()
        sleep(0.02)
    answer = httpx.get(f"{place.url}/readyz")
    assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
    return str(answer.json()["detail"])


def published(place: Town, number: str = "1") -> str:
    (accepted,) = place.agency("civil-registry").publish([birth(number)]).accepted
    return accepted.token


def recorded(place: Town) -> str:
    """Read which revision the last decision was made under, in what its audit row relied on."""
    with place.hub.store.read() as tx:
        row = tx.one("SELECT fences FROM audit WHERE kind = ? ORDER BY id DESC LIMIT 1", (LeafKind.DECISION.value,))
        assert row is not None
        found = tx.one("SELECT body FROM interned WHERE id = ?", struct.unpack_from("<q", row[0]))
    assert found is not None
    return str(json.loads(found[0])["revision"])


def another(catalogue: Catalogue) -> Catalogue:
    """Return the catalogue with another version of one purpose."""
    document = to_document(catalogue)
    document["purposes"]["FAM-ALLOW"] |= {"version": 2, "retention_days": 1_000}
    return from_document(document)


def test_a_birth_is_decided_by_the_server_and_delivered(tmp_path: Path) -> None:
    """The whole way, with a guarded OPA that fetched and verified the bundle; the decision records its revision."""
    with both(tmp_path) as (place, _):
        link_family(place)
        assert place.decided(published(place)) == "handled"
        (delivery,) = until(lambda: place.pull("family-benefits"), bool)
        assert delivery.document["data"]["dob"] == "2026-01-31"
        assert recorded(place) == place.hub.policy_bundle().revision


def test_the_server_hears_of_no_person_and_of_no_value(tmp_path: Path) -> None:
    """What OPA itself logs of what it was asked are questions about papers: no id, no value, no event of a delivery."""
    canaries = ("CHILD-canary", "PARENT-canary", "Hospital-canary", "birth-canary", "FB-CHILD-canary", "R-CHILD-canary")
    with both(tmp_path) as (place, started):
        link_family(place, child=canaries[0], parent=canaries[1])
        event = birth("canary", child=canaries[0], parents=(canaries[1],), hospital=canaries[2])
        (accepted,) = place.agency("civil-registry").publish([event]).accepted
        assert place.decided(accepted.token) == "handled"
        (delivery,) = until(lambda: place.pull("family-benefits"), bool)
        asked = [json.loads(line) for line in started.said().splitlines() if '"decision_id"' in line]
        items = [item for one in asked for item in one.get("input", {}).get("items", ())]
        said = started.said()
    assert {"FAM-ALLOW"} <= {item["purpose"] for item in items}
    assert {frozenset(item) for item in items} == {frozenset(Question._fields)}
    assert [
        one for one in (*canaries, "2026-01-31", accepted.token, delivery.subject, delivery.id) if one in said
    ] == []


def test_what_happens_while_the_server_is_away_waits_and_goes_on_by_itself(tmp_path: Path) -> None:
    """Nobody is refused and nothing is lost: `/readyz` says why, and seconds after OPA is back all is decided."""
    with both(tmp_path) as (place, started):
        link_family(place)
        started.kill()
        assert "cannot be reached" in troubles(place, "cannot be reached")
        token = published(place)
        sleep(1.0)
        assert place.agency("civil-registry").status(token) == "accepted"
        assert place.hub.metrics.policy_unavailable._value.get() > 0
        started.start()
        waited_s = ready(place)
        assert place.decided(token) == "handled"
        assert len(until(lambda: place.pull("family-benefits"), bool)) == 1
        print(f"ready again {waited_s:.2f} s after OPA was")


def test_a_hub_starts_without_its_server_and_says_so(tmp_path: Path) -> None:
    """Publishing works; what is published waits."""
    with exchange(tmp_path) as place:
        assert "cannot be reached" in troubles(place, "cannot be reached")
        assert httpx.get(f"{place.url}/healthz").status_code == httpx.codes.OK
        link_family(place)
        assert place.agency("civil-registry").status(published(place)) == "accepted"


def test_a_new_catalogue_is_fetched_and_until_then_events_wait(tmp_path: Path) -> None:
    """Between approval and OPA's next look its answers are of the old revision, which the hub doesn't believe."""
    with both(tmp_path) as (place, _):
        link_family(place)
        before = place.hub.policy_bundle()
        agree(place.hub, another(place.hub.approved()))
        assert place.hub.policy_bundle().revision != before.revision
        token = published(place)
        ready(place)
        assert place.decided(token) == "handled"
        assert recorded(place) == place.hub.policy_bundle().revision


def test_a_suspension_counts_at_once_although_the_bundle_is_the_same(tmp_path: Path) -> None:
    """Signatures and suspensions are facts in the store, under their fence: no bundle carries them."""
    with both(tmp_path) as (place, _):
        link_family(place)
        before = place.hub.policy_bundle()
        code = next(
            line.agreement.code
            for line in place.hub.approved().by_dataset["civil.birth.registered"]
            if line.recipient == "family-benefits"
        )
        move(place.hub.agreements, code, "suspend")
        assert place.decided(published(place)) == "handled"
        assert place.pull("family-benefits") == ()
        assert place.hub.policy_bundle() is before


def test_the_guarded_server_does_nothing_but_answer_the_one_rule_for_who_shows_the_token(tmp_path: Path) -> None:
    """Without the token, with another, or to read, write or query: refused. `/health` alone is for everybody."""
    with both(tmp_path) as (_, started), httpx.Client(base_url=started.url) as client:
        shown = {"Authorization": f"Bearer {HUB_TOKEN}"}
        rule = "/v1/data/hub/release/answer"
        assert client.post(rule, json={"input": {"items": []}}, headers=shown).json()["result"]["verdicts"] == []
        for headers in ({}, {"Authorization": "Bearer"}, {"Authorization": f"Bearer {BUNDLE_TOKEN}"}):
            assert client.post(rule, json={}, headers=headers).status_code == httpx.codes.UNAUTHORIZED
        for method, path in (
            ("GET", "/v1/data"),
            ("PUT", "/v1/data/revision"),
            ("GET", "/v1/policies"),
            ("PUT", "/v1/policies/x"),
            ("POST", "/v1/query"),
            ("POST", "/v1/data/hub/grant"),
            ("GET", "/v1/config"),
        ):
            assert client.request(method, path, headers=shown).status_code == httpx.codes.UNAUTHORIZED, (method, path)
        assert client.get("/health").status_code == httpx.codes.OK


def test_a_server_whose_token_is_too_short_to_be_one_answers_nobody() -> None:
    """A forgotten or a guessable word opens nothing."""
    for word in ("", "short"):
        with opa(flags=GUARDED, environment={"HUB_TOKEN": word}) as started:
            headers = {"Authorization": f"Bearer {word}".strip()}
            answer = httpx.post(f"{started.url}/v1/data/hub/release/answer", json={}, headers=headers)
            assert answer.status_code == httpx.codes.UNAUTHORIZED


def test_a_bundle_that_another_key_signed_is_refused_by_the_server(tmp_path: Path) -> None:
    """Whoever has the bundle's token and stands in the way cannot hand OPA a policy of their own."""
    with both(tmp_path) as (place, started):
        forged = bundle_key(b"somebody else's secret, 32 bytes")
        config = yaml.safe_load(configuration(place.hub.policy_bundle(), place.url, tmp_path / "opa-side.token"))
        (kid,) = config["keys"]
        config["keys"][kid]["key"] = forged.pem
        started.kill()
        started.configure(config)
        started.start()
        assert "does not know the policy" in troubles(place, "does not know the policy")
        assert "verif" in started.said()
