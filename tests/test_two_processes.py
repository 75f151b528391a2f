"""What one process of a hub changes holds in all of them: keys, the catalogue, erasures, assertions that were used."""

from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from deploy.engines import launch
from hub.app import Hub
from hub.citizens.choices import grant_unasked
from hub.core.catalogue import from_document, to_document
from hub.core.errors import HubError
from hub.exchange.erase import erase_person, eraser
from hub.exchange.gate import Gate, Undecided
from hub.exchange.opening import BELIEVED_S, BYTES_FRESH_S, ELSEWHERE_S
from hub.exchange.publish import Accepted, publish
from hub.identity.day_keys import US_PER_DAY
from hub.identity.ledger import open_ledger
from hub.identity.token_keys import KEPT_S
from hub.identity.used_assertions import CLAIM_S, SharedClaims, forget_used
from hub.store.news import Topic, tell
from hub.web.apps import public_app
from hub.workers.news import News
from tests.doors import client_of
from tests.engines import own
from tests.interleaving import Doing, doing_at, paused
from tests.two_processes import Two, assertion, listening, new_agency_key, process, soon, two
from tests.webhook_world import BY_CONSENT, NOTICE, Calendar, machine


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Two]:
    with two(tmp_path) as made:
        yield made


def signs_in(hub: Hub, said: str) -> str:
    """Return "" where an assertion is believed, else the code of the refusal."""
    try:
        hub.agency_tokens.sign_in(said)
    except HubError as refused:
        return refused.code
    return ""


def calls(hub: Hub, token: str) -> int:
    answer = client_of(public_app(hub)).get("/v1/agency", headers={"authorization": f"Bearer {token}"})
    return answer.status_code


# Signing in.


def test_a_key_that_was_registered_at_one_process_signs_in_at_another_at_once(both: Two) -> None:
    """It is not known there: before anything is refused, what is stored is looked at."""
    private = new_agency_key(both.one.hub, "tax")
    assert signs_in(both.other.hub, assertion(both.other.hub, "tax", private)) == ""


def test_an_ended_key_signs_in_nowhere_within_two_seconds(both: Two) -> None:
    """Every process hears of it by itself."""
    private = new_agency_key(both.one.hub, "tax")
    with listening(both.other):
        assert signs_in(both.other.hub, assertion(both.other.hub, "tax", private)) == ""
        both.one.hub.end_agency_key("tax", "k1")
        ended = "assertion-unverified"
        assert soon(lambda: signs_in(both.other.hub, assertion(both.other.hub, "tax", private)), ended)


def test_a_token_by_a_key_that_another_process_made_is_believed_at_once(both: Two) -> None:
    """The next key is known everywhere; after two rotations that nobody told of it is looked for."""
    for _ in range(2):
        both.clock.pass_by(KEPT_S)
        both.one.hub.rotate_token_key()
    token = both.one.hub.agency_tokens.issue("tax", "").token
    assert calls(both.other.hub, token) == 200
    assert calls(both.other.hub, token[:-8] + "AAAAAAAA") == 401


def test_strangers_make_a_process_look_no_more_than_once_a_second(both: Two) -> None:
    """What they show is unknown as often as they like."""
    hub, looked = both.other.hub, list[int]()
    hub.news.readers = dict.fromkeys(Topic, lambda: looked.append(1))
    for _ in range(3):
        new_agency_key(both.one.hub, "tax")
        assert hub.news.ask()  # what was new a moment ago is new to whoever was refused a moment ago
    assert len(looked) == 1
    assert hub.news.hear()
    assert len(looked) == 2


def test_an_assertion_that_was_used_at_one_process_is_refused_at_another(both: Two) -> None:
    """Each signs in once, wherever it is shown first; what is kept of it goes when it has expired for an hour."""
    private = new_agency_key(both.one.hub, "tax")
    said = assertion(both.one.hub, "tax", private)
    assert signs_in(both.one.hub, said) == ""
    assert signs_in(both.other.hub, said) == signs_in(both.one.hub, said) == "assertion-replayed"
    assert forget_used(both.one.hub.store, both.clock()) == 0
    both.clock.pass_by(2 * 3_600)
    assert forget_used(both.one.hub.store, both.clock()) == 1


