"""Decisions from an OPA server: what it does wrong is an exception and nobody's refusal; what it hears names nobody."""

import json
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

import pytest

from hub.catalogue_files import load
from hub.core.errors import HubError, Kind
from hub.core.question import Question, Verdict
from hub.policy.engine import Engine
from hub.policy.opa import ANSWER_BYTES, OpaServer
from hub.policy.server import CALLERS, ServerPolicy
from tests.decision_vectors import COMPILED, ROOT, catalogue
from tests.opa_world import bundle_of, engine, opa

PAPERS = catalogue()
GIVEN = Question("T-KINDER", 2, "KINDER-PLACE", "civil.birth.registered", "consent", "given", 2)
PAUSED = GIVEN._replace(state="paused")
TIMEOUT_S = 0.3
IN_TIME_S = 3 * TIMEOUT_S  # to connect, to answer, and some for a machine that does ten other things
REVISION = ServerPolicy(PAPERS, COMPILED, OpaServer("http://127.0.0.1:1")).revision()

Behave = Callable[[socket.socket], None]


class Fake:
    """A server that reads one request after another and answers each with `behave`. `requests` are what it was sent."""

    def __init__(self, listening: socket.socket, behave: Behave) -> None:
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.requests: list[bytes] = []
        self.connections = 0
        self._listening, self._behave = listening, behave

    def run(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as read:
            try:
                while head := _head(read):
                    length = next(int(line[15:]) for line in head if line.lower().startswith(b"content-length:"))
                    self.requests.append(b"".join(head) + read.read(length))
                    self._behave(connection)
            except OSError:  # the hub has gone: that is what most of these are about
                return


def _head(read: Any) -> list[bytes]:
    lines = []
    while (line := read.readline()) not in (b"\r\n", b""):
        lines.append(line)
    return lines


@contextmanager
def fake(behave: Behave) -> Iterator[Fake]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Fake(listening, behave)
        threading.Thread(target=server.run, daemon=True).start()
        yield server


@contextmanager
def asking(url: str, timeout_s: float = TIMEOUT_S, token: str = "") -> Iterator[ServerPolicy]:
    policy = ServerPolicy(PAPERS, COMPILED, OpaServer(url, token=token, timeout_s=timeout_s))
    try:
        yield policy
    finally:
        policy.close()


def http(body: bytes, status: str = "200 OK", kind: str = "application/json", *more: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *more]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def says(document: Any, **changed: Any) -> bytes:
    return http(json.dumps({"result": document, **changed}).encode())


def verdicts(count: int, revision: str = REVISION, **changed: Any) -> dict[str, Any]:
    return {"revision": revision, "verdicts": [{"fields": ["dob"], "reasons": [], **changed}] * count}


def sends(content: bytes) -> Behave:
    return lambda connection: connection.sendall(content)


def drips(content: bytes, every_s: float) -> Behave:
    """Send byte after byte, each well within any limit for a single read."""

    def behave(connection: socket.socket) -> None:
        for at in range(len(content)):
            connection.sendall(content[at : at + 1])
            sleep(every_s)

    return behave


def after(content: bytes, then: Behave) -> Behave:
    """Begin an answer, and go on otherwise."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(content)
        then(connection)

    return behave


def hangs(connection: socket.socket) -> None:
    connection.recv(1)


def floods(connection: socket.socket) -> None:
    """An answer without an end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + b'{"result": "')
    while True:
        connection.sendall(b"x" * 65_536)


def closes(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)


