"""An agency's machine for the tests of webhooks: a receiver on loopback that answers what the test told it to.

And a hub whose threads are not started: the test takes each of the sender's rounds itself, with a clock that it moves.
"""

import io
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

from consent.notice import Notice
from hub.app import Hub, build
from hub.citizens.choices import Done, grant_unasked
from hub.citizens.withdraw import withdraw_it
from hub.clock import system_clock
from hub.exchange.gate import Gate
from hub.exchange.handout import hand_out
from hub.exchange.opening import open_all
from hub.exchange.publish import Accepted, publish
from hub.exchange.ways_out import let_pull
from hub.exchange.webhook_proof import register_and_prove
from hub.exchange.webhooks import show
from hub.identity.people import NewLink, link, person_of
from hub.identity.principal import Principal
from hub.logs import open_log
from hub.settings import Settings
from hub.workers.webhook_sender import Sender
from tests.world import birth

S = 1_000_000
AGENCY, BY_CONSENT = "family-benefits", "lindum"
VERIFICATION = "hub.webhook.verification"
NOTICE = Notice(1, "en", sha256(b"as shown").digest())


class Message(NamedTuple):
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def name(self) -> str:
        return str(self.document["id"])


class Say(NamedTuple):
    """One answer. `before` runs first, in the receiver's thread; with `cut` nothing is answered at all."""

    status: int = 200
    headers: Mapping[str, str] = {}
    body: bytes = b"{}"
    before: Callable[[], None] = lambda: None
    cut: bool = False


Answer = Callable[[Message], Say]


def agree(message: Message) -> Say:
    """Answer as a receiver should: repeat a challenge, take everything else."""
    document = message.document
    if document["type"] == VERIFICATION:
        return Say(body=json.dumps({"challenge": document["data"]["challenge"]}).encode())
    return Say()


@dataclass
class Machine:
    """A receiver. `answers` are used up one per message, challenges aside; then `agree` answers."""

    server: ThreadingHTTPServer
    messages: list[Message] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    challenge: Answer = agree
    lines: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/hub"

    @property
    def deliveries(self) -> list[dict[str, Any]]:
        return [one.document for one in self.messages if one.document["type"] != VERIFICATION]

    def take(self, message: Message) -> Say:
        self.messages.append(message)
        if message.document["type"] == VERIFICATION:
            return self.challenge(message)
        return (self.answers.pop(0) if self.answers else agree)(message)