def test_signing_in_goes_on_while_the_store_is_down(tmp_path: Path) -> None:
    """Then each process knows of what was used there alone; unknown keys are refused without a long wait."""
    with own(lambda place: launch.postgres(place, fsync=False), tmp_path / "postgres") as server:
        post = process(tmp_path, "one", Calendar(), store_dsn=server.address)
        try:
            private, claims = new_agency_key(post.hub, "tax"), post.hub.agency_tokens.claims
            assert isinstance(claims, SharedClaims)
            server.kill()
            said = assertion(post.hub, "tax", private)
            assert signs_in(post.hub, said) == ""
            assert signs_in(post.hub, said) == "assertion-replayed"
            server.start()
            claims._again_s = 0.0
            assert signs_in(post.hub, assertion(post.hub, "tax", private)) == ""
            server.pause()  # it answers nothing, and refuses nothing
            said, began_s = assertion(post.hub, "tax", private), monotonic()
            assert [signs_in(post.hub, said) for _ in range(2)] == ["", "assertion-replayed"]
            assert monotonic() - began_s < 2 * CLAIM_S
            token = post.hub.agency_tokens.issue("tax", "").token
            assert post.hub.agency_tokens.authenticate(token, now_us=post.clock()).agency == "tax"
            server.resume()
            assert calls(post.hub, token[:-8] + "AAAAAAAA") == 401
        finally:
            server.resume()
            post.close()


# The catalogue.


def test_a_catalogue_that_was_applied_at_one_process_is_in_force_at_all_within_two_seconds(both: Two) -> None:
    """And until then none decides under the former: events wait."""
    both.other.moved("1")
    change_catalogue(both.one.hub)
    put_event(both.other.hub, "2")
    before = both.one.rows("SELECT count(*) FROM event_seen")
    with pytest.raises(Undecided):
        decide(both.other.hub)
    assert both.one.rows("SELECT count(*) FROM event_seen") == before
    with listening(both.other):
        assert soon(lambda: both.other.hub.in_force.revision, both.one.hub.in_force.revision)
    assert both.other.hub.approved().digest == both.one.hub.approved().digest
    decide(both.other.hub)
    assert both.one.rows("SELECT count(*) FROM event_seen") == [(before[0][0] + 1,)]


def test_who_approves_does_not_assemble_its_own_catalogue_twice(both: Two) -> None:
    """Its own news is heard like any other, and is none."""
    change_catalogue(both.one.hub)
    there = both.one.hub.in_force
    assert both.one.hub.news.hear()
    assert both.one.hub.in_force is there


def change_catalogue(hub: Hub) -> None:
    document = to_document(hub.approved())
    document["purposes"]["FAM-ALLOW"] |= {"version": 2, "retention_days": 1_000}
    hub.approve(from_document(document))


def put_event(hub: Hub, event_id: str) -> None:
    event = {
        "specversion": "1.0", "source": "urn:agency:population-register", "type": "pop.residence", "id": event_id,
        "subject": "A", "data": {"resident": "A", "municipality_code": "M-7"}, "time": "2026-11-01T00:00:00Z",
    }  # fmt: skip
    (outcome,) = publish(hub.desk, "population-register", [event])
    assert isinstance(outcome, Accepted), outcome


def decide(hub: Hub) -> None:
    gate = Gate(hub.world)
    gate.step(0)
    gate.finish()


# Erasure.


def test_an_erasure_that_has_returned_holds_in_every_process(both: Two) -> None:
    """One that never heard of it opens nothing by a key that it kept."""
    principal, _ = both.other.moved("1")
    person = principal.person
    assert both.other.hub.open_keys.of([person])
    began_s = monotonic()
    erase_person(eraser(both.one.hub), person, reason="request")
    assert monotonic() - began_s >= ELSEWHERE_S > max(BELIEVED_S, BYTES_FRESH_S)
    assert both.other.hub.open_keys.of([person]) == {}
    assert both.other.pulled(BY_CONSENT) == []


def test_a_process_that_hears_of_an_erasure_forgets_the_key(both: Two) -> None:
    """Within its half second; and what it had opened for a webhook does not begin to leave."""
    principal, _ = both.other.moved("1")
    person, hub = principal.person, both.other.hub
    hub.open_keys.of([person])
    with doing_at("erase.committed", hub.news.hear):
        erase_person(eraser(both.one.hub), person, reason="request")
    with hub.open_keys.leaving([person]) as may:
        assert not may
    assert person not in hub.open_keys._keys