TWO = says(verdicts(2))
BODY = TWO.partition(b"\r\n\r\n")[2]
HUGE = http(b'{"result": "' + b"x" * ANSWER_BYTES + b'"}')
NESTED = http(b'{"result": ' + b"[" * 900 + b"]" * 900 + b"}")
MISBEHAVIOUR: dict[str, tuple[Behave, str]] = {
    "never answers": (hangs, "in time"),
    "drips its head": (drips(TWO, 0.02), "in time"),
    "drips its body": (after(TWO[:-60], drips(TWO[-60:], 0.05)), "in time"),
    "closes at once": (closes, "reached"),
    "closes in the middle": (after(TWO[:-9], closes), "JSON"),
    "is no HTTP": (sends(b"\x00\x15\x03\x01\x00\x02\x02\x50\n" * 9), "reached"),
    "is a login page": (sends(http(b"<html>Sign in</html>", kind="text/html")), "no JSON"),
    "says HTML with JSON": (sends(http(BODY, kind="text/html")), "no JSON"),
    "is no JSON": (sends(http(b"nil")), "JSON"),
    "is half JSON": (sends(http(b'{"result": {"revision"')), "JSON"),
    "is NaN": (sends(http(b'{"result": NaN}')), "JSON"),
    "nests without an end": (sends(NESTED), "malformed"),
    "is a list": (sends(http(b"[]")), "object"),
    "says more than OPA does": (sends(says(verdicts(2), allow=True)), "object"),
    "is undefined": (sends(http(b"{}")), "undefined"),
    "is null": (sends(says(None)), "malformed"),
    "is packed": (sends(http(BODY, "200 OK", "application/json", "Content-Encoding: gzip")), "packed"),
    "is huge": (sends(HUGE), "larger"),
    "has no end": (floods, "larger"),
    "failed": (sends(http(b'{"code": "internal_error"}', "500 Internal Server Error")), "status 500"),
    "is not ready": (sends(http(b"{}", "503 Service Unavailable")), "status 503"),
    "refuses": (sends(http(b'{"code": "unauthorized"}', "401 Unauthorized")), "refuses"),
    "knows no such thing": (sends(http(b"{}", "404 Not Found")), "status 404"),
    "sends elsewhere": (sends(http(b"", "307 Temporary Redirect", "text/plain", "Location: /other")), "status 307"),
    "accepts only": (sends(http(BODY, "202 Accepted")), "status 202"),
    "is of another revision": (sends(says(verdicts(2, "sha256:" + "0" * 64))), "another revision"),
    "is of no revision": (sends(says({"verdicts": verdicts(2)["verdicts"]})), "malformed"),
    "is of revision null": (sends(says({**verdicts(2), "revision": None})), "revision"),
    "is one short": (sends(says(verdicts(1))), "2 verdicts"),
    "says one twice": (sends(says(verdicts(3))), "2 verdicts"),
    "names a field twice": (sends(says(verdicts(2, fields=["dob", "dob"]))), "twice"),
    "permits everything": (sends(says(verdicts(2, fields="*"))), "malformed"),
    "allows besides": (sends(says(verdicts(2, allow=True))), "malformed"),
    "forgets the reasons": (sends(says({"revision": REVISION, "verdicts": [{"fields": []}] * 2})), "malformed"),
}  # fmt: skip


@pytest.mark.parametrize(("behave", "said"), MISBEHAVIOUR.values(), ids=list(MISBEHAVIOUR))
def test_a_server_that_misbehaves_is_no_answer_in_bounded_time(behave: Behave, said: str) -> None:
    """Whatever it does, it is one kind of exception with a remedy, and it costs no more than its limits."""
    with fake(behave) as server, asking(server.url) as policy:
        began_s = monotonic()
        with pytest.raises(HubError) as told:
            policy.ask([GIVEN, PAUSED])
        assert monotonic() - began_s < IN_TIME_S
    assert (told.value.kind, told.value.code) == (Kind.UNAVAILABLE, "policy-unavailable")
    assert said in told.value.what
    assert told.value.remedy


def test_a_server_that_is_not_there_is_no_answer() -> None:
    """A refused connection is told from a silent one, and neither is a no."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    with asking(url) as policy, pytest.raises(HubError, match="cannot be reached") as told:
        policy.ask([GIVEN])
    assert (told.value.kind, told.value.code) == (Kind.UNAVAILABLE, "policy-unavailable")


def test_a_plain_answer_is_believed_with_or_without_the_id_of_a_decision_log() -> None:
    """What OPA adds where it logs its decisions is no reason for doubt; the connection is kept for the next call."""
    for more in ({}, {"decision_id": "4ca636c1-55e4-417a-b1d8-4aceb67960d1"}):
        with fake(sends(says(verdicts(2), **more))) as server, asking(server.url) as policy:
            permitted = Verdict(REVISION, frozenset({"dob"}), frozenset())
            for _ in range(5):
                assert policy.ask([GIVEN, PAUSED]) == [permitted, permitted]
            assert server.connections == 1


def test_the_environments_proxies_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that nobody reviews may not put somebody between hub and policy."""
    with fake(sends(says(verdicts(1)))) as server, fake(sends(says(verdicts(1, fields=["all"])))) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        with asking(server.url) as policy:
            assert policy.ask([GIVEN])[0].fields == {"dob"}
        assert proxy.requests == []


def test_a_server_that_hangs_keeps_nobody_waiting_behind_others() -> None:
    """With every connection stuck, the next caller is told so within the limit as well."""
    with fake(hangs) as server, asking(server.url) as policy:
        threads = [threading.Thread(target=_ignoring, args=(policy,)) for _ in range(12 * CALLERS)]
        began_s = monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert monotonic() - began_s < 2 * IN_TIME_S