@contextmanager
def machine(*, tls: ssl.SSLContext | None = None) -> Iterator[Machine]:
    """Run a receiver until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def setup(self) -> None:
            super().setup()
            made.lines += 1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            say = made.take(Message(headers, body))
            say.before()
            if say.cut:
                self.close_connection = True
                return
            self.send_response(say.status)
            for name, value in {"content-length": str(len(say.body)), **say.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(say.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's own name for it
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.daemon_threads = True
    made = Machine(server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Calendar:
    """A clock that runs, and that a test moves ahead."""

    def __init__(self) -> None:
        self.ahead_us = 0

    def __call__(self) -> int:
        return system_clock() + self.ahead_us

    def pass_by(self, seconds: float) -> None:
        self.ahead_us += int(seconds * S)


@dataclass
class Post:
    """A hub whose threads stand still. `post` takes one round of an agency's sender."""

    directory: Path
    clock: Calendar = field(default_factory=Calendar)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.senders: dict[str, Sender] = {}
        self.open()

    def open(self) -> None:
        self.said = io.StringIO()
        given = {"mode": "demo", "data_dir": self.directory, "synchronous": "OFF", **self.settings}
        self.hub: Hub = build(Settings(**given), clock=self.clock, log=open_log(clock=self.clock, stream=self.said))

    def close(self) -> None:
        for sender in self.senders.values():
            sender.halt()
            sender.close()
        self.senders.clear()
        self.hub.close()

    def restart(self) -> None:
        self.close()
        self.open()

    def prove(self, to: Machine, agency: str = AGENCY) -> dict[str, Any]:
        return register_and_prove(self.hub.webhooks, agency, to.url)

    def state(self, agency: str = AGENCY) -> str:
        return str(show(self.hub.webhooks, agency)["state"])

    def reason(self, agency: str = AGENCY) -> str:
        return str(show(self.hub.webhooks, agency).get("reason", ""))

    def sender(self, agency: str = AGENCY) -> Sender:
        if agency not in self.senders:
            self.senders[agency] = Sender(
                self.hub.webhooks, agency, bell=self.hub.bell, metrics=self.hub.metrics, connections=3
            )
        return self.senders[agency]

    def post(self, agency: str = AGENCY, *, rounds: int = 1) -> None:
        """Let the sender go round; it does not wait where there is nothing to do."""
        sender = self.sender(agency)
        for _ in range(rounds):
            self.hub.bell.ring_all()
            sender.step(Event())

    # What happens to people, so that there is something to send.
    def born(self, *numbers: str, child: str = "C-1") -> None:
        """Have births published and decided: `family-benefits` hears of each by law."""
        people = [
            NewLink("civil-registry", child, f"R-{child}", 3, date(2026, 1, 31)),
            NewLink("civil-registry", "P-1", "R-P-1", 3, date(1990, 5, 1)),
            NewLink(AGENCY, f"FB-{child}", f"R-{child}", 3),
        ]
        assert set(link(self.hub.register, "population-register", people)) <= {"linked", "known"}
        self._put("civil-registry", [birth(number, child=child) for number in numbers])

    def moved(self, *numbers: str, name: str = "A") -> tuple[Principal, Done]:
        """Have somebody consent to what `lindum` asks, and moves of theirs published and decided."""
        born = date(2023, 5, 1)
        link(self.hub.register, "population-register", [NewLink("population-register", name, f"R-{name}", 3, born)])
        with self.hub.store.read() as tx:
            person = person_of(tx, self.hub.keys, "population-register", name)
        assert person is not None
        principal = Principal(person, person, "self", 3, "session")
        done = grant_unasked(
            self.hub.citizens, principal, recipient=BY_CONSENT, purpose="KINDER-PLACE", items=None, notice=NOTICE
        )
        data = {"resident": name, "municipality_code": "M-7"}
        event = {"specversion": "1.0", "source": "urn:agency:population-register", "type": "pop.residence"}
        self._put("population-register", [event | {"id": each, "subject": name, "data": data} for each in numbers])
        return principal, done

    def withdraw(self, principal: Principal, done: Done) -> None:
        withdraw_it(self.hub.citizens, principal, done.consent)

    def _put(self, publisher: str, events: list[dict[str, Any]]) -> None:
        now = datetime.fromtimestamp(self.clock() / S, UTC).isoformat()
        outcomes = publish(self.hub.desk, publisher, [{**event, "time": now} for event in events])
        assert all(isinstance(one, Accepted) for one in outcomes), outcomes
        gate = Gate(self.hub.world)
        gate.step(0)
        gate.finish()

    def pulled(self, agency: str = AGENCY) -> list[dict[str, Any]]:
        """Pull as the door does."""
        let_pull(self.hub.world, agency)
        page = hand_out(self.hub.world, agency, 500)
        return [event for _, event in open_all(self.hub.world, page.opened, self.hub.wrapping)]

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.hub.store.read() as tx:
            return tx.rows(sql, values)

    def acts(self) -> list[str]:
        """Name the acts on ways out that are on record, in order."""
        return [
            str(json.loads(detail)["act"])
            for (detail,) in self.rows("SELECT detail FROM audit WHERE kind = 11 ORDER BY id")
        ]


def tell(to: Machine, *says: Say) -> None:
    """Have the next deliveries answered so, one each."""
    to.answers += [lambda _message, say=say: say for say in says]  # type: ignore[misc]  # bound one by one