def test_what_a_process_opened_before_an_erasure_elsewhere_does_not_begin_to_leave_after_it(both: Two) -> None:
    """Its connection stands, its body is signed, it has heard of nothing: it is late by then, and not a byte goes."""
    with machine() as to:
        both.other.prove(to, BY_CONSENT)
        principal, _ = both.other.moved("1")
        with paused("post.ready") as ready:
            posting = Doing(lambda: both.other.post(BY_CONSENT))
            ready.reached()
            erase_person(eraser(both.one.hub), principal.person, reason="request")
            ready.go()
            posting.result()
        assert to.deliveries == []


def test_somebody_erased_elsewhere_can_do_nothing_any_more(both: Two) -> None:
    """The process still has their key in memory: an act looks for the mark, under their fence."""
    principal, _ = both.other.moved("1")
    both.other.hub.open_keys.of([principal.person])

    def grant() -> None:
        with pytest.raises(HubError):
            grant_unasked(
                both.other.hub.citizens, principal, recipient=BY_CONSENT, purpose="KINDER-PLACE", items=None,
                notice=NOTICE,
            )  # fmt: skip

    # it looks for news a moment before the commit: what it keeps of them counts for two seconds more
    with doing_at("erase.recorded", both.other.hub.news.hear), doing_at("erase.committed", grant):
        erase_person(eraser(both.one.hub), principal.person, reason="request")
    assert both.one.rows("SELECT count(*) FROM choice WHERE person = ?", principal.person) == [(0,)]


def test_the_ledger_is_one_whichever_process_erases(both: Two) -> None:
    """Each reads what the other has added before it adds a line, so that the chain of lines holds."""
    persons = [both.one.moved(str(at), name=name)[0].person for at, name in enumerate("ABC")]
    for post, person in zip((both.one, both.other, both.one), persons, strict=True):
        erase_person(eraser(post.hub), person, reason="request")
    path = both.one.hub.settings.key_path
    assert list(open_ledger(path, both.one.hub.keys.erasure).erased) == persons
    process(path.parent, "third", both.clock).close()


# What else is in memory.


def test_a_sealing_key_of_one_process_seals_at_the_others(both: Two) -> None:
    """And when it is ended nothing is sealed to it any more."""
    public = X25519PrivateKey.generate().public_key().public_bytes_raw()
    given = {"kty": "OKP", "crv": "X25519", "x": urlsafe_b64encode(public).rstrip(b"=").decode()}
    kid = both.one.hub.sealing_keys.put("tax", given, now_us=both.clock(), noted=lambda _tx, _kid: None)
    both.other.hub.news.hear()
    held = both.other.hub.sealing_keys.of("tax")
    assert held is not None
    assert held.kid == kid
    both.one.hub.sealing_keys.end("tax", now_us=both.clock(), noted=lambda _tx: None)
    both.other.hub.news.hear()
    assert both.other.hub.sealing_keys.of("tax") is None


def test_a_day_key_that_was_destroyed_at_one_process_is_gone_from_the_others(both: Two) -> None:
    """From their memory and from their own file."""
    number, day = 1, both.clock() // US_PER_DAY
    for post in both[:2]:
        post.hub.day_keys.prepare([number], both.clock())
    both.one.hub.day_keys.destroy_before(day + 1)
    both.other.hub.news.hear()
    assert both.other.hub.day_keys.of(number, day) is None
    assert both.other.hub.day_keys.of(number, day + 1) is not None
    assert [name for name in both.other.hub.local_store.names("day/") if name.endswith(f"/{day}")] == []


def test_one_topic_that_cannot_be_read_holds_up_no_other(both: Two) -> None:
    """A catalogue that this process cannot put in force, say: the keys are heard of, and it is tried again."""
    heard: list[str] = []

    def broken() -> None:
        raise ValueError("not today")

    readers = dict.fromkeys(Topic, lambda: heard.append("key")) | {Topic.SEALING_KEYS: broken}
    news = News(both.other.hub.store, both.other.hub.log)
    news.readers = readers
    both.one.hub.store.write(lambda tx: [tell(tx, topic) for topic in (Topic.SEALING_KEYS, Topic.AGENCY_KEYS)])
    for _ in range(2):
        with pytest.raises(ValueError, match="not today"):
            news.hear()
    assert heard == ["key"]