def _ignoring(policy: ServerPolicy) -> None:
    with pytest.raises(HubError):
        policy.ask([GIVEN])


def test_opa_is_asked_by_one_named_rule_and_told_questions_alone() -> None:
    """One POST to the rule per call, with the token, and of each question its own keys: none could name a person."""
    with fake(sends(says(verdicts(2)))) as server, asking(server.url, token="t" * 32) as policy:
        policy.ask([GIVEN, PAUSED])
        (sent,) = server.requests
    head, _, body = sent.partition(b"{")
    assert head.startswith(b"POST /v1/data/hub/release/answer HTTP/1.1\r\n")
    assert b"Authorization: Bearer " + b"t" * 32 in head
    assert json.loads(b"{" + body) == {"input": {"items": [GIVEN._asdict(), PAUSED._asdict()]}}


def test_a_server_over_another_catalogue_is_not_believed_until_it_has_this_one() -> None:
    """An older bundle answers under its own revision: no yes and no no of it counts."""
    shipped = load(ROOT / "policies" / "catalogue")
    with opa(bundle_of(shipped)) as started, asking(started.url, 2.0) as policy:
        with pytest.raises(HubError, match="another revision"):
            policy.ask([GIVEN])
        assert started.refuses_writing()


def test_a_server_without_a_bundle_is_undefined_and_so_no_answer() -> None:
    """It answers 200 to everything; that there is no result is what counts."""
    with opa() as started, asking(started.url, 2.0) as policy:
        with pytest.raises(HubError, match="does not know the policy"):
            policy.ask([GIVEN])
        with pytest.raises(HubError, match="does not know the policy"):
            policy.probe()
        started.hold(PAPERS)
        policy.probe()
        assert policy.ask([GIVEN])[0].reasons == frozenset()


def test_a_killed_server_is_asked_again_on_a_new_connection_when_it_is_back() -> None:
    """The kept connection is gone with it; the first question after its return is answered."""
    with opa(bundle_of(PAPERS)) as started, asking(started.url, 2.0) as policy:
        before = policy.ask([GIVEN, PAUSED])
        started.kill()
        with pytest.raises(HubError, match="cannot be reached"):
            policy.ask([GIVEN])
        started.start()
        assert policy.ask([GIVEN, PAUSED]) == before


def test_both_engines_say_the_same_to_five_hundred_random_questions() -> None:
    """Over the shipped catalogue, known and unknown papers, sense and nonsense: same verdicts, same silence."""
    shipped = load(ROOT / "policies" / "catalogue")
    drawn = random.Random(5)
    questions = [_drawn(drawn, shipped) for _ in range(500)]
    with engine("embedded", shipped) as embedded, engine("server", shipped) as served:
        said = [[_outcome(one, question) for question in questions] for one in (embedded, served)]
        clear = [question for question, outcome in zip(questions, said[0], strict=True) if outcome != "no answer"]
        assert embedded.ask(clear) == served.ask(clear)
    assert said[0] == said[1]
    assert 100 < len(clear) < 500
    assert sum(isinstance(one, Verdict) and not one.reasons for one in said[0]) > 10


def _drawn(drawn: random.Random, shipped: Any) -> Question:
    """Draw one of the catalogue's own lines half of the time, and spoil it a little or not at all."""
    line = drawn.choice(list(shipped.subscriptions.values()))
    basis = line.purpose.basis.value
    question = Question(
        line.agreement.code, line.agreement.version, line.purpose.code, line.dataset.name, basis, "none", 3
    )
    states = ["given", "given", "paused", "withdrawn", "expired", "refused", "none", "objected", "maybe"]
    question = question._replace(state=drawn.choice(states), assurance=drawn.choice([0, 1, 2, 3, 3, 4]))
    spoilt: dict[str, Any] = {
        "agreement": drawn.choice([*shipped.agreements, "AGR-GONE"]),
        "version": drawn.choice([0, 2, 99]),
        "purpose": drawn.choice([*shipped.purposes, "CREDIT"]),
        "dataset": drawn.choice([*shipped.datasets, "unheard.of"]),
        "basis": drawn.choice(["consent", "law", "law_with_objection", "explicit_request", "vital_interest", "whim"]),
        "asks": drawn.choice(["with_case", "without_case", ""]),
    }
    for name in drawn.sample(sorted(spoilt), k=drawn.choice([0, 0, 0, 1, 1, 2])):
        question = question._replace(**{name: spoilt[name]})
    return question


def _outcome(one: Engine, question: Question) -> Verdict | str:
    try:
        return one.ask([question])[0]
    except HubError as error:
        return "no answer" if error.kind is Kind.UNAVAILABLE else "another error"
