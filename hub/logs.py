"""Structured logs that cannot hold anything personal: one JSON object a line, keys and values from a closed set only.

A line is a dotted event name and facts about it: `log.info("gate.batch", events=200, took_ms=31)`. What is not in
`NAMES` or `NUMBERS` is left out and counted under `dropped`; so is text that does not look like the kind of name that
its key holds. Exceptions leave their class and place, never their message: it may quote what it was given. The same
goes for the logs of libraries. Ids of persons, of their consents and of their sessions are personal: no key is theirs.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO, cast

import orjson

from hub.core.errors import HubError
from hub.interpreter import hidden
from hub.ports import Clock

with hidden("rich"):  # structlog loads it to draw tracebacks: a tenth of every start, and no line here is drawn
    import structlog
    from structlog.typing import FilteringBoundLogger, WrappedLogger

Log = FilteringBoundLogger
"""What the parts of the hub are handed. Made once by `open_log`."""

EVENT = re.compile(r"[a-z]+(?:[._-][a-z]+)+")  # no digits and no spaces, so that nothing can be formatted into it
WORD = re.compile(r"[a-z][a-z_.-]{0,63}")
CODE = re.compile(
    r"[a-z][a-z0-9._-]{0,63}"
)  # an agency, a dataset, a problem: names that the catalogue or the code gave
UPPER_CODE = re.compile(r"[A-Z][A-Z0-9-]{0,31}")
LEASE = re.compile(r"[a-z-]{1,32}(/[a-z0-9._-]{1,64}){0,3}")  # a kind, an agency's code, shards and shard
HEX = re.compile(r"[0-9a-f]{8,64}")
SIGNAL = re.compile(r"SIG[A-Z0-9]{2,8}")
ROUTE = re.compile(r"/[a-z0-9_./{}-]{0,80}")  # as declared, with its parameters' names and never their values

NAMES: Mapping[str, re.Pattern[str]] = {
    # who and what, as the catalogue names it
    "agency": CODE,
    "publisher": CODE,
    "recipient": CODE,
    "dataset": CODE,
    "purpose": UPPER_CODE,
    "agreement": UPPER_CODE,
    # ids that the hub drew and that name no person
    "delivery": HEX,
    "request": HEX,
    "revision": HEX,
    "digest": HEX,
    # how it went
    "outcome": WORD,
    "code": CODE,
    "kind": CODE,
    "phase": WORD,
    "worker": CODE,
    "mode": WORD,
    "signal": SIGNAL,
    "method": UPPER_CODE,
    "route": ROUTE,
    "library": CODE,
    "partition": CODE,
    "lease": LEASE,
}
COUNTS = frozenset(
    {"count", "events", "decisions", "releases", "holds", "refusals", "waits", "deliveries", "acknowledged", "items"}
    | {"attempts", "questions", "rows", "commits", "subscriptions", "agencies", "expired", "handled", "backlog", "line"}
    | {"waiting", "bytes", "wal_bytes", "page", "offset", "epoch", "version", "status", "port", "pid"}
)
DURATIONS = frozenset({"took_ms", "waited_ms", "lag_ms", "oldest_s", "retry_after_s", "uptime_s", "grace_s"})
NUMBERS = COUNTS | DURATIONS


def open_log(*, clock: Clock, level: str = "info", form: str = "json", stream: TextIO | None = None) -> Log:
    """Make the hub's log. `level` is debug | info | warning | error; `form` json | console; to stderr by default."""
    write = _json if form == "json" else _console
    logger = structlog.wrap_logger(
        structlog.WriteLogger(stream or sys.stderr),
        processors=[structlog.processors.add_log_level, _closed, _stamp(clock), write],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return cast(Log, logger.bind())


def take_over(log: Log, *, level: int = logging.WARNING) -> None:
    """Send what libraries log through `log`: name, level and exception only, never their text."""
    root = logging.getLogger()
    root.handlers[:] = [_Libraries(log)]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):  # they bring handlers that print paths
        logging.getLogger(name).handlers[:] = []
        logging.getLogger(name).propagate = True


class _Libraries(logging.Handler):
    """Passes on that a library said something, and where. `logging` asks for a class here."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        say = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        say("library.said", library=record.name.lower(), line=record.lineno, exc_info=record.exc_info or None)


def _raised(given: object) -> dict[str, str]:
    """Describe what `exc_info` holds: the class, its cause's class, the place that raised it, a HubError's code."""
    if given is True:
        given = sys.exc_info()
    error = given[1] if isinstance(given, tuple) else given
    if not isinstance(error, BaseException):
        return {}
    said = {"exception": type(error).__name__, "at": _place(error.__traceback__)}
    if error.__cause__ is not None:
        said["caused_by"] = type(error.__cause__).__name__
    if isinstance(error, HubError):
        said["code"] = error.code
    return said


def _place(trace: TracebackType | None) -> str:
    if trace is None:
        return "unknown:0"
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_globals.get('__name__', 'unknown')}:{trace.tb_lineno}"


def _closed(_: WrappedLogger, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keep what is known to be impersonal; count the rest. Nobody but `_raised` says what an exception was."""
    raised = _raised(line.pop("exc_info", None))
    event = line.pop("event", "")
    level = line.pop("level", "info")
    kept: dict[str, Any] = {"level": level, "event": event if _is(EVENT, event) else "unnamed"}
    dropped = 0
    for key, value in line.items():
        if key in NUMBERS and isinstance(value, int | float):
            kept[key] = value
        elif key in NAMES and _is(NAMES[key], value):
            kept[key] = str(value)
        else:
            dropped += 1
    return kept | raised | ({"dropped": dropped} if dropped else {})


def _is(form: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and form.fullmatch(value) is not None


def _stamp(clock: Clock) -> structlog.typing.Processor:
    def stamp(_: WrappedLogger, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        seconds, micros = divmod(clock(), 1_000_000)
        moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)
        return {"time": moment.isoformat(timespec="microseconds").replace("+00:00", "Z"), **line}

    return stamp


def _json(_: WrappedLogger, __: str, line: MutableMapping[str, Any]) -> str:
    return orjson.dumps(dict(line)).decode()


def _console(_: WrappedLogger, __: str, line: MutableMapping[str, Any]) -> str:
    time, level, event = line.pop("time"), line.pop("level"), line.pop("event")
    return f"{time[11:23]} {level:<7} {event:<24} " + " ".join(f"{key}={value}" for key, value in line.items())
