"""One thread that repeats a step until it is stopped: backs off on failure, says how it is, never ends silently."""

from collections.abc import Callable
from threading import Event, Thread
from time import monotonic

from hub.core.errors import HubError
from hub.logs import Log

BACK_OFF_S = (0.05, 2.0)  # first and longest pause after a failure; doubled in between
TROUBLE_AFTER_S = 1.0  # a step that failed and went well within this is no trouble: an owner changed, a fact moved

Step = Callable[[Event], float]
"""Does one piece of work and returns how many seconds to pause (0: go on at once). Given the stop event, to wait on."""


class Worker:
    """A named thread. `expected` are the outcomes of its step that are no defect: logged as a code, without a place."""

    def __init__(
        self,
        name: str,
        step: Step,
        *,
        log: Log,
        expected: tuple[type[Exception], ...] = (HubError,),
        failed: Callable[[Exception], None] = lambda _error: None,
    ) -> None:
        self.name, self._step, self._log, self._expected, self._failed = name, step, log, expected, failed
        self._stop = Event()
        self._failing_since: float | None = None
        self._failing_why = ""
        self._thread = Thread(target=self._run, name=f"worker-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Ask it to end after the step it is in. Returns whether it has."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def trouble(self) -> str:
        """Say in words what keeps it from its work; "" when nothing does."""
        since = self._failing_since
        if not self._thread.is_alive() and not self._stop.is_set():
            return f"the {self.name} has not begun or has ended"
        if since is None or monotonic() - since < TROUBLE_AFTER_S:
            return ""
        return f"the {self.name} has failed for {monotonic() - since:.0f} s: {self._failing_why}"

    def _run(self) -> None:
        pause_s = BACK_OFF_S[0]
        self._log.info("worker.started", worker=self.name)
        while not self._stop.is_set():
            try:
                rest_s = self._step(self._stop)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next step may go well; it is told, and counted
                self._note(error, pause_s)
                self._stop.wait(pause_s)
                pause_s = min(2 * pause_s, BACK_OFF_S[1])
                continue
            self._failing_since, pause_s = None, BACK_OFF_S[0]
            if rest_s > 0:
                self._stop.wait(rest_s)
        self._log.info("worker.ended", worker=self.name)

    def _note(self, error: Exception, pause_s: float) -> None:
        code = error.code if isinstance(error, HubError) else type(error).__name__.lower()
        self._failing_why = code
        if self._failing_since is None:
            self._failing_since = monotonic()
        if isinstance(error, self._expected):
            self._log.warning("worker.waits", worker=self.name, code=code, waited_ms=round(pause_s * 1000))
        else:
            self._log.error("worker.failed", worker=self.name, waited_ms=round(pause_s * 1000), exc_info=error)
        self._failed(error)
