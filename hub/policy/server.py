"""The policy engine behind a server: OPA, which fetches the hub's signed bundle and answers under its revision.

OPA is told questions and nothing else: no person, no event. It is believed as little as the engine in process: an
answer that is late, odd, short, or of another revision than the hub's own is none, and events wait.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, LifoQueue
from threading import Event

from hub.core.agreement import Catalogue
from hub.core.question import Question, Verdict
from hub.policy.answers import WAITS, believed, in_calls, unavailable
from hub.policy.compiled import read_compiled
from hub.policy.opa import OpaCaller, OpaServer
from hub.policy.papers import revision_of

CALLERS = 4  # calls at once, each on a connection of its own: the gate's, the hand-outs', a citizen's


class ServerPolicy:
    """Implements `hub.ports.Policy`. Safe to share between threads. Nothing is asked before the first question."""

    def __init__(self, catalogue: Catalogue, compiled_dir: Path, server: OpaServer) -> None:
        """Say which revision is expected of the server. Raises HubError(STARTUP) as `read_compiled` does."""
        self.compiled = read_compiled(compiled_dir)
        self._revision = revision_of(self.compiled, catalogue)
        self._wait_s = server.timeout_s
        self._closed = Event()
        self._free: LifoQueue[OpaCaller] = LifoQueue()  # the last one used is the likeliest to be connected still
        for _ in range(CALLERS):
            self._free.put(OpaCaller(server))

    def revision(self) -> str:
        """Name policy and catalogue as the hub has them; the engine in process names them by the same words."""
        return self._revision

    def ask(self, questions: Sequence[Question]) -> list[Verdict]:
        """Answer all, in order. Raises HubError(UNAVAILABLE) when any answer is undefined, malformed or late."""
        return in_calls(self._ask_some, questions)

    def probe(self) -> None:
        """Ask for nothing: whether the server answers, and under this revision. Raises as `ask` does."""
        self._ask_some([])

    def close(self) -> None:
        """End the connections; later questions raise HubError(UNAVAILABLE). A call under way is let finish."""
        self._closed.set()
        while True:
            try:
                self._free.get_nowait().close()
            except Empty:
                return

    def _ask_some(self, questions: Sequence[Question]) -> list[Verdict]:
        with self._caller() as caller:
            answer = caller.answer({"items": [question._asdict() for question in questions]})
        if isinstance(answer, dict) and answer.get("revision") not in (None, self._revision):
            raise unavailable(
                "The policy server answers under another revision than the hub's.",
                f"OPA fetches the new bundle by itself within seconds; else see its log for the bundle `hub`; {WAITS}.",
            )
        return believed(answer, count=len(questions), revision=self._revision)

    @contextmanager
    def _caller(self) -> Iterator[OpaCaller]:
        """Borrow a connection. Raises HubError(UNAVAILABLE) when none becomes free in time."""
        if self._closed.is_set():
            raise unavailable("The policy engine was closed: another catalogue is in force, or the hub stops.")
        try:
            caller = self._free.get(timeout=self._wait_s)
        except Empty as cause:
            raise unavailable("Every connection to the policy server is waiting for it.") from cause
        try:
            yield caller
        finally:
            if self._closed.is_set():
                caller.close()
            self._free.put(caller)
